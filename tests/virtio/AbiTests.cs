// Structs that a vhost-user front-end reads: sizes and offsets as a C compiler has them on x86-64.

using System.Runtime.InteropServices;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Virtio.Tests;

public sealed class AbiTests
{
    [Theory]
    [InlineData(typeof(VhostUserHeader), 12, "request 0 flags 4 size 8")]
    [InlineData(typeof(vhost_vring_state), 8, "index 0 num 4")]
    [InlineData(typeof(vhost_vring_addr), 40, "index 0 flags 4 desc_user_addr 8 used_user_addr 16 avail_user_addr 24 log_guest_addr 32")]
    [InlineData(typeof(VhostUserMemoryRegion), 32, "guest_phys_addr 0 memory_size 8 userspace_addr 16 mmap_offset 24")]
    [InlineData(typeof(VhostUserMemory), 8, "nregions 0 padding 4")]
    [InlineData(typeof(VhostUserMemRegMsg), 40, "padding 0 region 8")]
    [InlineData(typeof(VhostUserLog), 16, "mmap_size 0 mmap_offset 8")]
    [InlineData(typeof(VhostUserConfig), 12, "offset 0 size 4 flags 8")]
    [InlineData(typeof(VhostUserInflight), 24, "mmap_size 0 mmap_offset 8 num_queues 16 queue_size 18")]
    public void StructsAreAsInC(Type type, int sizeBytes, string offsets)
    {
        Assert.Equal(sizeBytes, Marshal.SizeOf(type));
        IEnumerable<string> names = offsets.Split(' ').Where((_, i) => i % 2 == 0);
        Assert.Equal(offsets, string.Join(' ', names.Select(name => $"{name} {Marshal.OffsetOf(type, name)}")));
    }
}
