// How much a queue does in a turn when others share the reactor.

using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio.Tests;

public sealed class TurnTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public TurnTests(SteppedReactor stepped) => _stepped = stepped;

    [Fact]
    public Task ATurnIsDividedByOwnersAndThenByPollers() => _stepped.Run(reactor =>
    {
        object one = new();
        TurnShare first = reactor.JoinTurns(one);
        Assert.Equal(TurnShare.TurnBytes, first.PollerBytes);
        TurnShare other = reactor.JoinTurns(new object());
        Assert.Equal(TurnShare.TurnBytes / 2, first.PollerBytes);

        // More pollers of one owner take nothing from another.
        for (int i = 0; i < 3; i++)
        {
            Assert.Same(first, reactor.JoinTurns(one));
        }

        Assert.Equal(TurnShare.TurnBytes / 8, first.PollerBytes);
        Assert.Equal(TurnShare.TurnBytes / 2, other.PollerBytes);
        TurnShare[] more = [.. Enumerable.Range(0, 1000).Select(_ => reactor.JoinTurns(new object()))];
        Assert.Equal(TurnShare.LeastBytes, first.PollerBytes);
        Assert.All(more, m => Assert.Equal(TurnShare.LeastBytes, m.PollerBytes));
        Array.ForEach(more, reactor.LeaveTurns);
        reactor.LeaveTurns(other);
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(TurnShare.TurnBytes / (4 - i), first.PollerBytes);
            reactor.LeaveTurns(first);
        }
    });

    [Theory]
    [InlineData(1, 256)]
    [InlineData(2, 256)]
    [InlineData(64, 256)]
    [InlineData(3, 7)]
    public Task MoreQueuesGiveAnOwnerNoMoreOfATurn(int owners, int pollers) => _stepped.Run(reactor =>
    {
        object[] all = [.. Enumerable.Range(0, owners).Select(_ => new object())];
        TurnShare[] shares = [.. all.SelectMany(o => Enumerable.Range(0, pollers).Select(_ => reactor.JoinTurns(o)))];
        TurnShare one = shares[0];
        int[] tickets = [.. Enumerable.Range(0, pollers).Select(_ => one.TakeTicket())];
        long part = Math.Max(TurnShare.LeastBytes, TurnShare.TurnBytes / owners);
        var worked = new long[pollers];
        for (long turn = 0; turn < pollers; turn++)
        {
            long inTurn = 0;
            for (int i = 0; i < pollers; i++)
            {
                inTurn += one.BytesIn(turn, tickets[i]);
                worked[i] += one.BytesIn(turn, tickets[i]);
            }

            Assert.InRange(inTurn, 1, part + TurnShare.LeastBytes);
        }

        // None is forgotten.
        Assert.All(worked, w => Assert.InRange(w, TurnShare.LeastBytes, long.MaxValue));
        Array.ForEach(shares, reactor.LeaveTurns);
    });

    [Fact]
    public Task AQueueTakesPartFromItsStartToItsEnd() => _stepped.Run(reactor =>
    {
        TurnShare mine = reactor.JoinTurns(this);
        using (var h = new QueueHarness(reactor, HarnessOptions.For(false)))
        {
            Assert.Equal(TurnShare.TurnBytes / 2, mine.PollerBytes);
            Assert.Throws<IOException>(() => VirtioBlkQueue.Create(h.Setup with { Addresses = default }));
            Assert.Equal(TurnShare.TurnBytes / 2, mine.PollerBytes);
        }

        Assert.Equal(TurnShare.TurnBytes, mine.PollerBytes);
        reactor.LeaveTurns(mine);
    });

    [Theory]
    [InlineData(0, 32)]
    [InlineData(63, 3)]
    public Task AQueueTakesItsPartOfATurn(int others, int inFirstTurn) => _stepped.Run(reactor =>
    {
        const int Requests = 16;
        TurnShare[] shares = [.. Enumerable.Range(0, others).Select(_ => reactor.JoinTurns(new object()))];
        var drive = new HeldDrive(1 << 20) { Inline = true };
        using (var h = new QueueHarness(reactor, HarnessOptions.For(false) with { Drive = drive }))
        {
            for (int i = 0; i < Requests; i++)
            {
                Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 12 << 10));
            }

            Assert.Equal(Math.Min(Requests, inFirstTurn), h.Queue.Poll());
            h.Settle();
            Assert.Equal(Requests, h.Queue.GetStatistics().Reads);
        }

        Array.ForEach(shares, reactor.LeaveTurns);
    });

    /// <summary>
    /// A device that works inside Submit holds up the turn: what is large goes to it in parts, and small requests pass between
    /// them.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task LargeRequestsOfASharedReactorGoInPartsToADeviceThatIsMemory(bool packed) => _stepped.Run(reactor =>
    {
        const int Large = 512 << 10;
        TurnShare[] shares = [.. Enumerable.Range(0, 63).Select(_ => reactor.JoinTurns(new object()))];
        var drive = new HeldDrive(1 << 20) { Inline = true };
        new Random(4).NextBytes(drive.Content);
        using (var h = new QueueHarness(
            reactor, HarnessOptions.For(packed) with { Drive = drive, MoreRegions = [(0x10_0000_0000, 1 << 20)] }))
        {
            // The first shows of what kind the device is.
            Read(h, Large);
            h.Settle();
            drive.Log.Clear();
            Read(h, Large);
            h.Queue.Poll();
            Assert.InRange(drive.Log.Sum(l => l.Length), 1, 128 << 10);
            Assert.False(h.Queue.TryArm(), "The reactor would sleep although a part waits.");
            h.Queue.Disarm();
            Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_FLUSH, 0, [], 0));
            h.Queue.Poll();
            Assert.Contains(drive.Log, l => l.Operation == Polyblk.Core.Block.BlockOperation.Flush);
            Assert.True(drive.Log.Sum(l => l.Length) < Large);
            h.Settle();
            Assert.Null(h.Queue.Fault);
            Assert.Equal(Large, drive.Log.Sum(l => l.Length));
            Assert.All(drive.Log, l => Assert.InRange(l.Length, 0, 64 << 10));
            var got = new byte[Large];
            h.Space.Read(0x10_0000_1000, got);
            Assert.Equal(drive.Content.AsSpan(0, Large).ToArray(), got);
        }

        Array.ForEach(shares, reactor.LeaveTurns);
    });

    private static void Read(QueueHarness h, uint bytes)
    {
        const ulong Header = QueueHarness.ArenaAddress;
        h.Driver.AddAndPublish([new(Header, 16, false), new(0x10_0000_1000, bytes, true), new(Header + 512, 1, true)]);
    }
}
