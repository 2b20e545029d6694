// 100,000 requests of each kind, and not a byte allocated on the reactor's thread.

using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class AllocationTests : IClassFixture<SteppedReactor>
{
    private const int Size = 256;
    private const ulong Ring = 0x10_0000;
    private const ulong Buffers = 0x4000_0000;
    private readonly SteppedReactor _stepped;

    public AllocationTests(SteppedReactor stepped) => _stepped = stepped;

    public static TheoryData<bool, uint, int> Kinds()
    {
        var data = new TheoryData<bool, uint, int>();
        foreach (bool packed in (bool[])[false, true])
        {
            data.Add(packed, VIRTIO_BLK_T_IN, 4096);
            data.Add(packed, VIRTIO_BLK_T_OUT, 4096);
            data.Add(packed, VIRTIO_BLK_T_FLUSH, 0);
            data.Add(packed, VIRTIO_BLK_T_GET_ID, 20);
            data.Add(packed, VIRTIO_BLK_T_DISCARD, 16);
            data.Add(packed, VIRTIO_BLK_T_WRITE_ZEROES, 16);
            data.Add(packed, 77, 512);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public Task NothingIsAllocated(bool packed, uint type, int bytes) => _stepped.Run(reactor =>
    {
        var drive = new RamDrive(1 << 20);
        using var space = new GuestSpace((Ring, 1 << 20), (Buffers, 1 << 20));
        ulong features = VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_FLUSH | VIRTIO_F_EVENT_IDX | (packed ? VIRTIO_F_RING_PACKED : 0);
        GuestDriver driver = GuestDriver.Create(space, Size, features, Ring);
        var guest = new FastGuest(driver, Buffers, 64, type, bytes);
        var virtio = new VirtioBlkDevice(drive, new VirtioBlkDeviceOptions());
        virtio.SetFeatures(features);
        VirtioBlkQueue queue = VirtioBlkQueue.Create(new VirtqueueSetup
        {
            Reactor = reactor, Device = drive, Virtio = virtio, Memory = space.Memory, Addresses = driver.Addresses, Size = Size,
            Features = features, Base = driver.StartBase, Call = new CountingNotifier(),
        });
        Run(queue, guest, 2_000);
        long allocated = SteadyAllocation.Measure(() => Run(queue, guest, 100_000));
        Assert.Null(queue.Fault);
        VirtioBlkQueueStatistics statistics = queue.GetStatistics();
        queue.End();
        Assert.Equal(0, allocated);
        Assert.Equal(type == 77, statistics.Errors >= 100_000);
        Assert.Equal(type == VIRTIO_BLK_T_OUT, statistics.WriteBytes >= 100_000L * 4096);
    });

    private static void Run(VirtioBlkQueue queue, FastGuest guest, long requests)
    {
        long end = guest.Answered + requests;
        while (guest.Answered < end)
        {
            guest.Fill();
            queue.Poll();
            guest.Reap();
        }

        while (guest.InFlight != 0)
        {
            queue.Poll();
            guest.Reap();
        }
    }
}
