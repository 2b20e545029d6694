// The life of a queue: pause, resume, stop, exchange of memory, bases, dirty logging.

using Polyblk.Core.Block;
using Polyblk.Fakes;
using Polyblk.Fakes.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class LifeTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public LifeTests(SteppedReactor stepped) => _stepped = stepped;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task PausingWaitsForWhatIsInFlight(bool packed)
    {
        QueueHarness h = await Make(packed);
        Task paused = Task.CompletedTask;
        await _stepped.Run(_ =>
        {
            h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
            h.Queue.Poll();
            paused = h.Queue.PauseAsync();
            h.Blk.Submit(VIRTIO_BLK_T_IN, 8, [], 512);
        });
        await _stepped.Run(_ => Assert.Single(h.Drive.Held));
        Assert.False(paused.IsCompleted);
        await _stepped.Run(_ => h.Drive.CompleteAll());
        await paused;
        await _stepped.Run(_ =>
        {
            h.Queue.Poll();
            Assert.Equal(0, h.Drive.HeldCount);
            Assert.NotNull(h.Blk.TryGetAnswer());
            Assert.Null(h.Blk.TryGetAnswer());
        });
        await h.Queue.ResumeAsync();
        await _stepped.Run(_ =>
        {
            h.Settle();
            Assert.NotNull(h.Blk.TryGetAnswer());
            h.Dispose();
        });
    }

    [Theory]
    [InlineData(false, 64)]
    [InlineData(true, 64)]
    [InlineData(true, 7)]
    public Task ASuccessorGoesOnAtTheBase(bool packed, int size) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = size });
        for (int round = 0; round < 40; round++)
        {
            for (int i = 0; i < round % 3; i++)
            {
                Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_IN, 0, [], 512).Status);
            }

            uint next = h.Queue.End();
            h.Restart(h.Setup with { Base = next });
            Assert.Equal(next, h.Queue.Base);
        }
    });

    [Fact]
    public Task ThePackedBaseIsThatOfVhostUser() => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(true) with { Size = 8 });
        Assert.Equal(0x8000_8000u, h.Queue.Base);

        // Two descriptors each (header; data and status apart would be three).
        h.Do(VIRTIO_BLK_T_FLUSH, 0, [], 0);
        Assert.Equal(0x8002_8002u, h.Queue.End());
        h.Restart(h.Setup with { Base = 0x8002_8002 });
        for (int i = 0; i < 3; i++)
        {
            h.Do(VIRTIO_BLK_T_FLUSH, 0, [], 0);
        }

        Assert.Equal(0u, h.Queue.End());
    });

    /// <summary>A region that the front-end takes away stays mapped until no request points into it.</summary>
    [Fact]
    public async Task MemoryIsExchangedWhenDrained()
    {
        QueueHarness h = await Make(false);
        var kept = new List<GuestRegion>(h.Space.Memory.Regions.SkipLast(1));
        MappedRegion extra = MappedRegion.CreateAnonymous(8192);
        var first = new GuestMemory([.. kept, new GuestRegion(0x9_0000_0000, 0, extra)]);
        await h.Queue.SwapMemoryAsync(first);
        first.Dispose();
        extra.Dispose();
        await _stepped.Run(_ =>
        {
            h.Driver.AddAndPublish(
                [new(QueueHarness.ArenaAddress, 16, false), new(0x9_0000_0000, 512, true), new(QueueHarness.ArenaAddress + 32, 1, true)]);
            h.Queue.Poll();
        });
        Task swapped = h.Queue.SwapMemoryAsync(h.Space.Memory);
        await _stepped.Run(_ => Assert.Single(h.Drive.Held));
        Assert.False(swapped.IsCompleted);
        Assert.True(extra.IsMapped);
        await _stepped.Run(_ => h.Drive.CompleteAll());
        await swapped;
        Assert.False(extra.IsMapped);
        await _stepped.Run(_ =>
        {
            h.Settle();
            Assert.True(h.Driver.TryGetUsed(out int _, out uint _));
            h.Driver.AddAndPublish(
                [new(QueueHarness.ArenaAddress, 16, false), new(0x9_0000_0000, 512, true), new(QueueHarness.ArenaAddress + 32, 1, true)]);
            Assert.Equal(VirtqueueFault.None, h.PollFault());
            Assert.Equal(1, h.Queue.GetStatistics().Errors);
            h.Dispose();
        });
    }

    /// <summary>
    /// What a drive may still read stays mapped, although the request is done and the front-end has taken the region away.
    /// </summary>
    [Fact]
    public async Task MemoryThatIsLentStaysUntilItIsGivenBack()
    {
        QueueHarness h = await Make(false);
        MappedRegion extra = MappedRegion.CreateAnonymous(8192);
        var first = new GuestMemory([.. h.Space.Memory.Regions, new GuestRegion(0x9_0000_0000, 0, extra)]);
        await h.Queue.SwapMemoryAsync(first);
        first.Dispose();
        extra.Dispose();
        IDisposable? lent = null;
        await _stepped.Run(_ =>
        {
            h.Blk.Submit(VIRTIO_BLK_T_OUT, 0, new byte[512], 0);
            h.Queue.Poll();
            BlockRequest request = h.Drive.Held[0];
            lent = ((IMemoryLender)request.Completion!).Lend(request);
            h.Drive.CompleteAll();
        });
        await h.Queue.SwapMemoryAsync(h.Space.Memory);
        Assert.True(extra.IsMapped);
        await _stepped.Run(_ =>
        {
            h.Dispose();
            Assert.True(extra.IsMapped);
            lent!.Dispose();
            Assert.False(extra.IsMapped);
        });
    }

    [Fact]
    public async Task MemoryWithoutTheRingBreaksTheQueue()
    {
        QueueHarness h = await Make(true);
        using var empty = new GuestMemory([]);
        await Assert.ThrowsAsync<IOException>(() => h.Queue.SwapMemoryAsync(empty));
        Assert.Equal(VirtqueueFault.RingNotMapped, h.Queue.Fault!.Fault);
        await _stepped.Run(_ => h.Dispose());
    }

    /// <summary>
    /// A driver that stops its ring right after the successor of a killed target came: what that one had taken lies behind the
    /// ring's position, so it is answered before the stop, unless the queue has not been let run.
    /// </summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public async Task StoppingFirstDoesWhatAPredecessorHadTaken(bool packed, bool paused)
    {
        QueueHarness h = null!;
        Task<uint> stop = null!;
        await _stepped.Run(reactor =>
        {
            h = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = true, BatchSize = 2 });
            for (int i = 0; i < 6; i++)
            {
                h.Blk.Submit(VIRTIO_BLK_T_IN, (ulong)i, [], 512);
                h.Queue.Poll();
            }

            h.Restart(h.Setup with { StartPaused = paused });
            stop = h.Queue.StopAsync();
        });
        for (int turn = 0; turn < 10 && !stop.IsCompleted; turn++)
        {
            await _stepped.Run(_ => h.Settle());
        }

        await stop;
        Assert.Equal(paused ? 6 : 0, h.Queue.UndoneRecovered);
        await _stepped.Run(_ =>
        {
            for (int i = 0; i < 6; i++)
            {
                Assert.Equal(paused, h.Blk.TryGetAnswer() is null);
            }

            h.Dispose();
        });
    }

    [Fact]
    public async Task StoppingLetsGoOfEverything()
    {
        QueueHarness h = await Make(false);
        Assert.Equal(1, h.Drive.OpenQueues);
        uint next = await h.Queue.StopAsync();
        Assert.Equal(0u, next);
        Assert.Equal(0, h.Drive.OpenQueues);
        Assert.Equal(0u, await h.Queue.StopAsync());
        await h.Queue.PauseAsync();
        await h.Queue.ResumeAsync();
        await _stepped.Run(_ => h.Dispose());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task DirtyPagesAreLogged(bool packed)
    {
        QueueHarness h = await Make(packed);
        using MappedRegion bitmap = MappedRegion.CreateAnonymous(64 << 10);
        using var log = new DirtyLog(bitmap);
        await h.Queue.SetDirtyLogAsync(log, h.Setup.Addresses.Device);
        await _stepped.Run(_ =>
        {
            // A read, the device's name, and nothing but a status.
            foreach ((uint type, int bytes) in new[] { (VIRTIO_BLK_T_IN, 8192), (VIRTIO_BLK_T_GET_ID, 8192), (VIRTIO_BLK_T_FLUSH, 0) })
            {
                Clear(bitmap);
                GuestRequest request = h.Blk.Submit(type, 0, [], bytes)!;
                h.Settle();
                Assert.NotNull(h.Blk.TryGetAnswer());
                foreach (GuestBuffer buffer in request.WritableBuffers)
                {
                    for (ulong at = buffer.Address; at < buffer.Address + buffer.Length; at += 4096)
                    {
                        Assert.True(IsDirty(bitmap, at), $"{at:x} was written");
                    }
                }

                Assert.True(IsDirty(bitmap, h.Setup.Addresses.Device));
            }

            Assert.False(IsDirty(bitmap, QueueHarness.ArenaAddress + (10 * QueueHarness.ArenaRegionBytes)));
        });
        await h.Queue.SetDirtyLogAsync(null, null);
        await _stepped.Run(_ => Clear(bitmap));
        await _stepped.Run(_ =>
        {
            h.Do(VIRTIO_BLK_T_IN, 0, [], 8192);
            Assert.False(IsDirty(bitmap, QueueHarness.ArenaAddress));
            h.Dispose();
        });
    }

    /// <summary>
    /// A ring of several pages. The front-end takes the bits once between answers and their showing: what is changed after that
    /// is marked again, and nothing is left out.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task EveryPageOfTheRingThatAnswersChangeIsLogged(bool packed) => _stepped.Run(reactor =>
    {
        const int Size = 1024, Batch = 20, Rounds = 80;
        using MappedRegion bitmap = MappedRegion.CreateAnonymous(64 << 10);
        using var log = new DirtyLog(bitmap);
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = Size });
        ulong ring = packed ? h.Setup.Addresses.Descriptor : h.Setup.Addresses.Device;
        ulong bytes = packed ? RingLayout.DescriptorBytes * Size : RingLayout.UsedBytes(Size, eventIdx: false);
        h.Restart(h.Setup with { DirtyLog = log, UsedLogAddress = ring });
        for (int round = 0; round < Rounds; round++)
        {
            for (int i = 0; i < Batch; i++)
            {
                Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512));
            }

            h.Queue.Poll();
            Assert.Equal(Batch, h.Drive.HeldCount);
            Clear(bitmap);
            byte[] before = Copy(h, ring, bytes);
            h.Drive.CompleteAll();
            ulong[] taken = DirtyPages(bitmap, ring, bytes);
            Clear(bitmap);
            byte[] between = Copy(h, ring, bytes);
            h.Queue.Poll();
            ulong[] left = DirtyPages(bitmap, ring, bytes);
            byte[] after = Copy(h, ring, bytes);
            Assert.Subset(new HashSet<ulong>([.. taken, .. left]), new HashSet<ulong>(ChangedPages(before, after, ring)));
            Assert.Subset(new HashSet<ulong>(left), new HashSet<ulong>(ChangedPages(between, after, ring)));
            for (int i = 0; i < Batch; i++)
            {
                Assert.NotNull(h.Blk.TryGetAnswer());
            }
        }
    });

    private static unsafe byte[] Copy(QueueHarness h, ulong address, ulong bytes) =>
        new ReadOnlySpan<byte>(h.Space.At(address, (uint)bytes), (int)bytes).ToArray();

    private static ulong[] ChangedPages(byte[] before, byte[] after, ulong address) =>
        [.. Enumerable.Range(0, after.Length).Where(i => before[i] != after[i]).Select(i => (address + (ulong)i) / 4096).Distinct()];

    private static ulong[] DirtyPages(MappedRegion bitmap, ulong address, ulong bytes) =>
        [.. Enumerable.Range((int)(address / 4096), (int)(bytes / 4096) + 2).Select(p => (ulong)p).Where(p => IsDirty(bitmap, p * 4096))];

    [Fact]
    public void TheDirtyLogIgnoresWhatItHasNoBitFor()
    {
        using MappedRegion bitmap = MappedRegion.CreateAnonymous(1);
        using var log = new DirtyLog(bitmap);
        Assert.Equal(8UL * 4096, log.CoveredBytes);
        log.Mark(7 * 4096, 8192);
        log.Mark(ulong.MaxValue - 10, 5);
        log.Mark(0, 0);
        Assert.True(IsDirty(bitmap, 7 * 4096));
        Assert.False(IsDirty(bitmap, 0));
    }

    private static unsafe bool IsDirty(MappedRegion bitmap, ulong address) =>
        (bitmap.Address[address / 4096 / 8] & (1 << (int)(address / 4096 % 8))) != 0;

    private static unsafe void Clear(MappedRegion bitmap) => new Span<byte>(bitmap.Address, (int)bitmap.SizeBytes).Clear();

    private async Task<QueueHarness> Make(bool packed)
    {
        QueueHarness? h = null;
        await _stepped.Run(reactor => h = new QueueHarness(reactor, HarnessOptions.For(packed)));
        return h!;
    }
}
