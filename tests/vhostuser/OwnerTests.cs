// Descriptors that a queue takes over have one owner at every exit, also where the queue cannot use them.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Fakes;
using Polyblk.Frontends.VhostUser;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.VhostUser.Tests;

[Collection("alone")]
public sealed class OwnerTests
{
    [Theory]
    [InlineData("kick")]
    [InlineData("call")]
    [InlineData("error")]
    public async Task A_descriptor_that_the_running_queue_cannot_use_is_closed_and_the_one_before_stays(string kind)
    {
        int taken = SessionContext.Descriptors.Taken;
        using var memory = new SharedMemory(1 << 16, 0x1000_0000);
        using var ring = new RawRing(memory);
        using var queue = new BackendQueue(0, _ => { });
        Give(queue, kind);
        await RunOnAReactorThatEndsAsync(queue, memory, ring);
        int withQueue = HostileTests.OpenFds();
        Assert.Throws<ObjectDisposedException>(() => Give(queue, kind));
        Assert.Equal((withQueue, taken + 1), (HostileTests.OpenFds(), SessionContext.Descriptors.Taken));
        queue.Live = null;
        queue.Dispose();
        Assert.Equal(taken, SessionContext.Descriptors.Taken);
    }

    [Fact]
    public void What_is_no_eventfd_is_refused_and_closed_once()
    {
        int taken = SessionContext.Descriptors.Taken;
        using var closed = new CountdownEvent(1);
        var closer = new DescriptorCloser("user 1", 4, fd =>
        {
            _ = Libc.close(fd);
            closed.Signal();
        });
        using var queue = new BackendQueue(0, _ => { });
        (UnixSocket left, int right) = UnixSocket.Pair();
        using (left)
        {
            Assert.Throws<ProtocolException>(() => queue.SetKick(new ForeignDescriptor(right, closer)));
            Assert.True(closed.Wait(20_000), "it is closed");
        }

        Assert.Equal((taken, false), (SessionContext.Descriptors.Taken, queue.HasKick));
    }

    [Fact]
    public void A_region_that_is_removed_is_unmapped_with_the_last_table_that_holds_it()
    {
        const int Bytes = 1 << 16;
        int taken = MappingBudget.Mappings.Taken;
        int fd = Libc.memfd_create("region", Libc.MFD_CLOEXEC);
        Assert.Equal(0, Libc.ftruncate(fd, Bytes));
        using var memory = new BackendMemory(mustBeSealed: false, () => { }, (_, _) => { }, (_, _) => { });
        var described = new VhostUserMemoryRegion { guest_phys_addr = 0x1000, memory_size = Bytes, userspace_addr = 0x2000 };
        SharedRegion region = memory.Map(described, new ForeignDescriptor(fd, DescriptorCloser.Default));
        memory.Add(region).Dispose();
        GuestMemory inUse = memory.Table;
        inUse.AddReference();
        memory.Remove(described).Dispose();
        Assert.True(region.Region.Mapping.IsMapped);
        inUse.Release();
        Assert.Equal((false, taken), (region.Region.Mapping.IsMapped, MappingBudget.Mappings.Taken));
    }

    private static void Give(BackendQueue queue, string kind)
    {
        var given = new ForeignDescriptor(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), DescriptorCloser.Default);
        switch (kind)
        {
            case "kick":
                queue.SetKick(given);
                break;
            case "call":
                queue.SetCall(given);
                break;
            default:
                queue.SetError(given);
                break;
        }
    }

    private static async Task RunOnAReactorThatEndsAsync(BackendQueue queue, SharedMemory memory, RawRing ring)
    {
        using var reactors = new ReactorFixture(1, ringEntries: 0);
        var device = new GatedDevice(1 << 20);
        using var table = new GuestMemory([new GuestRegion(
            memory.GuestAddress, (ulong)AddressOf(memory), MappedRegion.Map(memory.File, 0, 1 << 16))]);
        vhost_vring_addr address = ring.Address(0);
        queue.Live = await VirtioBlkQueue.StartAsync(new VirtqueueSetup
        {
            Reactor = reactors.Reactors[0],
            Device = device,
            Virtio = new VirtioBlkDevice(device, new VirtioBlkDeviceOptions { Serial = "s", Queues = 1 }),
            Memory = table,
            Addresses = new VirtqueueAddresses(address.desc_user_addr, address.avail_user_addr, address.used_user_addr, AreUserAddresses: true),
            Size = RawRing.Size,
            Features = 1UL << 32,
            Kick = queue.Kick,
            Call = queue.Call,
            Error = queue.Error,
            MostInFlight = 4,
        });
    }

    private static unsafe nint AddressOf(SharedMemory memory) => (nint)memory.Address;
}
