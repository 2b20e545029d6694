// Nothing is released before it is published. A driver that makes more available within one turn than its ring holds, while the
// device answers at once, breaks its queue: neither the inflight log nor the list of answers overflows.

using Polyblk.Core.Virtio;
using Polyblk.Fakes.Virtio;
using static Polyblk.Core.Virtio.RingLayout;
using static Polyblk.Core.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio.Tests;

public sealed unsafe class ReleaseTests : IClassFixture<SteppedReactor>
{
    private const ulong Arena = QueueHarness.ArenaAddress;
    private const ulong StatusAddress = Arena + 0x8000;
    private readonly SteppedReactor _stepped;

    public ReleaseTests(SteppedReactor stepped) => _stepped = stepped;

    /// <summary>
    /// 31 chains of two fill a ring of 63 but for one entry, in which a further chain starts. All are answered inside the turn
    /// that takes them; the log has 63 entries, and what lies behind it belongs to somebody else.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ATurnTakesNoMoreThanAPackedRingHolds(bool withLog) => _stepped.Run(reactor =>
    {
        const int Size = 63;
        using var h = new QueueHarness(reactor, HarnessOptions.For(true) with { Size = Size, WithLog = withLog });
        *(virtio_blk_outhdr*)h.Space.At(Arena, 16) = new virtio_blk_outhdr { type = 99 };
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

        Assert.Equal(VirtqueueFault.AvailIndexJump, h.PollFault());
        Assert.Equal(31, h.Queue.GetStatistics().Errors);
        if (withLog)
        {
            byte* end = h.Log!.Address + PackedInflight.HeaderBytes + (Size * sizeof(DescStatePacked));
            var behind = new ReadOnlySpan<byte>(end, sizeof(DescStatePacked));
            Assert.True(behind.IndexOfAnyExcept((byte)0) < 0, "the device wrote behind the inflight log");
        }
    });

    /// <summary>
    /// While the device works on the second of two requests, the first is made available again although its answer was not shown.
    /// </summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public Task WhatIsAnsweredAndNotPublishedIsInUse(bool packed, bool withLog) => _stepped.Run(reactor =>
    {
        var drive = new HeldDrive(1 << 20) { Inline = true };
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = 2, WithLog = withLog, Drive = drive });
        int submitted = 0;
        drive.OnSubmit = _ =>
        {
            if (++submitted == 2)
            {
                MakeAvailableAgain(h);
            }
        };
        for (uint i = 0; i < 2; i++)
        {
            ulong at = Arena + (i * 0x1000);
            *(virtio_blk_outhdr*)h.Space.At(at, 16) = default;
            ulong table = Arena + 0x4000 + (i * 0x100);
            h.Driver.Add([new(at, 16, false), new(at + 0x200, 512, true), new(at + 0x100, 1, true)], table);
        }

        h.Driver.Publish();
        Assert.Equal(packed ? VirtqueueFault.AvailIndexJump : VirtqueueFault.DescriptorInUse, h.PollFault());
        Assert.Equal(2, submitted);
        Assert.Equal(2, h.Queue.GetStatistics().Reads);
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
            const ushort Flags = VIRTQ_DESC_F_INDIRECT | VIRTQ_DESC_F_USED;
            h.PackedRing.Ring[0] = new pvirtq_desc { addr = Arena + 0x4000, len = 48, id = 0, flags = Flags };
        }
        else
        {
            Volatile.Write(ref h.Split.Avail[1], 3);
        }
    }
}
