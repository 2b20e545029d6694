// Discards and write-zeroes of gigabytes: they go to the device in bounded pieces, and a queue that is to come to rest does not
// wait for all of them.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio.Tests;

public sealed class RangeTests : IClassFixture<SteppedReactor>
{
    private const int MiB = 1 << 20;
    private const int DriveBytes = 128 * MiB;
    private const int AllSectors = DriveBytes / 512;
    private readonly SteppedReactor _stepped;

    public RangeTests(SteppedReactor stepped) => _stepped = stepped;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ZeroingGoesInPiecesOfWhichFewAreAtTheDevice(bool packed) => _stepped.Run(reactor =>
    {
        using QueueHarness h = Make(reactor, packed);
        Submit(h, VIRTIO_BLK_T_WRITE_ZEROES, 10);
        h.Queue.Poll();
        long most = 0;
        for (int i = 0; i < 20; i++)
        {
            Assert.All(h.Drive.Held, r => Assert.InRange(r.LengthBytes, 1, 16 * MiB));
            most = Math.Max(most, h.Drive.Held.Sum(r => r.LengthBytes));
            h.Drive.Complete(0);
            h.Queue.Poll();
        }

        Assert.Equal(64 * MiB, most);
        h.Settle();
        Assert.Equal(10, Answers(h).Count(a => a == VIRTIO_BLK_S_OK));
        Assert.Equal(10L * DriveBytes, h.Drive.Log.Sum(l => l.Length));
    });

    /// <summary>
    /// A piece that ends inside a stripe costs a parity array reading the rest, and of a discarded stripe nothing would be
    /// discarded.
    /// </summary>
    [Theory]
    [InlineData(VIRTIO_BLK_T_WRITE_ZEROES)]
    [InlineData(VIRTIO_BLK_T_DISCARD)]
    public Task PiecesEndWithStripes(uint type) => _stepped.Run(reactor =>
    {
        const int Stripe = 5 * MiB;
        using QueueHarness h = Make(reactor, false, new BlockLimits { Discard = true, OptimalIoSize = Stripe });
        Assert.NotNull(h.Blk.Submit(type, 0, ModelRun.Range(8, AllSectors - 8), 0));
        h.Settle();
        Assert.Equal(VIRTIO_BLK_S_OK, Assert.Single(Answers(h)));
        Assert.All(h.Drive.Log.SkipLast(1), l => Assert.Equal(0, (l.Offset + l.Length) % Stripe));
        Assert.Equal(DriveBytes - 4096, h.Drive.Log.Sum(l => l.Length));
    });

    /// <summary>A discard is advice: a queue that pauses is done with it after the piece that is at the device.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task APauseEndsDiscardsEarly(bool packed)
    {
        QueueHarness h = null!;
        Task pause = null!;
        await _stepped.Run(reactor =>
        {
            h = Make(reactor, packed);
            Submit(h, VIRTIO_BLK_T_DISCARD, 10);
            h.Queue.Poll();
            pause = h.Queue.PauseAsync();
        });
        await _stepped.Run(_ => h.Settle());
        await pause;
        await h.Queue.ResumeAsync();
        await _stepped.Run(_ =>
        {
            Assert.Equal(10, Answers(h).Count(a => a == VIRTIO_BLK_S_OK));
            Assert.Equal(64 * MiB, h.Drive.Log.Sum(l => l.Length));

            // After it, all is as before.
            Submit(h, VIRTIO_BLK_T_DISCARD, 1);
            h.Settle();
            Assert.Equal((64L * MiB) + DriveBytes, h.Drive.Log.Sum(l => l.Length));
            h.Dispose();
        });
    }

