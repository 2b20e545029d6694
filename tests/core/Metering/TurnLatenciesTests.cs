// What a queue measures by its reactor's turns: with a clock of the test's, and with the real one.

using Polyblk.Core.Block;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;
using Polyblk.Fakes;

namespace Polyblk.Core.Tests.Metering;

public sealed class TurnLatenciesTests
{
    private static readonly ReactorOptions s_options = new() { Name = "metered", RingEntries = 0 };

    [Fact]
    public void ARequestTakesFromTheTurnThatTookItToTheOneThatAnsweredIt()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options, holdsThread: false, nowNs: 1_000_000);
        var queue = new Queue(reactor);
        reactor.Run(() => reactor.Add(queue));
        queue.Take = 3;
        reactor.Step();
        Assert.Equal(0, queue.Latencies.Read().All.Count);

        reactor.AdvanceTo(1_000_000 + 40_000);
        queue.Take = 1;
        queue.Answer = 2;
        reactor.Step();
        Assert.Equal((2, 80_000), Sum(queue));

        reactor.AdvanceTo(1_000_000 + 100_000);
        queue.Answer = 2;
        reactor.Step();
        Assert.Equal((4, 80_000 + 100_000 + 60_000), Sum(queue));
        Assert.Equal(LatencyScale.UpperNs(LatencyScale.IndexOf(100_000)), queue.Latencies.Read().Reads.PercentileNs(1));
    }

    /// <summary>Answers by far more turns and kinds than a turn has room for are all counted.</summary>
    [Fact]
    public void ATurnMayAnswerWhatManyTurnsTook()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options, holdsThread: false, nowNs: 0);
        var queue = new Queue(reactor);
        reactor.Run(() => reactor.Add(queue));
        for (int turn = 1; turn <= 300; turn++)
        {
            queue.Take = 2;
            reactor.Step();
            reactor.AdvanceTo(turn * 1000L);
        }

        queue.Answer = 600;
        reactor.Step();
        Assert.Equal((600, 2L * Enumerable.Range(1, 300).Sum(i => i * 1000L)), Sum(queue));
    }

    [Fact]
    public void KindsAreToldApart()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options, nowNs: 0);
        var latencies = new TurnLatencies(reactor);
        BlockOperation[] all = Enum.GetValues<BlockOperation>();
        foreach (BlockOperation operation in all)
        {
            latencies.Answered(operation, reactor.TurnNs);
        }

        reactor.AdvanceTo(5000);
        latencies.Settle();
        LatencyTable table = latencies.Read();
        Assert.Equal([1, 1, 1, 2], table.Kinds.Select(k => k.Counts.Count));
        Assert.Equal(25_000, table.All.SumNs);

        // It was asked for the end of the turn as well.
        reactor.Step();
        Assert.Equal(all.Length, latencies.Read().All.Count);
    }

    /// <summary>What is taken and answered in one turn took that turn, which is not nothing.</summary>
    [Fact]
    public async Task WhatIsAnsweredAtOnceTookATurn()
    {
        using var reactor = new Reactor(s_options);
        var queue = new Queue(reactor);
        long began = await reactor.InvokeAsync(reactor.ReadNs);
        await reactor.InvokeAsync(() =>
        {
            queue.Take = queue.Answer = 64;
            reactor.Add(queue);
        });
        while (queue.Latencies.Read().Reads.Count < 64)
        {
            await reactor.InvokeAsync(() => { });
        }

        long ended = await reactor.InvokeAsync(reactor.ReadNs);
        LatencyCounts reads = queue.Latencies.Read().Reads;
        Assert.Equal(64, reads.Count);
        Assert.InRange(reads.SumNs, 64, 64 * (ended - began));
        await reactor.InvokeAsync(() => reactor.Remove(queue));
    }

    [Fact]
    public void NothingIsAllocated()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options);
        var queue = new Queue(reactor);
        reactor.Add(queue);
        Assert.Equal(0, SteadyAllocation.Measure(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                queue.Take = queue.Answer = 5;
                reactor.Step();
                reactor.AdvanceTo(reactor.NowNs + 100);
            }
        }));
    }

    private static (long Count, long SumNs) Sum(Queue queue)
    {
        LatencyCounts all = queue.Latencies.Read().All;
        return (all.Count, all.SumNs);
    }

    /// <summary>Takes and answers so many in its next turn, the oldest first.</summary>
    private sealed class Queue(Reactor reactor) : IPoller
    {
        private readonly long[] _taken = new long[1024];
        private int _first, _count;

        public TurnLatencies Latencies { get; } = new(reactor);

        public int Take { get; set; }

        public int Answer { get; set; }

        public int Poll()
        {
            int taken = Take;
            for (; Take > 0; Take--)
            {
                _taken[(_first + _count++) % _taken.Length] = reactor.TurnNs;
            }

            for (; Answer > 0; Answer--)
            {
                Latencies.Answered(BlockOperation.Read, _taken[_first]);
                _first = (_first + 1) % _taken.Length;
                _count--;
            }

            return taken;
        }

        public bool TryArm() => Take == 0;

        public void Disarm()
        {
        }

        public void OnDropped(Exception error)
        {
        }
    }
}
