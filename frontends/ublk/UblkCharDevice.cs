// /dev/ublkcN: the server's side of a device. It opens once; the driver cleans up after the server when it is closed, and that is
// when no descriptor, no mapping and no fetched tag refers to it any more. DEL_DEV waits for that.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>The open character device with the mapped request descriptors of its queues.</summary>
internal sealed class UblkCharDevice : IDisposable
{
    /// <summary>How long udev may take to make a node and to give it to its owner.</summary>
    public static readonly TimeSpan NodeTimeout = TimeSpan.FromSeconds(5);

    /// <summary>Time between two looks for it.</summary>
    public static readonly TimeSpan NodeInterval = TimeSpan.FromMilliseconds(10);

    private readonly nint[] _areas;
    private readonly nuint _areaBytes;
    private int _fd;

    private unsafe UblkCharDevice(int fd, int queues, int depth)
    {
        _fd = fd;
        _areas = new nint[queues];
        _areaBytes = (nuint)RoundUpToPage((long)depth * sizeof(ublksrv_io_desc));
    }

    /// <summary>Its descriptor; -1 once closed.</summary>
    public int Fd => _fd;

    /// <summary>Path of a device's character node.</summary>
    public static string PathOf(uint device) => $"/dev/ublkc{device}";

    /// <summary>Opens the node, which udev or devtmpfs may take a moment to make, and maps every queue's descriptors.</summary>
    /// <exception cref="FrontendException">It does not appear, or is open elsewhere.</exception>
    public static async Task<UblkCharDevice> OpenAsync(
        uint device, int queues, int depth, TimeProvider clock, CancellationToken cancellation)
    {
        string path = PathOf(device);
        long start = clock.GetTimestamp();
        int fd;
        while ((fd = Libc.open(path, Libc.O_RDWR | Libc.O_CLOEXEC)) < 0)
        {
            if (clock.GetElapsedTime(start) > NodeTimeout || fd is not (-Errno.ENOENT or -Errno.EBUSY or -Errno.EACCES))
            {
                throw new FrontendException(ExplainOpenFailure(path, -fd));
            }

            await Task.Delay(NodeInterval, clock, cancellation).ConfigureAwait(false);
        }

        var opened = new UblkCharDevice(fd, queues, depth);
        try
        {
            opened.MapQueues();
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    /// <summary>The descriptors of a queue: an array of <c>depth</c> entries that the driver writes.</summary>
    public unsafe ublksrv_io_desc* Descriptors(int queue) => (ublksrv_io_desc*)_areas[queue];

    /// <summary>Unmaps and closes.</summary>
    public unsafe void Dispose()
    {
        if (_fd < 0)
        {
            return;
        }

        foreach (nint area in _areas)
        {
            if (area != 0)
            {
                _ = Libc.munmap((void*)area, _areaBytes);
            }
        }

        Array.Clear(_areas);
        _ = Libc.close(_fd);
        _fd = -1;
    }

    private unsafe void MapQueues()
    {
        for (int queue = 0; queue < _areas.Length; queue++)
        {
            void* area = Libc.mmap(null, _areaBytes, Libc.PROT_READ, Libc.MAP_SHARED | Libc.MAP_POPULATE, _fd, queue * DescriptorStrideBytes);
            if (area == Libc.MAP_FAILED)
            {
                throw new FrontendException("The request descriptors of the ublk device cannot be mapped: another process may be serving it.");
            }

            _areas[queue] = (nint)area;
        }
    }

    /// <summary>Why the node cannot be opened, and what to do.</summary>
    public static string ExplainOpenFailure(string path, int errno) => errno switch
    {
        Errno.EBUSY => $"{path} is open in another process: it serves the device already.",
        Errno.ENOENT => $"{path} did not appear: /dev must be a devtmpfs or be kept by udev; in a container pass the host's /dev.",
        Errno.EACCES => $"{path} may not be opened: a udev rule must give the node to the device's owner.",
        _ => $"{path} cannot be opened (errno {errno}).",
    };
}
