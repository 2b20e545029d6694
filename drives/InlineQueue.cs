// A queue whose requests are done by the reactor's own thread, inside Submit: memory, and files that are memory (tmpfs).
//
// What fits a turn is done at once. A large request would hold up everything else on the reactor, so it waits in a list and is
// done a piece after the other, as bulk work of the reactor; pieces of different requests do not mix. Order among requests in
// flight is nobody's right.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives;

/// <summary>Base of the queues that complete inside Submit.</summary>
internal abstract class InlineQueue : ReactorWork, IBlockQueue
{
    /// <summary>
    /// Largest read or write done inside Submit, and the size of the pieces of larger ones: some tens of microseconds.
    /// </summary>
    public const long DataPieceBytes = 256 << 10;

    /// <summary>The same for what gives memory back: discards, and zeroing with leave to deallocate.</summary>
    public const long RangePieceBytes = 4 << 20;

    private readonly Reactor _reactor;
    private RequestList _waiting;
    private long _done;

    protected InlineQueue(Reactor reactor) => _reactor = reactor;

    public abstract void Submit(BlockRequest request);

    /// <summary>Does a part of a valid request and returns 0 or a negative errno.</summary>
    /// <param name="request">The request.</param>
    /// <param name="done">Bytes done before.</param>
    /// <param name="length">Bytes to do now.</param>
    protected abstract int Execute(BlockRequest request, long done, long length);

    public override void Run()
    {
        BlockRequest request = _waiting.First!;
        long length = Math.Min(request.LengthBytes - _done, PieceBytes(request));
        int status = Execute(request, _done, length);
        _done += length;
        if (status < 0 || _done == request.LengthBytes)
        {
            _done = 0;
            _ = _waiting.TakeFirst();
        }
        else
        {
            request = null!;
        }

        if (!_waiting.IsEmpty)
        {
            _reactor.DeferBulk(this);
        }

        // Last: a completion may submit here again.
        request?.Complete(status);
    }

    public void Dispose()
    {
        if (!_waiting.IsEmpty)
        {
            throw new InvalidOperationException("Requests are in flight.");
        }

        DisposeCore();
    }

    protected virtual void DisposeCore()
    {
    }

    /// <summary>Puts a large request into the list.</summary>
    protected void Wait(BlockRequest request)
    {
        if (_waiting.IsEmpty)
        {
            _done = 0;
            _reactor.DeferBulk(this);
        }

        _waiting.Append(request);
    }

    /// <summary>Zeroing that keeps its memory writes every byte of it, as a write does.</summary>
    protected static long PieceBytes(BlockRequest request) =>
        request.HasData || (request.Operation == BlockOperation.WriteZeroes && (request.Flags & BlockFlags.Unmap) == 0) ? DataPieceBytes : RangePieceBytes;
}
