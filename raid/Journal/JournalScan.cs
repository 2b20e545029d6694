// Reads the headers of all records of one member: hundreds of small reads, many at once, because a target that was killed is
// waited for.

using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Journal;

/// <summary>See the top of the file. One scan.</summary>
[SuppressMessage("Design", "CA1001", Justification = "The pool is disposed with the last answer.")]
internal sealed class JournalScan : IBlockCompletion
{
    private const int Depth = 32;

    private readonly IBlockQueue _queue;
    private readonly JournalLayout _layout;
    private readonly Func<ReadOnlySpan<byte>, JournalRecord?> _parse;
    private readonly TaskCompletionSource _done;
    private readonly RequestPool _pool = new(Depth, 1);
    private readonly unsafe byte* _buffer = (byte*)NativeMemory.AlignedAlloc(Depth * JournalLayout.HeaderBytes, 4096);
    private int _next;
    private int _left;

    private JournalScan(
        IBlockQueue queue, JournalLayout layout, int parityCount, Func<ReadOnlySpan<byte>, JournalRecord?> parse, TaskCompletionSource done)
    {
        _queue = queue;
        _layout = layout;
        _parse = parse;
        _done = done;
        Records = new JournalRecord?[parityCount, layout.SlotCount];
        _left = Records.Length + 1; // and the start
    }

    /// <summary>What was found, by parity and slot.</summary>
    public JournalRecord?[,] Records { get; }

    /// <summary>Slots that the member could not read.</summary>
    public int Unreadable { get; private set; }

    /// <summary>Reads them.</summary>
    /// <param name="queue">The member's queue on the reactor.</param>
    /// <param name="reactor">The reactor.</param>
    /// <param name="layout">Where they lie.</param>
    /// <param name="parityCount">Parities of a row.</param>
    /// <param name="parse">Makes a record of a header, or null.</param>
    public static async Task<JournalScan> RunAsync(
        IBlockQueue queue, Reactor reactor, JournalLayout layout, int parityCount, Func<ReadOnlySpan<byte>, JournalRecord?> parse)
    {
        TaskCompletionSource done = reactor.MakePromise();
        JournalScan scan = await reactor.InvokeAsync(() =>
        {
            var scan = new JournalScan(queue, layout, parityCount, parse, done);
            scan.Start();
            return scan;
        });
        await done.Task;
        return scan;
    }

    public unsafe void OnCompleted(BlockRequest request)
    {
        (int parity, int slot) = Math.DivRem((int)request.Tag, _layout.SlotCount);
        if (request.Status < 0)
        {
            Unreadable++;
        }
        else
        {
            Records[parity, slot] = _parse(new ReadOnlySpan<byte>(request.OwnVectors->Base, JournalRecord.UsedBytes));
        }

        if (_next < Records.Length)
        {
            Send(request);
        }
        else
        {
            _pool.Return(request);
        }

        PartDone();
    }

    private unsafe void PartDone()
    {
        if (--_left == 0)
        {
            _pool.Dispose();
            NativeMemory.AlignedFree(_buffer);
            _done.SetResult();
        }
    }

    private unsafe void Start()
    {
        int first = Math.Min(Depth, Records.Length);
        var requests = new BlockRequest[first];
        for (int i = 0; i < first; i++)
        {
            requests[i] = _pool.TryRent()!;
            requests[i].Completion = this;
            *requests[i].OwnVectors = new IoVec(_buffer + (i * JournalLayout.HeaderBytes), JournalLayout.HeaderBytes);
        }

        // One of them may be done inside, and take what another was to begin with.
        foreach (BlockRequest request in requests)
        {
            if (_next < Records.Length)
            {
                Send(request);
            }
            else
            {
                _pool.Return(request);
            }
        }

        PartDone();
    }

    private unsafe void Send(BlockRequest request)
    {
        request.Tag = _next++;
        (int parity, int slot) = Math.DivRem((int)request.Tag, _layout.SlotCount);
        request.Prepare(
            BlockOperation.Read, _layout.OffsetOf(parity, slot), JournalLayout.HeaderBytes, request.OwnVectors, 1);
        request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable | BufferTraits.Aligned;
        _queue.Submit(request);
    }
}
