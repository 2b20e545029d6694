// Sizes, offsets and ioctl numbers against linux/vduse.h.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Frontends.Vduse;
using Polyblk.Virtio;

namespace Polyblk.Vduse.Tests;

public sealed class AbiTests
{
    [Fact]
    public void StructsHaveTheKernelsSizes()
    {
        Assert.Equal(336, Unsafe.SizeOf<vduse_dev_config>());
        Assert.Equal(32, Unsafe.SizeOf<vduse_iotlb_entry>());
        Assert.Equal(8, Unsafe.SizeOf<vduse_config_data>());
        Assert.Equal(32, Unsafe.SizeOf<vduse_vq_config>());
        Assert.Equal(8, (int)Marshal.OffsetOf<vduse_vq_config>(nameof(vduse_vq_config.group)));
        Assert.Equal(280, (int)Marshal.OffsetOf<vduse_dev_config>(nameof(vduse_dev_config.ngroups)));
        Assert.Equal(48, Unsafe.SizeOf<vduse_iova_umem>());
        Assert.Equal(48, Unsafe.SizeOf<vduse_iova_info>());
        Assert.Equal(48, Unsafe.SizeOf<vduse_vq_info>());
        Assert.Equal(40, (int)Marshal.OffsetOf<vduse_vq_info>(nameof(vduse_vq_info.ready)));
        Assert.Equal(8, Unsafe.SizeOf<vduse_vq_eventfd>());
        Assert.Equal(152, Unsafe.SizeOf<vduse_dev_request>());
        Assert.Equal(152, Unsafe.SizeOf<vduse_dev_response>());
        Assert.Equal(96, Unsafe.SizeOf<virtio_blk_config>());
    }

    [Fact]
    public void IoctlsHaveTheKernelsNumbers()
    {
        Assert.Equal(0x80088100u, (uint)VduseAbi.VDUSE_GET_API_VERSION);
        Assert.Equal(0x40088101u, (uint)VduseAbi.VDUSE_SET_API_VERSION);
        Assert.Equal(0x41508102u, (uint)VduseAbi.VDUSE_CREATE_DEV);
        Assert.Equal(0x41008103u, (uint)VduseAbi.VDUSE_DESTROY_DEV);
        Assert.Equal(0xC0208110u, (uint)VduseAbi.VDUSE_IOTLB_GET_FD);
        Assert.Equal(0x80088111u, (uint)VduseAbi.VDUSE_DEV_GET_FEATURES);
        Assert.Equal(0x40088112u, (uint)VduseAbi.VDUSE_DEV_SET_CONFIG);
        Assert.Equal(0x00008113u, (uint)VduseAbi.VDUSE_DEV_INJECT_CONFIG_IRQ);
        Assert.Equal(0x40208114u, (uint)VduseAbi.VDUSE_VQ_SETUP);
        Assert.Equal(0xC0308115u, (uint)VduseAbi.VDUSE_VQ_GET_INFO);
        Assert.Equal(0x40088116u, (uint)VduseAbi.VDUSE_VQ_SETUP_KICKFD);
        Assert.Equal(0x40048117u, (uint)VduseAbi.VDUSE_VQ_INJECT_IRQ);
    }

    [Theory]
    [InlineData(0u, false)]
    [InlineData(65535u, false)]
    [InlineData(0x8000_8000u, true)]
    [InlineData(0x0001_8005u, true)]
    [InlineData(0xFFFF_0003u, true)]
    public void QueueStatesAreTranslatedBothWays(uint value, bool packed) => Assert.Equal(value, VduseQueue.Decode(VduseQueue.Encode(value, packed), packed));
}
