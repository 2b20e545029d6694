// What a reactor's way to a member counts of the requests that come back: how many, how large, and how long they took.
//
// Most drives answer in a later turn than the one that sent the request. Both turns' beginnings are known without a look at the
// clock (Reactor.TurnNs), so that is what is taken: from the beginning of the turn in which it was sent to that of the turn in
// which its answer was found, which is what the array had to wait. Memory and files in memory answer inside Submit, some in well
// below a microsecond, many in a turn: a look at the clock for each would cost more than is to be measured. Of those one in
// sixteen of each kind is timed, exactly, and stands for those that follow.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Map;

/// <summary>See the top of the file. On the reactor's thread; <see cref="Read"/> on any.</summary>
internal sealed class PortMeter(Reactor reactor)
{
    private const int Kinds = 5;

    /// <summary>Requests answered inside Submit that one of them stands for, besides itself.</summary>
    private const int Unsampled = 15;

    private readonly OperationLatencies _latencies = new();
    private readonly int[] _toSample = new int[Kinds];
    private readonly long[] _insideNs = new long[Kinds];
    private long _readBytes, _writtenBytes;

    /// <summary>A request goes to the drive now.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Sent(BlockRequest request) =>
        request.SentNs = _toSample[(int)request.Operation] == 0 ? -reactor.ReadNs() : reactor.TurnNs;

    /// <summary>A request is back from the drive, with or without an error.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Back(BlockRequest request)
    {
        long ns = reactor.TurnNs - request.SentNs;
        if (request.SentNs < 0 || ns == 0)
        {
            ns = TimeOf(request);
        }

        _latencies[request.Operation].Add(ns);

        if (request.Status == 0)
        {
            _readBytes += request.Operation == BlockOperation.Read ? request.LengthBytes : 0;
            _writtenBytes += request.Operation == BlockOperation.Write ? request.LengthBytes : 0;
        }
    }

    /// <summary>The time of a request that was timed by the clock, or that was answered in the turn that sent it.</summary>
    private long TimeOf(BlockRequest request)
    {
        ref int toSample = ref _toSample[(int)request.Operation];
        ref long insideNs = ref _insideNs[(int)request.Operation];
        if (request.SentNs < 0)
        {
            long ns = reactor.ReadNs() + request.SentNs;
            bool wasInside = -request.SentNs >= reactor.TurnNs;
            insideNs = wasInside ? ns : insideNs;
            toSample = Unsampled;
            return ns;
        }

        if (insideNs == 0)
        {
            // None was timed yet: it took no longer than since the turn began, and the next one is timed.
            toSample = 0;
            return reactor.ReadNs() - request.SentNs;
        }

        toSample -= toSample == 0 ? 0 : 1;
        return insideNs;
    }

    /// <summary>What was counted so far. Any thread.</summary>
    public MemberTraffic Read() => new(_latencies.Read(), Volatile.Read(ref _readBytes), Volatile.Read(ref _writtenBytes));
}