    /// <summary>Zeroing must not be called done when it is not: it is finished up to a bound, and beyond it fails.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task APauseFinishesAGibibyteOfZeroingAndFailsTheRest(bool packed)
    {
        QueueHarness h = null!;
        Task pause = null!;
        await _stepped.Run(reactor =>
        {
            h = Make(reactor, packed);
            Submit(h, VIRTIO_BLK_T_WRITE_ZEROES, 10);
            h.Queue.Poll();
            pause = h.Queue.PauseAsync();
        });
        await _stepped.Run(_ => h.Settle());
        await pause;
        await _stepped.Run(_ =>
        {
            Assert.Equal((64L * MiB) + VirtioBlkQueue.ZeroBytesWhilePausing, h.Drive.Log.Sum(l => l.Length));
            byte[] answers = Answers(h);
            Assert.Equal(8, answers.Count(a => a == VIRTIO_BLK_S_OK));
            Assert.Equal(2, answers.Count(a => a == VIRTIO_BLK_S_IOERR));
            h.Dispose();
        });
    }

    /// <summary>
    /// When the session ends nobody waits. The inflight log keeps what is not done, and the successor does it; without a log it
    /// fails.
    /// </summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public async Task AnEndingSessionLeavesThemToItsSuccessor(bool packed, bool withLog)
    {
        QueueHarness h = null!;
        Task<uint> stop = null!;
        await _stepped.Run(reactor =>
        {
            h = Make(reactor, packed, withLog: withLog);
            Submit(h, VIRTIO_BLK_T_WRITE_ZEROES, 5);
            Submit(h, VIRTIO_BLK_T_DISCARD, 5);
            h.Queue.Poll();
            stop = h.Queue.StopAsync(VirtqueueStop.Abandon);
        });
        await _stepped.Run(_ => h.Settle());
        uint next = await stop;
        await _stepped.Run(_ =>
        {
            Assert.Equal(64 * MiB, h.Drive.Log.Sum(l => l.Length));
            Assert.Equal(withLog ? 0 : 10, Answers(h).Count(a => a == VIRTIO_BLK_S_IOERR));
            h.Restart(h.Setup with { Base = next });
            Assert.Equal(withLog ? 10 : 0, h.Queue.GetStatistics().Recovered);
            h.Settle();
            Assert.Equal(withLog ? 10 : 0, Answers(h).Count(a => a == VIRTIO_BLK_S_OK));
            h.Dispose();
        });
    }

    /// <summary>The driver's other requests do not wait until all is zeroed.</summary>
    [Fact]
    public Task OtherRequestsGoOnMeanwhile() => _stepped.Run(reactor =>
    {
        using QueueHarness h = Make(reactor, false);
        Submit(h, VIRTIO_BLK_T_WRITE_ZEROES, 10);
        h.Queue.Poll();
        int held = h.Drive.HeldCount;
        Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512));
        h.Queue.Poll();
        Assert.Equal(held + 1, h.Drive.HeldCount);
    });

    /// <summary>What is announced is less than what is taken: drivers remember what an earlier version announced.</summary>
    [Fact]
    public void LittleZeroingIsAnnouncedAtATime()
    {
        var device = new VirtioBlkDevice(new HeldDrive(MiB), new VirtioBlkDeviceOptions());
        Assert.Equal(4u * MiB / 512, device.Config.max_write_zeroes_sectors);
        Assert.Equal(1u, device.Config.max_write_zeroes_seg);
        Assert.Equal(1u << 21, device.MaxWriteZeroesSectors);
        var limits = new BlockLimits { OptimalIoSize = 3 * MiB / 2 };
        device = new VirtioBlkDevice(new HeldDrive(MiB, limits), new VirtioBlkDeviceOptions());
        Assert.Equal(3u * MiB / 512, device.Config.max_write_zeroes_sectors);
    }

    private static QueueHarness Make(Reactor reactor, bool packed, BlockLimits? limits = null, bool withLog = false) =>
        new(reactor, HarnessOptions.For(packed) with { Drive = new HeldDrive(DriveBytes, limits), WithLog = withLog });

    private static void Submit(QueueHarness h, uint type, int count)
    {
        for (int i = 0; i < count; i++)
        {
            Assert.NotNull(h.Blk.Submit(type, 0, ModelRun.Range(0, AllSectors), 0));
        }
    }

    private static byte[] Answers(QueueHarness h)
    {
        var answers = new List<byte>();
        while (h.Blk.TryGetAnswer() is { } answer)
        {
            answers.Add(answer.Status);
        }

        return [.. answers];
    }
}
