using Microsoft.Win32.SafeHandles;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>What memory of a front-end may be, and what becomes of memory that is not as it should be.</summary>
public sealed class MemoryKindTests : IDisposable
{
    private const uint MFD_HUGETLB = 4;
    private const uint MFD_HUGE_2MB = 21u << 26;

    private readonly ExportFixture _fixture = new();
    private readonly SharedMemory _memory = new(1 << 16, 0x1000_0000);
    private readonly RawRing _ring;
    private readonly VhostUserClient _neighbour;

    public MemoryKindTests()
    {
        _ring = new RawRing(_memory);
        _neighbour = _fixture.Attach();
    }

    public void Dispose()
    {
        Assert.Equal(0, _neighbour.Queues[0].Do(ClientOperation.Write, 0, 4096));
        _neighbour.Dispose();
        _fixture.Dispose();
        _ring.Dispose();
        _memory.Dispose();
    }

    /// <summary>
    /// A file on a disk is refused before it is mapped: an access to it may wait, and everybody on the reactor with it.
    /// </summary>
    [Fact]
    public void Memory_on_a_disk_is_refused_and_the_log_says_what_to_use()
    {
        // The build's own folder: a file system on a disk or an overlay, wherever this runs.
        string path = Path.Combine(AppContext.BaseDirectory, $"memory-{Guid.NewGuid():n}");
        using FileStream file = File.Create(path);
        try
        {
            file.SetLength(1 << 16);
            Assert.NotNull(ForeignMemory.WhyRefused(file.SafeFileHandle));
            using RawFrontend f = _fixture.Connect();
            f.Negotiate();
            int fd = (int)file.SafeFileHandle.DangerousGetHandle();
            Assert.Equal(1UL, f.Acked(ADD_MEM_REG, Slot(0x2000_0000, 1 << 16), [fd]));
            Assert.Equal(1UL, f.Acked(SET_MEM_TABLE, RawFrontend.Table(Slot(0x2000_0000, 1 << 16).region), [fd]));
            Assert.Contains(_fixture.Log.Lines, l => l.Contains("memory-backend-memfd,share=on", StringComparison.Ordinal));
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>
    /// Sealed huge pages of which there are none: the access faults although nobody made the memory shorter. Once with the ring
    /// itself there. The process lives, the session ends.
    /// </summary>
    [Theory]
    [InlineData("off")]
    [InlineData("on")]
    public void Huge_pages_that_do_not_exist_cost_the_session_and_nothing_else(string sealedMemory)
    {
        const ulong Bytes = 64UL << 20;
        using var fixture = new ExportFixture(options: new Dictionary<string, string> { ["sealed-memory"] = sealedMemory });
        using var file = new SafeFileHandle(
            Libc.memfd_create("huge", Libc.MFD_CLOEXEC | Libc.MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB), true);
        Assert.False(file.IsInvalid, "the kernel has no huge pages of 2 MiB");
        int fd = (int)file.DangerousGetHandle();
        Assert.Equal(0, Libc.ftruncate(fd, (long)Bytes));
        using RawFrontend f = fixture.Connect();
        f.Negotiate();
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, Slot(0x4000_0000, Bytes), [fd]));
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_ADDR, new vhost_vring_addr
        {
            desc_user_addr = 0x4000_0000, avail_user_addr = 0x4000_1000, used_user_addr = 0x4000_2000,
        });
        f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
        f.Send(SET_VRING_ENABLE, new vhost_vring_state { num = 1 });
        if (HasHugePages())
        {
            // Nobody's fault: on this machine there are some.
            Assert.Equal(0UL, f.Get(GET_STATUS));
            return;
        }

