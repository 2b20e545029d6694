// Structs that the kernel or libc reads: sizes and offsets as a C compiler has them on x86-64.

using System.Reflection;
using System.Runtime.InteropServices;
using Polyblk.Core.Interop;
using Polyblk.Core.Uring;
using Tmds.Linux;

namespace Polyblk.Core.Tests.Interop;

public sealed class AbiTests
{
    [Theory]
    [InlineData(typeof(msghdr), 56, "msg_name 0 msg_namelen 8 msg_iov 16 msg_iovlen 24 msg_control 32 msg_controllen 40 msg_flags 48")]
    [InlineData(typeof(cmsghdr), 16, "cmsg_len 0 cmsg_level 8 cmsg_type 12")]
    [InlineData(typeof(epoll_event), 12, "events 0 data 4")]
    [InlineData(typeof(sockaddr_un), 110, "sun_family 0 sun_path 2")]
    [InlineData(typeof(pollfd), 8, "fd 0 events 4 revents 6")]
    [InlineData(typeof(timespec), 16, "tv_sec 0 tv_nsec 8")]
    [InlineData(typeof(stat), 144, "st_dev 0 st_ino 8 st_mode 24 st_rdev 40 st_size 48 st_blksize 56")]
    [InlineData(typeof(ucred), 12, "pid 0 uid 4 gid 8")]
    [InlineData(typeof(iovec), 16, "iov_base 0 iov_len 8")]
    [InlineData(typeof(Polyblk.Core.Block.IoVec), 16, "Base 0 Length 8")]
    [InlineData(typeof(io_uring_cqe), 16, "user_data 0 res 8 flags 12")]
    [InlineData(typeof(io_sqring_offsets), 40, "head 0 tail 4 ring_mask 8 ring_entries 12 flags 16 dropped 20 array 24")]
    [InlineData(typeof(Polyblk.Core.Uring.io_uring_params), 120, "features 20 wq_fd 24 sq_off 40 cq_off 80")]
    [InlineData(typeof(Libc.rlimit), 16, "rlim_cur 0 rlim_max 8")]
    [InlineData(typeof(Libc.group), 32, "gr_name 0 gr_passwd 8 gr_gid 16 gr_mem 24")]
    [InlineData(typeof(Libc.statfs), 120, "f_type 0")]
    [InlineData(typeof(sigaction), 152, "sa_handler 0 sa_mask 8 sa_flags 136 sa_restorer 144")]
    [InlineData(typeof(io_uring_rsrc_register), 32, "nr 0 flags 4 resv2 8 data 16 tags 24")]
    [InlineData(typeof(io_uring_rsrc_update2), 32, "offset 0 resv 4 data 8 tags 16 nr 24 resv2 28")]
    public void StructsAreAsInC(Type type, int sizeBytes, string offsets)
    {
        Assert.Equal(sizeBytes, Marshal.SizeOf(type));
        string[] words = offsets.Split(' ');
        IEnumerable<string> names = words.Where((_, i) => i % 2 == 0);
        Assert.Equal(offsets, string.Join(' ', names.Select(name => $"{name} {Marshal.OffsetOf(type, FieldOf(type, name))}")));
    }

    /// <summary>A member of the package's structs may be a property: then its field has another name.</summary>
    private static string FieldOf(Type type, string name) =>
        new[] { name, $"<{name}>k__BackingField", $"_{name}", name == "sa_handler" ? "__handler" : name }
            .First(field => type.GetField(field, BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic) is not null);
}
