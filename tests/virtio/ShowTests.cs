// Answers that a driver may see before the turn in which they came has ended.

using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class ShowTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public ShowTests(SteppedReactor stepped) => _stepped = stepped;

    public static TheoryData<ulong, bool> Kinds
    {
        get
        {
            var kinds = new TheoryData<ulong, bool>();
            foreach (ulong features in (ulong[])[0, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED, VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX])
            {
                kinds.Add(features, false);
                kinds.Add(features, true);
            }

            return kinds;
        }
    }

    /// <summary>After 2, 4, 8 and 16 answers; the driver is notified once, at the end.</summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public Task AnswersAreSeenWhileTheTurnGoesOnAndTheDriverIsNotifiedOnce(ulong features, bool withLog) => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20) { Inline = true };
        using var h = new QueueHarness(reactor, new HarnessOptions { Features = features, Size = 128, WithLog = withLog, Drive = drive });
        h.Driver.EnableCalls();
        int before = h.Call.Count;
        int seen = 0;
        var seenAt = new List<int>();
        drive.OnSubmit = _ =>
        {
            Assert.Equal(before, h.Call.Count);
            while (h.Blk.TryGetAnswer() is not null)
            {
                seen++;
            }

            seenAt.Add(seen);
        };
        for (int i = 0; i < 20; i++)
        {
            Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512));
        }

        h.Queue.Poll();
        Assert.Equal([0, 0, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16], seenAt);
        Assert.Equal(before + 1, h.Call.Count);
        while (h.Blk.TryGetAnswer() is not null)
        {
            seen++;
        }

        Assert.Equal(20, seen);
        Assert.Null(h.Queue.Fault);
    });

    /// <summary>
    /// The driver asks for a call at an answer that is shown early: the decision at the turn's end reaches back to it.
    /// </summary>
    [Theory]
    [MemberData(nameof(Kinds))]
    public Task ACallThatIsWantedAtAnAnswerShownEarlyComes(ulong features, bool withLog) => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20) { Inline = true };
        using var h = new QueueHarness(reactor, new HarnessOptions { Features = features, Size = 128, WithLog = withLog, Drive = drive });
        for (int turn = 0; turn < 50; turn++)
        {
            // It sleeps with an event index at the next answer, the first of seven; what it sees meanwhile moves no index.
            Assert.True(h.Driver.EnableCalls());
            int before = h.Call.Count;
            for (int i = 0; i < 7; i++)
            {
                Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512));
            }

            h.Queue.Poll();
            Assert.Equal(before + 1, h.Call.Count);
            h.Settle();
            for (int i = 0; i < 7; i++)
            {
                Assert.NotNull(h.Blk.TryGetAnswer());
            }
        }
    });

    /// <summary>A driver that has filled the ring beyond a turn is at work anyhow.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task WhoLeavesMoreThanATurnTakesIsShownAllAtOnce(bool packed) => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20) { Inline = true };
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = 128, Drive = drive, BatchSize = 4 });
        int seen = 0;
        var seenAt = new List<int>();
        drive.OnSubmit = _ =>
        {
            while (h.Blk.TryGetAnswer() is not null)
            {
                seen++;
            }

            seenAt.Add(seen);
        };
        for (int i = 0; i < 12; i++)
        {
            Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512));
        }

        for (int turn = 0; turn < 3; turn++)
        {
            h.Queue.Poll();
        }

        Assert.Equal([0, 0, 2, 2, 4, 4, 4, 4, 8, 8, 8, 8], seenAt);
    });
}
