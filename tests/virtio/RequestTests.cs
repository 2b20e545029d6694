// The commands of virtio-blk, their checks, and how requests meet a device's limits.

using Polyblk.Core.Block;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class RequestTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public RequestTests(SteppedReactor stepped) => _stepped = stepped;

    public static TheoryData<bool> BothKinds => [false, true];

    [Theory]
    [MemberData(nameof(BothKinds))]
    public Task GetIdGivesTwentyBytes(bool packed) => With(packed, h =>
    {
        GuestAnswer answer = h.Do(VIRTIO_BLK_T_GET_ID, 0, [], 20, new ChainShape { Writable = [3, 0, 9] });
        Assert.Equal(VIRTIO_BLK_S_OK, answer.Status);
        Assert.Equal("a-serial-number\0\0\0\0\0"u8.ToArray(), answer.In);
        Assert.Equal("a-se"u8.ToArray(), h.Do(VIRTIO_BLK_T_GET_ID, 0, [], 4).In);
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_GET_ID, 0, [], 0).Status);

        // What lies behind the serial is not touched.
        Assert.Equal(0xEE, h.Do(VIRTIO_BLK_T_GET_ID, 0, [], 30).In[20]);
    });

    [Theory]
    [InlineData(2)]
    [InlineData(10)]
    [InlineData(14)]
    [InlineData(0x7fff_ffff)]
    public Task UnknownCommandsAreUnsupported(uint type) => With(false, h =>
    {
        Assert.Equal(VIRTIO_BLK_S_UNSUPP, h.Do(type, 0, [], 64).Status);
        Assert.Equal(1, h.Queue.GetStatistics().Errors);
        Assert.Empty(h.Drive.Log);
    });

    /// <summary>As many times as requests that were done, of each kind; those that failed have none.</summary>
    [Theory]
    [MemberData(nameof(BothKinds))]
    public Task WhatIsDoneHasATime(bool packed) => With(packed, h =>
    {
        h.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        h.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        h.Do(VIRTIO_BLK_T_OUT, 0, new byte[512], 0);
        h.Do(VIRTIO_BLK_T_FLUSH, 0, [], 0);
        h.Do(VIRTIO_BLK_T_DISCARD, 0, ModelRun.Range(0, 8), 0);
        h.Do(VIRTIO_BLK_T_WRITE_ZEROES, 0, ModelRun.Range(0, 8), 0);
        h.Do(VIRTIO_BLK_T_IN, long.MaxValue / 1024, [], 512);

        // The queue ends within the turn.
        h.Queue.End();
        VirtioBlkQueueStatistics statistics = h.Queue.GetStatistics();
        Assert.Equal([2, 1, 1, 2], statistics.Latencies.Kinds.Select(k => k.Counts.Count));
        Assert.Equal((2, 1, 1), (statistics.Reads, statistics.Writes, statistics.Flushes));
        Assert.Equal((2, 1), (statistics.Discards, statistics.Errors));
    });

    [Fact]
    public Task AReadOnlyDeviceRefusesWrites() => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { ReadOnly = true });
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_OUT, 0, new byte[512], 0).Status);
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_DISCARD, 0, ModelRun.Range(0, 8), 0).Status);
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_WRITE_ZEROES, 0, ModelRun.Range(0, 8), 0).Status);
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_IN, 0, [], 512).Status);
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_FLUSH, 0, [], 0).Status);
    });

    [Theory]
    [InlineData(0UL, 511)]
    [InlineData(0UL, 4096 + 512)]
    [InlineData(1UL, 4096)]
    [InlineData(256UL, 4096)]
    [InlineData(ulong.MaxValue, 4096)]
    [InlineData(ulong.MaxValue / 512, 4096)]
    [InlineData(1UL << 55, 4096)]
    public Task BadRangesAreErrors(ulong sector, int bytes) => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(128 << 10, new BlockLimits { LogicalBlockSize = 4096 });
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { Drive = drive });
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_IN, sector, [], bytes).Status);
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_OUT, sector, new byte[bytes], 0).Status);
        Assert.Equal(2, h.Queue.GetStatistics().Errors);
    });

    [Fact]
    public Task NothingToTransferIsFine() => With(false, h =>
    {
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_IN, 5, [], 0).Status);
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_OUT, 5, [], 0).Status);
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_IN, 5000, [], 0).Status);
    });

    [Theory]
    [InlineData(-Errno.EIO, VIRTIO_BLK_S_IOERR)]
    [InlineData(-Errno.ENOSPC, VIRTIO_BLK_S_IOERR)]
    [InlineData(-Errno.EOPNOTSUPP, VIRTIO_BLK_S_UNSUPP)]
    public Task ErrorsOfTheDevice(int status, byte expected) => With(true, h =>
    {
        h.Drive.ForcedStatus = status;
        Assert.Equal(expected, h.Do(VIRTIO_BLK_T_IN, 0, [], 512).Status);
        Assert.Equal(expected, h.Do(VIRTIO_BLK_T_FLUSH, 0, [], 0).Status);
        Assert.Equal(expected, h.Do(VIRTIO_BLK_T_DISCARD, 0, ModelRun.Range(0, 8), 0).Status);
    });

    [Theory]
    [InlineData(false, false, true)]
    [InlineData(true, false, false)]
    [InlineData(false, true, false)]
    [InlineData(true, true, false)]
    public Task WriteThroughWhenFlushIsNotNegotiated(bool flush, bool wce, bool writeThrough) => With(false, h =>
    {
        h.Virtio.SetFeatures((flush ? VIRTIO_BLK_F_FLUSH : 0) | (wce ? VIRTIO_BLK_F_CONFIG_WCE : 0));
        CheckDurability(h, writeThrough);
    });

    [Fact]
    public Task TheConfigByteDecidesWithConfigWce() => With(false, h =>
    {
        h.Virtio.SetFeatures(VIRTIO_BLK_F_FLUSH | VIRTIO_BLK_F_CONFIG_WCE);
        CheckDurability(h, false);
        Assert.True(h.Virtio.TryWriteConfig(32, [0]));
        CheckDurability(h, true);
        Assert.True(h.Virtio.TryWriteConfig(32, [1]));
        CheckDurability(h, false);
    });

    [Fact]
    public Task DiscardsSeveralRanges() => With(true, h =>
    {
        Array.Fill(h.Drive.Content, (byte)1);
        byte[] ranges = [.. ModelRun.Range(0, 8), .. ModelRun.Range(100, 0), .. ModelRun.Range(64, 16)];
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_DISCARD, 0, ranges, 0, new ChainShape { Readable = [5, 20, 1] }).Status);
        Assert.Equal(
            [(BlockOperation.Discard, 0L, 4096L), (BlockOperation.Discard, 64L * 512, 16L * 512)],
            h.Drive.Log.Select(l => (l.Operation, l.Offset, l.Length)));
        Assert.Equal(0, h.Drive.Content[0]);
        Assert.Equal(1, h.Drive.Content[4096]);
        Assert.Equal(1, h.Queue.GetStatistics().Discards);
    });

    [Fact]
    public Task WriteZeroesPassesUnmapOn() => With(false, h =>
    {
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_WRITE_ZEROES, 0, [.. ModelRun.Range(0, 8, 1), .. ModelRun.Range(8, 8)], 0).Status);
        Assert.Equal([BlockFlags.Unmap, BlockFlags.None], h.Drive.Log.Select(l => l.Flags));
    });

    [Theory]
    [InlineData(VIRTIO_BLK_T_DISCARD, 1u, VIRTIO_BLK_S_UNSUPP)]
    [InlineData(VIRTIO_BLK_T_DISCARD, 2u, VIRTIO_BLK_S_UNSUPP)]
    [InlineData(VIRTIO_BLK_T_WRITE_ZEROES, 2u, VIRTIO_BLK_S_UNSUPP)]
    [InlineData(VIRTIO_BLK_T_WRITE_ZEROES, 3u, VIRTIO_BLK_S_UNSUPP)]
    public Task UnknownFlagsOfARange(uint type, uint flags, byte expected) => With(false, h =>
    {
        // The bad range is the second: the first must not be touched either.
        Assert.Equal(expected, h.Do(type, 0, [.. ModelRun.Range(0, 8), .. ModelRun.Range(8, 8, flags)], 0).Status);
        Assert.Empty(h.Drive.Log);
    });

    [Theory]
    [InlineData(0)]
    [InlineData(15)]
    [InlineData(17)]
    [InlineData(33 * 16)]
    public Task RangeListsOfABadLength(int bytes) => With(false, h =>
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_DISCARD, 0, new byte[bytes], 0).Status));

    [Theory]
    [InlineData(2048UL, 1)]
    [InlineData(2047UL, 2)]
    [InlineData(ulong.MaxValue, 8)]
    [InlineData(0UL, 0x7fff_ffff)]
    public Task RangesBeyondTheDevice(ulong sector, int sectors) => With(false, h =>
    {
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_WRITE_ZEROES, 0, ModelRun.Range(sector, sectors), 0).Status);
        Assert.Empty(h.Drive.Log);
    });

    [Fact]
    public Task RangesThatMissTheBlockSize() => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(128 << 10, new BlockLimits { LogicalBlockSize = 4096, Discard = true });
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { Drive = drive });
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_DISCARD, 0, ModelRun.Range(1, 8), 0).Status);
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_DISCARD, 0, ModelRun.Range(8, 7), 0).Status);
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_DISCARD, 0, ModelRun.Range(8, 16), 0).Status);
    });

    [Fact]
    public Task DiscardIsUnsupportedWhereTheDeviceHasNone() => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(128 << 10, new BlockLimits());
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { Drive = drive });
        Assert.Equal(VIRTIO_BLK_S_UNSUPP, h.Do(VIRTIO_BLK_T_DISCARD, 0, ModelRun.Range(0, 8), 0).Status);
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_WRITE_ZEROES, 0, ModelRun.Range(0, 8), 0).Status);
    });

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public async Task LargeTransfersGoInParts(bool inline, bool packed)
    {
        var limits = new BlockLimits { MaxTransferBytes = 1024, MaxSegments = 3 };
        var drive = new HeldDrive(1 << 20, limits) { Inline = inline };
        var data = new byte[16 << 10];
        new Random(3).NextBytes(data);
        QueueHarness? h = null;
        await _stepped.Run(reactor => h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Drive = drive }));
        try
        {
            // Segments whose borders are not those of blocks.
            var shape = new ChainShape { Readable = [16, 300, 300, 5000, 1, 700] };
            GuestAnswer write = await DoOverTurns(h!, VIRTIO_BLK_T_OUT, data, 0, shape);
            Assert.Equal(VIRTIO_BLK_S_OK, write.Status);
            Assert.Equal(data, drive.Content.AsSpan(4096, data.Length).ToArray());
            Assert.All(drive.Log, l => Assert.InRange(l.Length, 512, 1024));
            Assert.Equal(data.Length, drive.Log.Sum(l => l.Length));
            GuestAnswer read = await DoOverTurns(h!, VIRTIO_BLK_T_IN, [], data.Length, new ChainShape { Writable = [700, 3, 2000] });
            Assert.Equal(data, read.In);
        }
        finally
        {
            await _stepped.Run(_ => h!.Dispose());
        }
    }

    [Fact]
    public Task ABlockInTooManyPiecesIsAnError() => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20, new BlockLimits { MaxSegments = 2 });
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { Drive = drive });
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Do(VIRTIO_BLK_T_OUT, 0, new byte[512], 0, new ChainShape { Readable = [16, 100, 100] }).Status);
    });

    [Fact]
    public Task TheFirstErrorEndsATransferInParts() => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20, new BlockLimits { MaxTransferBytes = 512 });
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { Drive = drive });
        h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 2048);
        h.Queue.Poll();
        h.Drive.Complete(0);
        h.Drive.ForcedStatus = -Errno.EIO;
        h.Settle();
        Assert.Equal(VIRTIO_BLK_S_IOERR, h.Blk.TryGetAnswer()!.Status);
        Assert.Equal(2, h.Drive.Log.Count);
    });

    [Fact]
    public Task WriteThroughFlushesAfterZeroes() => With(false, h =>
    {
        h.Virtio.SetFeatures(0);
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_WRITE_ZEROES, 0, [.. ModelRun.Range(0, 8), .. ModelRun.Range(8, 8)], 0).Status);
        Assert.Equal([BlockOperation.WriteZeroes, BlockOperation.WriteZeroes, BlockOperation.Flush], h.Drive.Log.Select(l => l.Operation));
    });

    [Fact]
    public Task ATurnTakesABoundedNumberOfRequests() => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { BatchSize = 5, Size = 256 });
        for (int i = 0; i < 20; i++)
        {
            Assert.NotNull(h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512));
        }

        Assert.Equal(5, h.Queue.Poll());
        Assert.Equal(5, h.Drive.HeldCount);
    });

    [Theory]
    [MemberData(nameof(BothKinds))]
    public Task ATurnTakesABoundedNumberOfBytes(bool packed) => _stepped.Run(reactor =>
    {
        const ulong Large = 0x10_0000_0000;
        const uint Bytes = 512 << 10;
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { MoreRegions = [(Large, Bytes)] });
        for (int i = 0; i < 10; i++)
        {
            h.Driver.AddAndPublish([new(QueueHarness.ArenaAddress, 16, false), new(Large, Bytes, true), new(QueueHarness.ArenaAddress + 4096, 1, true)]);
        }

        // 2 MiB are four of them: what they need besides their data counts as well.
        Assert.Equal([4, 4, 2, 0], new[] { h.Queue.Poll(), h.Queue.Poll(), h.Queue.Poll(), h.Queue.Poll() });
        h.Settle();
        Assert.Null(h.Queue.Fault);
        Assert.Equal(10, h.Queue.GetStatistics().Reads);
    });

    /// <summary>A guest's many descriptors without length are no data, but reading them takes the reactor's time.</summary>
    [Theory]
    [InlineData(false, 1000, 33)]
    [InlineData(true, 1000, 33)]
    [InlineData(false, 100, 40)]
    [InlineData(true, 100, 40)]
    public unsafe Task ATurnTakesABoundedNumberOfDescriptors(bool packed, int empty, int inFirstTurn) => _stepped.Run(reactor =>
    {
        const ulong Tables = 0x10_0000_0000;
        const int Requests = 40;
        ulong tableBytes = ((ulong)empty + 3) * 16;
        (ulong, ulong) tables = (Tables, ((Requests * tableBytes) + 4095) & ~4095UL);
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { BatchSize = 64, MoreRegions = [tables] });
        GuestBuffer[] chain =
        [
            new(QueueHarness.ArenaAddress, 16, false), .. Enumerable.Repeat(new GuestBuffer(QueueHarness.ArenaAddress, 0, false), empty),
            new(QueueHarness.ArenaAddress + 4096, 512, true), new(QueueHarness.ArenaAddress + 8192, 1, true),
        ];
        for (ulong i = 0; i < Requests; i++)
        {
            h.Driver.AddAndPublish(chain, Tables + (i * tableBytes));
        }

        Assert.Equal(inFirstTurn, h.Queue.Poll());
        h.Settle();
        Assert.Null(h.Queue.Fault);
        Assert.Equal(Requests, h.Queue.GetStatistics().Reads);
    });

    /// <summary>A request that takes several turns of the reactor, which run between the calls.</summary>
    private async Task<GuestAnswer> DoOverTurns(QueueHarness h, uint type, byte[] data, int inBytes, ChainShape shape)
    {
        await _stepped.Run(_ => h.Blk.Submit(type, 8, data, inBytes, shape));
        for (int i = 0; i < 1000; i++)
        {
            GuestAnswer? answer = null;
            await _stepped.Run(_ =>
            {
                h.Queue.Poll();
                h.Drive.CompleteAll();
                answer = h.Blk.TryGetAnswer();
            });
            if (answer is not null)
            {
                return answer;
            }
        }

        throw new InvalidOperationException("The request was not answered.");
    }

    private static void CheckDurability(QueueHarness h, bool writeThrough)
    {
        h.Drive.Log.Clear();
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_OUT, 0, new byte[512], 0).Status);
        Assert.Equal(writeThrough ? BlockFlags.Fua : BlockFlags.None, Assert.Single(h.Drive.Log).Flags);
    }

    private Task With(bool packed, Action<QueueHarness> body) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed));
        body(h);
    });
}
