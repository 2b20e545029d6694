// One reactor's way to a role whose drive is being replaced: two drives that are written as one (Replacement.cs has the theory).
//
// A read is handed on as it is. A write, discard, zeroing or flush takes an operation of the pool, which locks the range, sends a half
// to each drive with the submitter's own segments, and answers when both are back. Without a free operation it waits in a list; what
// waits is started by deferred work, so that completions never nest.
//
// A half that the new drive refuses with an error that may pass is sent there again, after a while: an hour of copying is not thrown
// away for a moment without memory. Such an error of the old drive is the submitter's to judge, who sends the whole again.
//
// The twin takes over from a queue in use, and hands on to one: what it did not send it does not see, and what it sent it answers
// when it is retired, too. It is closed when nothing is left at either drive (MemberPort.IsSettled).

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Map;

/// <summary>See the top of the file.</summary>
internal sealed class TwinQueue : ReactorWork, IBlockQueue
{
    private const int OperationCount = 64;

    private readonly TwinOp[] _operations = new TwinOp[OperationCount];
    private readonly MemberPort _newPort;
    private FreeIndices _free = new(OperationCount);
    private RequestList _waiting;
    private TwinOp? _parked;
    private bool _scheduled;
    private bool _keepsOld, _keepsNew;
    private bool _isClosed;

    /// <param name="replacement">What is replaced by what.</param>
    /// <param name="old">The old drive's queue, which is the twin's from now on.</param>
    /// <param name="state">The array's.</param>
    /// <param name="reactor">The reactor, whose thread this is.</param>
    /// <exception cref="IOException">The new drive cannot be opened here; the old one's queue is the caller's still.</exception>
    public TwinQueue(Replacement replacement, IBlockQueue old, ArrayState state, Reactor reactor)
    {
        Replacement = replacement;
        Reactor = reactor;
        Old = old;
        New = replacement.New.Way!.OpenQueue(reactor);
        _newPort = new MemberPort(replacement.New, state, New, reactor);
        replacement.New.Add(_newPort);
        Patience = new PatientQueue(_newPort, reactor);
        for (int i = 0; i < OperationCount; i++)
        {
            _operations[i] = new TwinOp(this, i);
        }
    }

    /// <summary>What is replaced by what.</summary>
    public Replacement Replacement { get; }

    /// <summary>The old drive's queue.</summary>
    public IBlockQueue Old { get; }

    /// <summary>The new drive's queue.</summary>
    public IBlockQueue New { get; }

    /// <summary>
    /// Whether a twin that is retired has nothing to do any more. What else was sent to the drive that goes is not its to know: reads
    /// of the old one.
    /// </summary>
    public bool IsIdle => _free.IsFull && _waiting.IsEmpty;

    /// <summary>The reactor.</summary>
    internal Reactor Reactor { get; }

    /// <summary>The way to the new drive.</summary>
    internal PatientQueue Patience { get; }

    /// <inheritdoc/>
    public void Submit(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Read)
        {
            (Replacement.ReadsNew ? New : Old).Submit(request);
        }
        else if (_free.IsEmpty || !_waiting.IsEmpty)
        {
            _waiting.Append(request);
        }
        else
        {
            _operations[_free.Take()].Start(request);
        }
    }

    /// <summary>
    /// The replacement is decided, or given up: answers what waited for that. The twin gets no further request but those that are in
    /// it; the queue that goes on is not its own any more.
    /// </summary>
    public void Retire()
    {
        _keepsOld = Replacement.Phase != ReplacementPhase.Done;
        _keepsNew = !_keepsOld;
        Resume();
    }

    /// <summary>The replacement is decided, or goes on: answers what waited for that.</summary>
    public void Resume()
    {
        TwinOp? parked = _parked;
        _parked = null;
        while (parked is not null)
        {
            TwinOp next = parked;
            parked = parked.NextParked;
            next.NextParked = null;
            next.Answer();
        }
    }

    /// <summary>Closes what nobody goes on with. Nothing is in flight.</summary>
    public void Dispose()
    {
        if (_isClosed)
        {
            return;
        }

        _isClosed = true;
        Replacement.New.Remove(_newPort);
        Patience.Dispose();
        if (!_keepsOld)
        {
            Old.Dispose();
        }

        if (!_keepsNew)
        {
            New.Dispose();
        }
    }

    /// <summary>Starts what has waited for a free operation: deferred work.</summary>
    public override void Run()
    {
        _scheduled = false;
        while (!_free.IsEmpty && _waiting.TakeFirst() is { } request)
        {
            _operations[_free.Take()].Start(request);
        }
    }

    /// <summary>An operation is at rest again.</summary>
    internal void Return(TwinOp operation)
    {
        _free.Return(operation.Index);
        if (!_waiting.IsEmpty && !_scheduled)
        {
            _scheduled = true;
            Reactor.Defer(this);
        }
    }

    /// <summary>An operation waits for the outcome.</summary>
    internal void Park(TwinOp operation)
    {
        operation.NextParked = _parked;
        _parked = operation;
    }
}