        Assert.True(f.IsEnded());
        ExportFixture.Until(
            () => fixture.Log.Lines.Any(l => l.Contains("no (huge) pages", StringComparison.Ordinal)), "the log says why");
    }

    /// <summary>
    /// A descriptor that may only be read (QEMU's read-only NVDIMM) is mapped so: the guest writes from it to the disk, and what
    /// would be written to it is refused.
    /// </summary>
    [Fact]
    public void Read_only_memory_is_read_and_a_request_that_would_write_there_is_refused()
    {
        using RawFrontend f = _fixture.Connect();
        using SafeFileHandle readOnly = OpenReadOnly(_memory.Fd);
        HostileTests.Start(f, _memory, _ring);
        VhostUserMemRegMsg slot = Slot(0x2000_0000, 1 << 16);
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, slot, [(int)readOnly.DangerousGetHandle()]));
        _ring.Write(0, 0x2000_0000);
        Assert.Equal(0, _ring.Wait());

        _ring.Read(0, 0x2000_0000);
        IsRefused(f, slot);
    }

    /// <summary>The image of a read-only NVDIMM on a disk is out of reach, and the disk works.</summary>
    [Fact]
    public void Read_only_memory_on_a_disk_is_out_of_reach_and_nothing_else_is()
    {
        string path = Path.Combine(AppContext.BaseDirectory, $"nvdimm-{Guid.NewGuid():n}");
        File.WriteAllBytes(path, new byte[1 << 16]);
        try
        {
            using SafeFileHandle image = File.OpenHandle(path);
            using RawFrontend f = _fixture.Connect();
            HostileTests.Start(f, _memory, _ring);
            VhostUserMemRegMsg slot = Slot(0x2000_0000, 1 << 16);
            Assert.Equal(0UL, f.Acked(ADD_MEM_REG, slot, [(int)image.DangerousGetHandle()]));
            _ring.Read(0);
            Assert.Equal(0, _ring.Wait());
            Assert.Contains(_fixture.Log.Lines, l => l.Contains("is read-only and out of reach", StringComparison.Ordinal));

            _ring.Write(0, 0x2000_0000);
            IsRefused(f, slot);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>A ring in memory that may only be read cannot run: the front-end is told, and nothing is written.</summary>
    [Fact]
    public void A_ring_in_read_only_memory_does_not_start()
    {
        using RawFrontend f = _fixture.Connect();
        using SafeFileHandle readOnly = OpenReadOnly(_memory.Fd);
        f.Negotiate();
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, _memory.Slot, [(int)readOnly.DangerousGetHandle()]));
        f.Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        f.Send(SET_VRING_ADDR, _ring.Address(0));
        f.Send(SET_VRING_KICK, 0UL, [_ring.KickFd]);
        Assert.Equal(1UL, f.Acked(SET_VRING_ENABLE, new vhost_vring_state { num = 1 }));
        Assert.Contains(_fixture.Log.Lines, l => l.Contains("must lie in one region", StringComparison.Ordinal));
    }

    [Fact]
    public void A_status_byte_in_read_only_memory_breaks_its_queue_only()
    {
        using RawFrontend f = _fixture.Connect();
        using SafeFileHandle readOnly = OpenReadOnly(_memory.Fd);
        HostileTests.Start(f, _memory, _ring);
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, Slot(0x2000_0000, 1 << 16), [(int)readOnly.DangerousGetHandle()]));
        _ring.Read(0, statusAddress: 0x2000_0000);
        ExportFixture.Until(() => f.Get(GET_STATUS) == 64, "the status says that a reset is needed");
    }

    [Fact]
    public void The_dirty_log_and_the_inflight_buffer_must_be_writable()
    {
        using RawFrontend f = _fixture.Connect();
        using SafeFileHandle readOnly = OpenReadOnly(_memory.Fd);
        f.Negotiate();
        var inflight = new VhostUserInflight { num_queues = 1, queue_size = 8, mmap_size = 4096 };
        Assert.Equal(1UL, f.Acked(SET_INFLIGHT_FD, inflight, [(int)readOnly.DangerousGetHandle()]));
        f.Send(SET_LOG_BASE, new VhostUserLog { mmap_size = 4096 }, [(int)readOnly.DangerousGetHandle()]);
        Assert.True(f.IsEnded());
    }

    /// <summary>
    /// The request fails where its answer can be told, or its queue breaks; in no case is it done, and in no case does it take
    /// others along.
    /// </summary>
    private void IsRefused(RawFrontend f, VhostUserMemRegMsg slot)
    {
        ExportFixture.Until(() => _ring.IsAnswered || f.Get(GET_STATUS) == 64, "the request is refused");
        Assert.NotEqual(0, _ring.Status);
        Assert.Equal(0UL, f.Acked(REM_MEM_REG, slot));
    }

    private static bool HasHugePages()
    {
        const string Folder = "/sys/kernel/mm/hugepages/hugepages-2048kB";
        string[] counts = ["free_hugepages", "nr_overcommit_hugepages"];
        return counts.Any(f => File.ReadAllText(Path.Combine(Folder, f)).Trim() != "0");
    }

    private static VhostUserMemRegMsg Slot(ulong address, ulong bytes) =>
        new() { region = new VhostUserMemoryRegion { guest_phys_addr = address, userspace_addr = address, memory_size = bytes } };

    private static SafeFileHandle OpenReadOnly(int fd) => File.OpenHandle($"/proc/self/fd/{fd}");
}

