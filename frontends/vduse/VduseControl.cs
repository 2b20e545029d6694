// /dev/vduse/control: makes and destroys devices.

using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Virtio;
using static Polyblk.Frontends.Vduse.VduseAbi;

namespace Polyblk.Frontends.Vduse;

/// <summary>The control device of VDUSE.</summary>
internal sealed unsafe class VduseControl : IDisposable
{
    public const string Path = "/dev/vduse/control";

    private const uint VqAlignBytes = 4096;
    private readonly SafeFileHandle _file;

    private VduseControl(SafeFileHandle file) => _file = file;

    /// <summary>The API version that devices are made with: the newest that both sides know.</summary>
    public ulong ApiVersion { get; private set; }

    private int Fd => (int)_file.DangerousGetHandle();

    /// <summary>Opens it and agrees on the API version.</summary>
    /// <exception cref="FrontendException">The kernel has no VDUSE, or the caller may not use it.</exception>
    public static VduseControl Open()
    {
        int fd = Libc.open(Path, Libc.O_RDWR | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            throw new FrontendException(Explain(-fd));
        }

        var control = new VduseControl(new SafeFileHandle(fd, true));
        ulong version;
        int rc = Libc.ioctl(fd, VDUSE_GET_API_VERSION, &version);
        if (rc == 0)
        {
            version = Math.Min(version, VDUSE_API_VERSION_1);
            rc = Libc.ioctl(fd, VDUSE_SET_API_VERSION, &version);
        }

        if (rc < 0)
        {
            control.Dispose();
            throw new FrontendException($"The kernel's VDUSE does not agree on an API version (errno {-rc}).");
        }

        control.ApiVersion = version;
        return control;
    }

    /// <summary>Why the control device cannot be opened, and what to do.</summary>
    public static string Explain(int errno) => errno switch
    {
        Errno.ENOENT or Errno.ENXIO or Errno.ENODEV =>
            $"{Path} is not there: load the module with 'modprobe vduse' (Linux 5.15 or later; Debian has it from 6.12 on).",
        Errno.EACCES or Errno.EPERM => $"{Path} may not be opened: run as root, or give your user access to /dev/vduse with a udev rule.",
        _ => $"{Path} cannot be opened (errno {errno}).",
    };

    /// <summary>Makes a device. Returns 0 or a negative errno.</summary>
    public int Create(string name, VirtioBlkDevice virtio, int queues)
    {
        virtio_blk_config config = virtio.Config;
        int size = sizeof(vduse_dev_config) + sizeof(virtio_blk_config);
        byte* buffer = stackalloc byte[size];
        new Span<byte>(buffer, size).Clear();
        var device = (vduse_dev_config*)buffer;
        Encoding.ASCII.GetBytes(name, new Span<byte>(device->name, VDUSE_NAME_MAX - 1));
        device->device_id = VIRTIO_ID_BLOCK;
        device->features = virtio.OfferedFeatures;
        device->vq_num = (uint)queues;
        device->vq_align = VqAlignBytes;
        if (ApiVersion >= VDUSE_API_VERSION_1)
        {
            device->ngroups = 1;
            device->nas = 1;
        }

        device->config_size = (uint)sizeof(virtio_blk_config);
        MemoryMarshal.AsBytes(new ReadOnlySpan<virtio_blk_config>(in config)).CopyTo(new Span<byte>(buffer + sizeof(vduse_dev_config), sizeof(virtio_blk_config)));
        return Libc.ioctl(Fd, VDUSE_CREATE_DEV, buffer);
    }

    /// <summary>Destroys a device that nobody has open and that is not attached. Returns 0 or a negative errno.</summary>
    public int Destroy(string name)
    {
        byte* buffer = stackalloc byte[VDUSE_NAME_MAX];
        new Span<byte>(buffer, VDUSE_NAME_MAX).Clear();
        Encoding.ASCII.GetBytes(name, new Span<byte>(buffer, VDUSE_NAME_MAX - 1));
        return Libc.ioctl(Fd, VDUSE_DESTROY_DEV, buffer);
    }

    public void Dispose() => _file.Dispose();
}
