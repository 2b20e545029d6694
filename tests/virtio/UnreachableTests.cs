// Buffers that are not in the memory shared with us: a DIMM that was plugged in and is not shared, an address that wraps, a hole.
// The request fails, the queue goes on; only where the status itself cannot be written the queue is broken.

using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioBlkProtocol;

namespace Polyblk.Virtio.Tests;

public sealed unsafe class UnreachableTests : IClassFixture<SteppedReactor>
{
    private const ulong Arena = QueueHarness.ArenaAddress;
    private const ulong ArenaEnd = Arena + (QueueHarness.ArenaRegions * QueueHarness.ArenaRegionBytes);
    private const ulong Table = Arena + 0x4000;
    private const ulong StatusAddress = Arena + 0x8000;
    private const ulong Nowhere = 0x9_0000_0000;
    private readonly SteppedReactor _stepped;

    public UnreachableTests(SteppedReactor stepped) => _stepped = stepped;

    public static TheoryData<bool, bool, bool, ulong> Buffers()
    {
        var data = new TheoryData<bool, bool, bool, ulong>();
        foreach (bool packed in (bool[])[false, true])
        {
            foreach (bool indirect in (bool[])[false, true])
            {
                foreach (bool withLog in (bool[])[false, true])
                {
                    data.Add(packed, indirect, withLog, Nowhere);
                    data.Add(packed, indirect, withLog, ArenaEnd - 256);
                    data.Add(packed, indirect, withLog, ulong.MaxValue - 100);
                }
            }
        }

        return data;
    }

    private static GuestBuffer Header => new(Arena, 16, false);

    private static GuestBuffer Status => new(StatusAddress, 1, true);

    [Theory]
    [MemberData(nameof(Buffers))]
    public Task AReadIntoItFails(bool packed, bool indirect, bool withLog, ulong address) =>
        Fails(packed, indirect, withLog, VIRTIO_BLK_T_IN, [Header, new(address, 512, true), Status], written: 0);

    [Theory]
    [MemberData(nameof(Buffers))]
    public Task AWriteFromItFails(bool packed, bool indirect, bool withLog, ulong address) =>
        Fails(packed, indirect, withLog, VIRTIO_BLK_T_OUT, [Header, new(address, 512, false), Status], written: 1);

    [Theory]
    [MemberData(nameof(Buffers))]
    public Task AHeaderInItFails(bool packed, bool indirect, bool withLog, ulong address) =>
        Fails(
            packed, indirect, withLog, VIRTIO_BLK_T_IN, [new(address, 512, false), new(Arena + 0x200, 512, true), Status], written: 513);

    [Theory]
    [MemberData(nameof(Buffers))]
    public Task AStatusInItBreaksTheQueue(bool packed, bool indirect, bool withLog, ulong address) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = withLog });
        h.Driver.AddAndPublish([Header, new(Arena + 0x200, 512, true), new(address, 512, true)], indirect ? Table : 0);
        Assert.Equal(VirtqueueFault.BufferNotMapped, h.PollFault());
        Assert.Equal(1, h.Error.Count);
        Assert.False(h.Driver.TryGetUsed(out _, out _), "A request was given back without a status: drivers read a stale one.");
    });

    /// <summary>A successor meets such a request in the inflight log.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ARecoveredRequestFailsAsWell(bool packed) => _stepped.Run(reactor =>
    {
        var more = (0x8_0000_0000UL, 0x1000UL);
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { WithLog = true, MoreRegions = [more] });
        h.Driver.AddAndPublish([Header, new(more.Item1, 512, true), Status]);
        h.Queue.Poll();
        Assert.Equal(1, h.Drive.HeldCount);
        using var less = new GuestMemory([.. h.Space.Memory.Regions.Where(r => r.GuestAddress != more.Item1)]);
        h.Restart(h.Setup with { Memory = less });
        h.Settle();
        Assert.Null(h.Queue.Fault);
        Assert.Equal(VIRTIO_BLK_S_IOERR, *h.Space.At(StatusAddress));
        Assert.True(h.Driver.TryGetUsed(out _, out _));
        Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_IN, 0, [], 512).Status);
    });

    private Task Fails(bool packed, bool indirect, bool withLog, uint type, GuestBuffer[] buffers, uint written) =>
        _stepped.Run(reactor => Fails(reactor, HarnessOptions.For(packed) with { WithLog = withLog }, indirect, type, buffers, written));

    private static void Fails(
        Reactor reactor, HarnessOptions options, bool indirect, uint type, GuestBuffer[] buffers, uint written)
    {
        using var h = new QueueHarness(reactor, options);
        var told = new List<string>();
        h.Queue.Unreachable += (_, text) => told.Add(text);
        for (int i = 0; i < 3; i++)
        {
            *(virtio_blk_outhdr*)h.Space.At(Arena, 16) = new virtio_blk_outhdr { type = type };
            *h.Space.At(StatusAddress) = 0xEE;
            h.Driver.AddAndPublish(buffers, indirect ? Table : 0);
            h.Settle();
            Assert.Null(h.Queue.Fault);
            Assert.Equal(VIRTIO_BLK_S_IOERR, *h.Space.At(StatusAddress));
            Assert.True(h.Driver.TryGetUsed(out _, out uint length));
            Assert.Equal(written, length);

            // The queue goes on.
            Assert.Equal(VIRTIO_BLK_S_OK, h.Do(VIRTIO_BLK_T_IN, 0, [], 512).Status);
        }

        Assert.DoesNotContain(h.Drive.Log, l => l.Length != 512 || l.Operation != Polyblk.Core.Block.BlockOperation.Read);
        Assert.Equal(3, h.Drive.Log.Count);
        Assert.Equal(3, h.Queue.GetStatistics().Errors);
        Assert.Contains("is not in the guest's memory", Assert.Single(told), StringComparison.Ordinal);
    }
}
