// Nothing is released before it is shown to the driver. A driver that makes more available within one turn than its ring holds
// breaks its queue: neither the inflight log nor the list of answers overflows.

using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.RingLayout;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio.Tests;

public sealed unsafe class ReleaseTests : IClassFixture<SteppedReactor>
{
    private const ulong Arena = QueueHarness.ArenaAddress;
    private const ulong StatusAddress = Arena + 0x8000;
    private readonly SteppedReactor _stepped;

    public ReleaseTests(SteppedReactor stepped) => _stepped = stepped;

    /// <summary>
    /// 31 chains of two fill a ring of 63 but for one entry, in which a further chain starts. All are taken in one turn; the log
    /// has 63 entries, and what lies behind it belongs to somebody else. Answered at once, they have left the ring before the
    /// last comes, which is then as good as any; held by the device, they have not.
    /// </summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public Task ATurnTakesNoMoreThanAPackedRingHolds(bool withLog, bool atOnce) => _stepped.Run(reactor =>
    {
        const int Size = 63;
        var drive = new HeldDrive(1 << 20) { Inline = atOnce };
        HarnessOptions options = HarnessOptions.For(true) with { Size = Size, WithLog = withLog, Drive = drive, BatchSize = 64 };
        using var h = new QueueHarness(reactor, options);
        *(virtio_blk_outhdr*)h.Space.At(Arena, 16) = new virtio_blk_outhdr { type = VIRTIO_BLK_T_FLUSH };
        for (int i = 0; i < Size; i++)
        {
            bool header = i % 2 == 0;
            h.PackedRing.Ring[i] = new pvirtq_desc
            {
                addr = header ? Arena : StatusAddress,
                len = header ? 16u : 1u,
                id = (ushort)i,
                flags = (ushort)(VIRTQ_DESC_F_AVAIL | (header ? VIRTQ_DESC_F_NEXT : VIRTQ_DESC_F_WRITE)),
            };
        }

        Assert.Equal(atOnce ? VirtqueueFault.None : VirtqueueFault.AvailIndexJump, h.PollFault());
        Assert.Equal(atOnce ? 32 : 31, h.Queue.GetStatistics().Flushes);
        if (withLog)
        {
            byte* end = h.Log!.Address + PackedInflight.HeaderBytes + (Size * sizeof(DescStatePacked));
            var behind = new ReadOnlySpan<byte>(end, sizeof(DescStatePacked));
            Assert.True(behind.IndexOfAnyExcept((byte)0) < 0, "the device wrote behind the inflight log");
        }
    });

    /// <summary>
    /// While the device works on the third of three requests, that one is made available again: its answer was not shown, those
    /// of the first two were.
    /// </summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public Task WhatIsAnsweredAndNotPublishedIsInUse(bool packed, bool withLog) => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20) { Inline = true };
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = 4, WithLog = withLog, Drive = drive });
        int submitted = 0;
        drive.OnSubmit = _ =>
        {
            if (++submitted == 3)
            {
                MakeAvailableAgain(h);
            }
        };
        for (uint i = 0; i < 3; i++)
        {
            ulong at = Arena + (i * 0x1000);
            *(virtio_blk_outhdr*)h.Space.At(at, 16) = default;
            ulong table = Arena + 0x4000 + (i * 0x100);
            h.Driver.Add([new(at, 16, false), new(at + 0x200, 512, true), new(at + 0x100, 1, true)], table);
        }

        h.Driver.Publish();
        Assert.Equal(VirtqueueFault.DescriptorInUse, h.PollFault());
        Assert.Equal(3, submitted);
        Assert.Equal(3, h.Queue.GetStatistics().Reads);
    });

    /// <summary>After it was published, everything may be used again, in the same ring and for ever.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public Task WhatIsPublishedMayBeUsedAgain(bool packed, bool withLog) => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20) { Inline = true };
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = 4, WithLog = withLog, Drive = drive });
        for (int i = 0; i < 100; i++)
        {
            Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_IN, 0, [], 512).Status);
        }
    });

    private static void MakeAvailableAgain(QueueHarness h)
    {
        if (h.Packed)
        {
            pvirtq_desc* third = h.PackedRing.Ring + 2;
            h.PackedRing.Ring[3] = new pvirtq_desc { addr = third->addr, len = third->len, id = third->id, flags = third->flags };
        }
        else
        {
            h.Split.Avail[2 + 3] = h.Split.Avail[2 + 2];
            Volatile.Write(ref h.Split.Avail[1], 4);
        }
    }
}
