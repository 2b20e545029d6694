// A device that is killed between any two stores to shared memory, and its successor: no request lost, none answered twice.
//
// The device throws out of the n-th store, for every n; what it had in flight at the drive is then done or not done, as chance
// has it. The driver does not notice, or works on before the successor comes: it takes the answers that it was shown, and asks
// for more.

using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class CrashTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public CrashTests(SteppedReactor stepped) => _stepped = stepped;

    [Theory]
    [InlineData(false, 16)]
    [InlineData(true, 16)]
    [InlineData(true, 13)]
    public Task KilledAfterEveryStore(bool packed, int size) => _stepped.Run(reactor =>
    {
        int stores = int.MaxValue;
        for (int n = 1; n <= stores; n++)
        {
            stores = RunAndCrash(reactor, packed, size, seed: 7, crashAt: n);
            RunAndCrash(reactor, packed, size, seed: 7, crashAt: n, worksOn: true);
        }

        Assert.True(stores > 60, $"only {stores} stores were seen");
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task KilledAgainAndAgain(bool packed) => _stepped.Run(reactor =>
    {
        for (int seed = 0; seed < 60; seed++)
        {
            RunAndCrash(reactor, packed, 16, seed, crashAt: 1 + (seed * 7 % 40), again: true, worksOn: seed % 2 != 0);
        }
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ResubmitsInTheOrderOfTaking(bool packed) => _stepped.Run(reactor =>
    {
        using var harness = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = true });
        for (int i = 0; i < 6; i++)
        {
            harness.Blk.Submit(VIRTIO_BLK_T_IN, (ulong)(10 - i), [], 512);
        }

        harness.Queue.Poll();
        Assert.Equal(6, harness.Drive.HeldCount);
        harness.Drive.Complete(2);
        harness.Drive.Complete(0);
        harness.Queue.Poll();
        harness.Restart();
        Assert.Equal(4, harness.Queue.GetStatistics().Recovered);
        harness.Queue.Poll();
        Assert.Equal([9L * 512, 7 * 512, 6 * 512, 5 * 512], harness.Drive.Held.Select(r => r.OffsetBytes));
        harness.Settle();
        for (int i = 0; i < 6; i++)
        {
            Assert.NotNull(harness.Blk.TryGetAnswer());
        }

        Assert.Null(harness.Blk.TryGetAnswer());
    });

    /// <summary>
    /// Head 0 in flight, nothing ever answered in this log, and a used index that is not zero: its mark must stay.
    /// </summary>
    [Fact]
    public Task EntryZeroStaysWhenNothingWasAnsweredYet() => _stepped.Run(reactor =>
    {
        using var harness = new QueueHarness(reactor, HarnessOptions.For(false) with { WithLog = true });

        // Some traffic without a log's knowledge: the used index runs to 4, and a new log starts there.
        for (int i = 0; i < 4; i++)
        {
            harness.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        }

        harness.Log!.Clear();
        harness.Restart(harness.Setup with { Base = 4 });
        GuestRequest request = harness.Blk.Submit(VIRTIO_BLK_T_IN, 3, [], 512)!;
        Assert.Equal(0, request.Token);
        harness.Queue.Poll();
        Assert.Equal(1, harness.Drive.HeldCount);

        harness.Restart(harness.Setup with { Base = 4 });
        Assert.Equal(1, harness.Queue.GetStatistics().Recovered);
        harness.Settle();
        Assert.Same(request, harness.Blk.TryGetAnswer()!.Request);
    });

    /// <summary>The driver was started afresh while the log keeps an old index and has nothing in flight.</summary>
    [Fact]
    public Task AnIdleLogFollowsAResetDriver() => _stepped.Run(reactor =>
    {
        using var harness = new QueueHarness(reactor, HarnessOptions.For(false) with { WithLog = true });
        unsafe
        {
            ((QueueRegionSplit*)harness.Log!.Address)->used_idx = 40_000;
            ((QueueRegionSplit*)harness.Log.Address)->last_batch_head = 5;
        }

        harness.Restart();
        Assert.Equal(VIRTIO_BLK_S_OK, harness.Do(VIRTIO_BLK_T_IN, 0, [], 512).Status);
        harness.Restart();
        Assert.Equal(0, harness.Queue.GetStatistics().Recovered);
    });

    public static TheoryData<string, bool> MalformedLogs() => new()
    {
        { "version", false }, { "desc_num", false }, { "batch", false }, { "used_idx", false }, { "more in flight than taken", false },
        { "version", true }, { "desc_num", true }, { "free_head", true }, { "used_idx", true }, { "wrap", true }, { "chain leaves", true },
        { "chain circles", true }, { "no descriptors", true }, { "last", true }, { "free list", true }, { "num", true },
    };

    [Theory]
    [MemberData(nameof(MalformedLogs))]
    public Task AMalformedLogIsRefused(string what, bool packed) => _stepped.Run(reactor =>
    {
        using var harness = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = true, Size = 16 });
        harness.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        harness.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        harness.Queue.Poll();
        Spoil(harness, what, packed);

        IOException error = Assert.Throws<IOException>(() => VirtioBlkQueue.Create(harness.Setup));
        Assert.Contains("inflight log", error.Message, StringComparison.Ordinal);
        harness.Log!.Clear();
    });

    private static unsafe void Spoil(QueueHarness harness, string what, bool packed)
    {
        byte* region = harness.Log!.Address;
        var split = (QueueRegionSplit*)region;
        var packedRegion = (QueueRegionPacked*)region;
        var entries = (DescStatePacked*)(region + sizeof(QueueRegionPacked));
        int head = 0;
        while (packed && entries[head].inflight == 0)
        {
            head++;
        }

        switch (what)
        {
            case "version": split->version = 2; break;
            case "desc_num": split->desc_num = 8; break;
            case "batch":
                split->used_idx--;
                split->last_batch_head = 16;
                break;
            case "used_idx" when !packed: split->used_idx = 30_000; break;
            case "more in flight than taken":
                for (int i = 0; i < 16; i++)
                {
                    ((DescStateSplit*)(region + sizeof(QueueRegionSplit)))[i].inflight = 1;
                }

                break;
            case "free_head": packedRegion->old_free_head = 17; break;
            case "used_idx": packedRegion->used_idx = 16; break;
            case "wrap": packedRegion->old_used_wrap_counter = 2; break;
            case "chain leaves": entries[head].next = 16; break;
            case "chain circles": entries[head].next = (ushort)head; break;
            case "no descriptors": entries[head].num = 0; break;
            case "last": entries[head].last = (ushort)head; break;
            case "num": entries[head].num = 17; break;
            case "free list": entries[packedRegion->old_free_head].next = packedRegion->old_free_head; break;
        }
    }

    private static int RunAndCrash(
        Reactor reactor, bool packed, int size, int seed, int crashAt, bool again = false, bool worksOn = false)
    {
        ulong features = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | (packed ? VIRTIO_F_RING_PACKED : 0);
        using var harness = new QueueHarness(reactor, new HarnessOptions { Features = features, Size = size, WithLog = true, Drive = new HeldDrive(64 << 10) });
        int stores = 0;
        int next = crashAt;
        VirtqueueSetup setup = harness.Setup with
        {
            AfterStore = () =>
            {
                if (++stores == next)
                {
                    throw new KilledException();
                }
            },
        };
        var random = new Random(seed);
        var run = new ModelRun(harness, new Random(seed));
        try
        {
            Guarded(() => harness.Restart(setup));
            for (int i = 0; i < 70; i++)
            {
                Guarded(run.Step);
            }

            next = 0;
            run.Finish();
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"packed {packed}, size {size}, seed {seed}, killed after store {crashAt}, works on {worksOn}: {e.Message}", e);
        }

        return stores;

        void Guarded(Action step)
        {
            try
            {
                step();
            }
            catch (KilledException)
            {
                while (harness.Drive.HeldCount != 0 && random.Next(3) != 0)
                {
                    harness.Drive.ExecuteAndLose(random.Next(harness.Drive.HeldCount));
                }

                if (worksOn)
                {
                    run.WorkOn();
                }

                next = again ? stores + 1 + random.Next(60) : 0;
                Guarded(() => harness.Restart(setup));
            }
        }
    }

    private sealed class KilledException : Exception;
}