/// <summary>More than a process can hold. Alone, because it leaves the other tests of the process too little.</summary>
[Collection("alone")]
public sealed class ManyRegionsTests
{
    /// <summary>
    /// 40 sessions with 509 regions each would fill the guard's table and use up the map entries of the process: they are refused
    /// before, what is taken is guarded, a session with few regions is served, and the process lives.
    /// </summary>
    [Fact]
    public void Sessions_with_very_many_regions_are_refused_and_others_are_served()
    {
        using var fixture = new ExportFixture();
        using var small = new SharedMemory(4096, 0, sealable: false);
        var hostile = new List<RawFrontend>();
        int refused = 0;
        int taken = 0;
        for (int session = 0; session < 40; session++)
        {
            RawFrontend f = fixture.Connect();
            hostile.Add(f);
            f.Negotiate();
            for (ulong i = 0; i < 509; i++)
            {
                var region = new VhostUserMemoryRegion
                {
                    guest_phys_addr = i << 30, userspace_addr = i << 30, memory_size = 4096,
                };
                if (f.Acked(ADD_MEM_REG, new VhostUserMemRegMsg { region = region }, [small.Fd]) != 0)
                {
                    refused++;
                    break;
                }

                taken++;
            }
        }

        Assert.InRange(taken, 8000, 12_000);
        Assert.True(refused > 0);
        Assert.Contains(fixture.Log.Lines, l => l.Contains("share fewer, larger regions", StringComparison.Ordinal));
        using (VhostUserClient other = fixture.Attach())
        {
            Assert.Equal(0, other.Queues[0].Do(ClientOperation.Write, 0, 4096));

            // What is taken away now is guarded although so much is mapped.
            using var memory = new SharedMemory(1 << 16, 0x1000_0000, sealable: false);
            using var ring = new RawRing(memory);
            using RawFrontend f = fixture.Connect();
            HostileTests.Start(f, memory, ring);
            Assert.Equal(0, Libc.ftruncate(memory.Fd, 0));
            Libc.SignalEventFd(ring.KickFd);
            Assert.True(f.IsEnded());
            Assert.Equal(0, other.Queues[0].Do(ClientOperation.Read, 0, 4096));
        }

        hostile.ForEach(f => f.Dispose());
        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 0, "all sessions have ended");
        Assert.Equal(0, MappingBudget.Mappings.Taken - Own());
    }

    // The shared mappings that this test program holds itself.
    private static int Own() => File.ReadLines("/proc/self/maps").Count(l => l.Contains("/memfd:test", StringComparison.Ordinal));
}

/// <summary>Tests that run when no other does.</summary>
[CollectionDefinition("alone", DisableParallelization = true)]
public sealed class AloneCollection;
