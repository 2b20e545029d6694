// /dev/vduse/NAME: ioctls and messages.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Virtio.Memory;
using Tmds.Linux;
using static Polyblk.Frontends.Vduse.VduseAbi;

namespace Polyblk.Frontends.Vduse;

/// <summary>A device of the kernel, opened. One process at a time has it open.</summary>
internal sealed unsafe class VduseDeviceFile : IVduseKernel
{
    private readonly SafeFileHandle _file;
    private readonly SafeFileHandle _wake;
    private readonly SafeFileHandle _epoll;
    private readonly string _path;
    private MappedRegion? _bounce;
    private ulong _bounceStart;

    private VduseDeviceFile(string path, SafeFileHandle file)
    {
        _path = path;
        _file = file;
        _wake = new SafeFileHandle(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), true);
        _epoll = new SafeFileHandle(Libc.epoll_create1(Libc.EPOLL_CLOEXEC), true);
        Watch(_file, 0);
        Watch(_wake, 1);
    }

    private int Fd => (int)_file.DangerousGetHandle();

    /// <summary>Opens it. Returns null and a positive errno on failure.</summary>
    public static VduseDeviceFile? TryOpen(string path, out int errno)
    {
        int fd = Libc.open(path, Libc.O_RDWR | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
        errno = fd < 0 ? -fd : 0;
        return fd < 0 ? null : new VduseDeviceFile(path, new SafeFileHandle(fd, true));
    }

    public bool TryReadMessage(out vduse_dev_request request)
    {
        request = default;
        epoll_event* events = stackalloc epoll_event[2];
        while (true)
        {
            fixed (vduse_dev_request* buffer = &request)
            {
                long count = Libc.read(Fd, buffer, (nuint)sizeof(vduse_dev_request));
                if (count == sizeof(vduse_dev_request))
                {
                    return true;
                }

                if (count is not -Errno.EAGAIN and not -Errno.EINTR)
                {
                    throw new IOException($"Reading messages from {_path} gave {count}.");
                }
            }

            int ready = Libc.epoll_wait((int)_epoll.DangerousGetHandle(), events, 2, -1);
            for (int i = 0; i < ready; i++)
            {
                if (events[i].data.u64 == 1)
                {
                    return false;
                }
            }
        }
    }

    public void Answer(in vduse_dev_response response)
    {
        fixed (vduse_dev_response* buffer = &response)
        {
            long count = Libc.write(Fd, buffer, (nuint)sizeof(vduse_dev_response));

            // The kernel forgets a message that it waited for too long; then there is nothing to answer.
            if (count < 0 && count != -Errno.ENOENT)
            {
                throw new IOException($"Answering a message of {_path} failed (errno {-count}).");
            }
        }
    }

    public void Wake() => Libc.SignalEventFd((int)_wake.DangerousGetHandle());

    public ulong GetDriverFeatures()
    {
        ulong features;
        Check(Libc.ioctl(Fd, VDUSE_DEV_GET_FEATURES, &features), "reading the driver's features");
        return features;
    }

    public vduse_vq_info GetQueueInfo(int index)
    {
        var info = new vduse_vq_info { index = (uint)index };
        Check(Libc.ioctl(Fd, VDUSE_VQ_GET_INFO, &info), $"reading the state of queue {index}");
        return info;
    }

    public void SetupQueue(int index, int maxSize)
    {
        var config = new vduse_vq_config { index = (uint)index, max_size = (ushort)maxSize };
        Check(Libc.ioctl(Fd, VDUSE_VQ_SETUP, &config), $"setting up queue {index} with {maxSize} entries");
    }

    public void SetKick(int index, int eventFd)
    {
        var kick = new vduse_vq_eventfd { index = (uint)index, fd = eventFd };
        int rc = Libc.ioctl(Fd, VDUSE_VQ_SETUP_KICKFD, &kick);
        if (eventFd != VDUSE_EVENTFD_DEASSIGN)
        {
            Check(rc, $"setting the doorbell of queue {index}");
        }
    }

    public int InjectInterrupt(int index)
    {
        uint value = (uint)index;
        return Libc.ioctl(Fd, VDUSE_VQ_INJECT_IRQ, &value);
    }

    public void ChangeConfig(int offset, ReadOnlySpan<byte> bytes)
    {
        byte* buffer = stackalloc byte[sizeof(vduse_config_data) + bytes.Length];
        *(vduse_config_data*)buffer = new vduse_config_data { offset = (uint)offset, length = (uint)bytes.Length };
        bytes.CopyTo(new Span<byte>(buffer + sizeof(vduse_config_data), bytes.Length));
        Check(Libc.ioctl(Fd, VDUSE_DEV_SET_CONFIG, buffer), "changing the configuration");

        // Refused while no driver is there, who then reads the new configuration anyway.
        _ = Libc.ioctl(Fd, VDUSE_DEV_INJECT_CONFIG_IRQ, null);
    }

    /// <summary>
    /// When set, bounce pages shall be memory of this process. Told, on any thread, 0 when the kernel took it or the errno with
    /// which it did not, in which case it is not asked again.
    /// </summary>
    public Action<int>? OwnBouncePages { get; set; }

    public IotlbRegion? MapIotlb(ulong address)
    {
        if (OwnBouncePages is not null && MapOwn(address) is { } own)
        {
            return own;
        }

        var entry = new vduse_iotlb_entry { start = address, last = address };
        int fd = Libc.ioctl(Fd, VDUSE_IOTLB_GET_FD, &entry);
        if (fd < 0)
        {
            return null;
        }

        using var file = new SafeFileHandle(fd, true);
        stat stat;
        bool isRegular = Libc.fstat(fd, &stat) == 0 && (stat.st_mode & Libc.S_IFMT) == Libc.S_IFREG;
        MapAccess access = entry.perm == VDUSE_ACCESS_RO ? MapAccess.Read : MapAccess.ReadWrite;
        try
        {
            // A regular file is the memory of a guest (vhost-vdpa), anything else the kernel's own bounce pages.
            if (isRegular && ForeignMemory.WhyRefused(file) is not null)
            {
                return null;
            }

            var options = new MapOptions { Access = access, Least = access, CheckLength = isRegular };
            return new IotlbRegion(entry.start, MappedRegion.Map(file, entry.offset, entry.last - entry.start + 1, options));
        }
        catch (IOException)
        {
            // As good as not mapped: the queue that needs it breaks with that reason.
            return null;
        }
    }

    /// <summary>
    /// Gives the kernel its own bounce pages back; it copies what is in flight into them. Where this does not come to pass (the
    /// process is killed), closing the device does the same.
    /// </summary>
    public void ForgetIotlb()
    {
        if (_bounce is not null)
        {
            var umem = new vduse_iova_umem { iova = _bounceStart, size = _bounce.SizeBytes };
            _ = Libc.ioctl(Fd, VDUSE_IOTLB_DEREG_UMEM, &umem);
            _bounce.Release();
            _bounce = null;
        }
    }

    public void Dispose()
    {
        ForgetIotlb();
        _epoll.Dispose();
        _wake.Dispose();
        _file.Dispose();
    }

    /// <summary>Memory of this process in the place of the kernel's bounce pages, where the address is one of theirs.</summary>
    private IotlbRegion? MapOwn(ulong address)
    {
        var info = new vduse_iova_info { start = address, last = address };
        if (Libc.ioctl(Fd, VDUSE_IOTLB_GET_INFO, &info) < 0 || (info.capability & VDUSE_IOVA_CAP_UMEM) == 0)
        {
            return null;
        }

        MappedRegion memory;
        try
        {
            memory = MappedRegion.CreateAnonymous(info.last - info.start + 1);
        }
        catch (IOException)
        {
            Refuse(Errno.ENOMEM);
            return null;
        }

        // Unlike io_uring, VDUSE holds root to the limit as well. Where it cannot be raised, the kernel refuses below.
        Libc.AllowMoreLockedMemory(memory.SizeBytes);
        var umem = new vduse_iova_umem { uaddr = (ulong)memory.Address, iova = info.start, size = memory.SizeBytes };
        int rc = Libc.ioctl(Fd, VDUSE_IOTLB_REG_UMEM, &umem);
        if (rc < 0)
        {
            memory.Dispose();
            Refuse(-rc);
            return null;
        }

        memory.AddReference();
        (_bounce, _bounceStart) = (memory, info.start);
        OwnBouncePages!(0);
        return new IotlbRegion(info.start, memory);
    }

    private void Refuse(int errno)
    {
        OwnBouncePages!(errno);
        OwnBouncePages = null;
    }

    private void Watch(SafeFileHandle file, ulong data)
    {
        var ev = new epoll_event { events = Libc.EPOLLIN, data = new epoll_data_t { u64 = data } };
        Check(Libc.epoll_ctl((int)_epoll.DangerousGetHandle(), Libc.EPOLL_CTL_ADD, (int)file.DangerousGetHandle(), &ev), "watching");
    }

    private void Check(int rc, string what)
    {
        if (rc < 0)
        {
            throw new IOException($"{_path}: {what} failed (errno {-rc}).");
        }
    }
}
