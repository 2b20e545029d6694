// A queue that throws is dropped by its reactor: it says so, nobody waits for it, and what the device still holds stays mapped.

using Polyblk.Core.Block;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio.Tests;

public sealed class DroppedTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public DroppedTests(SteppedReactor stepped) => _stepped = stepped;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ADroppedQueueSaysSoAndNobodyWaitsForIt(bool packed)
    {
        QueueHarness h = null!;
        Task pause = null!;
        var told = new TaskCompletionSource<VirtqueueFaultReport>(TaskCreationOptions.RunContinuationsAsynchronously);
        await _stepped.Run(reactor =>
        {
            h = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = true });
            h.Queue.Broken += (_, report) => told.TrySetResult(report);
            h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
            h.Queue.Poll();
            pause = h.Queue.PauseAsync();
        });
        await _stepped.Run(_ => Assert.Equal(1, h.Drive.HeldCount));
        Assert.False(pause.IsCompleted);
        await h.Queue.ResumeAsync();
        await _stepped.Run(_ =>
        {
            h.Drive.OnSubmit = _ => throw new InvalidDataException("a bug");
            h.Blk.Submit(VIRTIO_BLK_T_IN, 8, [], 512);
        });

        // The reactor polls the queue by itself between the steps.
        VirtqueueFaultReport report = await told.Task;
        Assert.Equal(VirtqueueFault.InternalError, report.Fault);
        Assert.Contains("InvalidDataException: a bug", report.Text, StringComparison.Ordinal);
        await pause;
        Assert.Equal(VirtqueueFault.InternalError, h.Queue.Fault!.Fault);
        await h.Queue.PauseAsync();
        await h.Queue.SwapMemoryAsync(h.Space.Memory);
        await h.Queue.StopAsync();
        await _stepped.Run(_ =>
        {
            Assert.Equal(1, h.Error.Count);
            Assert.Equal(1, h.Drive.OpenQueues);
            h.Drive.OnSubmit = null;
            h.Drive.CompleteAll();
            Assert.Null(h.Blk.TryGetAnswer());
            AbandonLeaks(h);
        });
    }

    /// <summary>What throws in a completion is not let through into the drive that completed.</summary>
    [Fact]
    public async Task AnErrorInACompletionStaysWithTheQueue()
    {
        QueueHarness h = null!;
        await _stepped.Run(reactor =>
        {
            var drive = new HeldDrive(1 << 20, new BlockLimits { MaxTransferBytes = 512 });
            h = new QueueHarness(reactor, HarnessOptions.For(false) with { Drive = drive });
            h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 1024);
            h.Queue.Poll();
            h.Drive.OnSubmit = _ => throw new InvalidDataException("a bug");
            h.Drive.Complete(0);
            Assert.Equal(VirtqueueFault.InternalError, h.Queue.Fault?.Fault);
        });
        await h.Queue.StopAsync();
        await _stepped.Run(_ => AbandonLeaks(h));
    }

    /// <summary>What was in flight when the queue was dropped is in the inflight log, and its successor does it.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ASuccessorDoesWhatADroppedQueueHadTaken(bool packed)
    {
        QueueHarness h = null!;
        await _stepped.Run(reactor =>
        {
            var drive = new HeldDrive(1 << 20) { Inline = true };
            h = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = true, Drive = drive });
            int submitted = 0;
            h.Drive.OnSubmit = _ =>
            {
                if (++submitted == 3)
                {
                    throw new InvalidDataException("a bug");
                }
            };
            for (int i = 0; i < 3; i++)
            {
                h.Blk.Submit(VIRTIO_BLK_T_IN, (ulong)i, [], 512);
            }
        });
        while (h.Queue.Fault is null)
        {
            await Task.Yield();
        }

        await h.Queue.StopAsync();
        await _stepped.Run(_ =>
        {
            h.Drive.OnSubmit = null;
            h.Restart();
            h.Settle();
            for (int i = 0; i < 3; i++)
            {
                Assert.Equal(VIRTIO_BLK_S_OK, h.Blk.TryGetAnswer()!.Status);
            }

            AbandonLeaks(h);
        });
    }

    /// <summary>
    /// The request in whose submission the drive threw never comes back, so what it points to is kept: that is the point.
    /// </summary>
    private static void AbandonLeaks(QueueHarness h)
    {
        h.Queue.End();
        Assert.InRange(h.Drive.OpenQueues, 0, 1);
    }
}
