// How long an export takes to answer, without a look at the clock for each request.
//
// What is measured is what the consumer of a busy queue sees: from the beginning of the turn that took the request out of the
// queue to the end of the turn in which its answer was published. The reactor knows both times, for it reads the clock once a
// turn (Reactor.TurnNs); so a request that is taken and answered within one turn took that turn, which is never 0. Time that a
// request waits in the queue before the turn that takes it, because the queue is not polled yet or has no room, is not seen from
// here.
//
// The requests of a turn that were taken in the same turn before, mostly all of a batch, are one addition to a histogram.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Core.Metering;

/// <summary>Times of the requests of one queue. On its reactor's thread; <see cref="Read"/> on any.</summary>
public sealed class TurnLatencies(Reactor reactor) : TurnEnding
{
    /// <summary>
    /// Groups of answers of a turn that differ by the turn that took them, or by operation; more are counted at once.
    /// </summary>
    private const int MostGroups = 64;

    private const long NoGroup = -1;

    private readonly OperationLatencies _latencies = new();
    private readonly Group[] _groups = new Group[MostGroups];
    private int _groupCount;

    // The group that answers are added to: when its requests were taken, with their kind in the lowest bits.
    private long _key = NoGroup;
    private int _count;

    /// <summary>A request is answered in this turn.</summary>
    /// <param name="operation">What it was; a constant, so that this costs nothing.</param>
    /// <param name="takenNs"><see cref="Reactor.TurnNs"/> of the turn that took it.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Answered(BlockOperation operation, long takenNs)
    {
        long key = (takenNs << OperationLatencies.KindBits) | (uint)OperationLatencies.KindOf(operation);
        if (key == _key)
        {
            _count++;
        }
        else
        {
            Begin(key);
        }
    }

    /// <summary>What was counted so far. Any thread.</summary>
    public LatencyTable Read() => _latencies.Read();

    /// <summary>Counts what was answered, in a queue that ends outside a turn.</summary>
    public void Settle() => OnTurnEnded(reactor.ReadNs());

    /// <inheritdoc/>
    protected internal override void OnTurnEnded(long nowNs)
    {
        for (int i = 0; i < _groupCount; i++)
        {
            Count(_groups[i].Key, _groups[i].Count, nowNs);
        }

        _groupCount = 0;
        if (_key != NoGroup)
        {
            Count(_key, _count, nowNs);
            _key = NoGroup;
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Begin(long key)
    {
        if (_key == NoGroup)
        {
            reactor.AtTurnEnd(this);
        }
        else if (_groupCount == MostGroups)
        {
            Settle();
        }
        else
        {
            _groups[_groupCount++] = new Group { Key = _key, Count = _count };
        }

        _key = key;
        _count = 1;
    }

    private void Count(long key, int count, long nowNs)
    {
        int kind = (int)key & ((1 << OperationLatencies.KindBits) - 1);
        _latencies.OfKind(kind).Add(nowNs - (key >> OperationLatencies.KindBits), count);
    }

    private struct Group
    {
        public long Key;
        public int Count;
    }
}
