// An open file or block device: what it is, how it may be accessed, and that nobody else uses it.
//
// Block devices are opened for writing with O_EXCL, which fails while they are mounted, swapped on, or part of another array.
// Files are locked with flock(2): exclusively for writing, shared for reading. O_DIRECT is used where the file system has it; its
// alignment comes from statx (STATX_DIOALIGN, Linux 6.1), otherwise from the device's logical block size, otherwise 4096.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using static Polyblk.Drives.DriveCalls;

namespace Polyblk.Drives.Files;

/// <summary>A descriptor with what is known of it. Control threads.</summary>
internal sealed unsafe class DriveFile : IDisposable
{
    private readonly SafeFileHandle _handle;

    private DriveFile(string path, SafeFileHandle handle, in statx stat)
    {
        Path = path;
        _handle = handle;
        IsBlockDevice = (stat.stx_mode & S_IFMT) == S_IFBLK;
        if (IsBlockDevice)
        {
            SysfsQueue = FindQueue($"/sys/dev/block/{stat.stx_rdev_major}:{stat.stx_rdev_minor}");
        }
    }

    public string Path { get; }

    public int Fd => (int)_handle.DangerousGetHandle();

    public bool IsBlockDevice { get; }

    /// <summary>Directory of the device's queue attributes; empty for files.</summary>
    public string SysfsQueue { get; } = string.Empty;

    /// <summary>Whether the file or device lives in memory: no I/O ever waits, and there is nothing to flush.</summary>
    public bool IsInMemory { get; private set; }

    public bool IsDirect { get; private set; }

    public bool IsReadOnly { get; private init; }

    /// <summary>Smallest unit of offsets and lengths.</summary>
    public int LogicalBlockSize { get; private set; } = 512;

    public int PhysicalBlockSize { get; private set; } = 4096;

    public int OptimalIoSize { get; private set; }

    /// <summary>Alignment of addresses that O_DIRECT wants; 1 without O_DIRECT.</summary>
    public int MemoryAlignment { get; private set; } = 1;

    public int DiscardGranularity { get; private set; } = 4096;

    public bool CanDiscard { get; private set; } = true;

    /// <summary>Opens what a spec names.</summary>
    /// <exception cref="DriveException">It cannot be; the message says why and what to do.</exception>
    public static DriveFile Open(DriveSpec spec, bool readOnly)
    {
        string path = spec.Path;
        bool made = CreateIfWanted(spec, readOnly);
        SafeFileHandle handle = OpenDescriptor(path, readOnly, isBlock: IsBlockNode(path));
        try
        {
            int rc = Stat((int)handle.DangerousGetHandle(), out statx stat);
            if (rc < 0)
            {
                throw DriveGeometry.Error(path, "it cannot be examined", -rc);
            }

            CheckType(path, stat);
            var file = new DriveFile(path, handle, stat) { IsReadOnly = readOnly };
            file.Lock();
            file.Probe(spec, stat);
            file.CheckSize(spec);
            return file;
        }
        catch
        {
            handle.Dispose();
            if (made)
            {
                File.Delete(path);
            }

            throw;
        }
    }

    /// <summary>Its size in bytes now, or a negative errno.</summary>
    public long ReadSize()
    {
        if (!IsBlockDevice)
        {
            int rc = Stat(Fd, out statx stat);
            return rc < 0 ? rc : stat.stx_size;
        }

        long bytes = 0;
        int result = Libc.ioctl(Fd, BLKGETSIZE64, &bytes);
        return result < 0 ? result : bytes;
    }

    /// <summary>A whole number from the device's queue attributes, or the given value when there is none.</summary>
    public long ReadQueueAttribute(string name, long missing)
    {
        string path = System.IO.Path.Combine(SysfsQueue, name);
        return SysfsQueue.Length != 0 && File.Exists(path) && long.TryParse(File.ReadAllText(path), out long value) ? value : missing;
    }

    /// <summary>Closes it, when the last of its queues has been closed, too (<see cref="Keep"/>).</summary>
    public void Dispose() => _handle.Dispose();

    /// <summary>
    /// The descriptor, and with it the claim on the drive, stays until <see cref="LetGo"/>. A queue whose drive hangs may be open
    /// for longer than its drive object: its number must not become another file's before the last request is done.
    /// </summary>
    /// <exception cref="ObjectDisposedException">It is closed.</exception>
    public void Keep()
    {
        bool isKept = false;
        _handle.DangerousAddRef(ref isKept);
    }

    /// <summary>Ends one <see cref="Keep"/>.</summary>
    public void LetGo() => _handle.DangerousRelease();

    /// <summary>
    /// The queue's directory of a device. The link is resolved first: paths of .NET lose ".." before any link is followed.
    /// </summary>
    internal static string FindQueue(string link)
    {
        string device = Directory.ResolveLinkTarget(link, returnFinalTarget: true)?.FullName ?? link;
        string queue = System.IO.Path.Combine(device, "queue");

        // A partition: the queue is the disk's, in whose directory it lies.
        return Directory.Exists(queue) ? queue : System.IO.Path.Combine(System.IO.Path.GetDirectoryName(device)!, "queue");
    }

    private static bool CreateIfWanted(DriveSpec spec, bool readOnly)
    {
        string path = spec.Path;
        if (Directory.Exists(path))
        {
            throw DriveGeometry.Error(path, "this is a directory; name a file or a block device.");
        }

        if (File.Exists(path))
        {
            return false;
        }

        if (spec.IsPlainPath || spec.SizeBytes is null || readOnly)
        {
            throw DriveGeometry.Error(path, spec.IsPlainPath
                ? $"there is no such file or device; check the path (lsblk), or create a file: file:{path},size=1GiB."
                : $"there is no such file; give a size to create it: file:{path},size=1GiB.");
        }

        int fd = Libc.open(path, Libc.O_RDWR | Libc.O_CREAT | Libc.O_EXCL | Libc.O_CLOEXEC, 0x180);
        if (fd < 0)
        {
            throw DriveGeometry.Error(path, "it cannot be created; the directory must exist and be writable", -fd);
        }

        using var handle = new SafeFileHandle(fd, ownsHandle: true);
        int rc = Libc.ftruncate(fd, spec.SizeBytes.Value);
        if (rc < 0)
        {
            File.Delete(path);
            throw DriveGeometry.Error(path, $"it cannot be made {ByteSize.Format(spec.SizeBytes.Value)} large", -rc);
        }

        return true;
    }

    /// <summary>
    /// Whether it is a block device; what is no drive is refused before it is opened, since opening may wait or do something.
    /// </summary>
    private static bool IsBlockNode(string path)
    {
        int fd = Libc.open(path, DriveReader.O_PATH | Libc.O_CLOEXEC);
        if (fd < 0)
        {
            return false;
        }

        using var handle = new SafeFileHandle(fd, ownsHandle: true);
        if (Stat(fd, out statx stat) < 0)
        {
            return false;
        }

        CheckType(path, stat);
        return (stat.stx_mode & S_IFMT) == S_IFBLK;
    }

    private const int LingerMs = 1000;

    private static SafeFileHandle OpenDescriptor(string path, bool readOnly, bool isBlock)
    {
        int flags = (readOnly ? Libc.O_RDONLY : Libc.O_RDWR) | Libc.O_CLOEXEC | Libc.O_NONBLOCK
            | (isBlock && !readOnly ? Libc.O_EXCL : 0);
        int fd = Patiently(-Errno.EBUSY, () => Libc.open(path, flags));
        return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw DriveGeometry.Error(path, -fd switch
        {
            Errno.EACCES or Errno.EPERM => $"permission is denied to {Environment.UserName}; run as a user who may open it, or change its owner or mode",
            Errno.EBUSY => "it is in use: mounted, swapped on, or part of another array or volume (see lsblk); stop that first",
            Errno.EROFS => "it is read-only; open it read-only",
            Errno.ENXIO or Errno.ENODEV => "there is no device behind it",
            _ => "it cannot be opened",
        }, -fd);
    }

    /// <exception cref="DriveException">It is neither a file nor a block device.</exception>
    internal static void CheckType(string path, in statx stat)
    {
        uint type = stat.stx_mode & S_IFMT;
        if (type is not (S_IFBLK or S_IFREG))
        {
            throw DriveGeometry.Error(path, "this is neither a file nor a block device; name one of these.");
        }
    }

    private void Lock()
    {
        if (IsBlockDevice)
        {
            return;
        }

        int rc = Patiently(-Errno.EAGAIN, () => flock(Fd, (IsReadOnly ? LOCK_SH : LOCK_EX) | LOCK_NB));
        if (rc == -Errno.EAGAIN)
        {
            throw DriveGeometry.Error(Path, "another process uses it (it holds a lock); stop that process, see: lslocks", Errno.EBUSY);
        }

        if (rc < 0 && rc != -Errno.EOPNOTSUPP && rc != -Errno.ENOSYS)
        {
            throw DriveGeometry.Error(Path, "it cannot be locked", -rc);
        }
    }

    /// <summary>
    /// Tries again for a second while somebody else has the drive. A target that was killed lets go only when the kernel has torn
    /// its io_uring down, a moment after it is gone, and its successor is started at once.
    /// </summary>
    private static int Patiently(int busy, Func<int> take)
    {
        long end = Environment.TickCount64 + LingerMs;
        int result;
        while ((result = take()) == busy && Environment.TickCount64 < end)
        {
            Thread.Sleep(10);
        }

        return result;
    }

    private void Probe(DriveSpec spec, in statx stat)
    {
        if (IsBlockDevice)
        {
            ProbeBlockDevice();
        }
        else
        {
            long type = FileSystemType(Fd);
            IsInMemory = type is TMPFS_MAGIC or RAMFS_MAGIC;
        }

        if ((IsBlockDevice || !IsInMemory) && FileKind.Direct(spec) != false)
        {
            TryDirect(stat, mustHave: FileKind.Direct(spec) == true);
        }

        if (spec.LogicalBlockSize is int wanted)
        {
            if (wanted < LogicalBlockSize)
            {
                throw DriveGeometry.Error(Path, $"its blocks have {LogicalBlockSize} bytes; a block size of {wanted} is not possible.");
            }

            LogicalBlockSize = wanted;
        }
    }

    private void ProbeBlockDevice()
    {
        int value = 0;
        LogicalBlockSize = Libc.ioctl(Fd, BLKSSZGET, &value) == 0 ? value : 512;
        PhysicalBlockSize = Libc.ioctl(Fd, BLKPBSZGET, &value) == 0 ? value : 4096;
        OptimalIoSize = Libc.ioctl(Fd, BLKIOOPT, &value) == 0 ? value : 0;
        IsInMemory = MemoryDevices.Includes(SysfsQueue);
        CanDiscard = ReadQueueAttribute("discard_max_bytes", 1) != 0;
        DiscardGranularity = (int)Math.Clamp(ReadQueueAttribute("discard_granularity", 4096), LogicalBlockSize, 1 << 30);
        if (LogicalBlockSize is not (512 or 4096))
        {
            throw DriveGeometry.Error(Path, $"its blocks have {LogicalBlockSize} bytes; only 512 and 4096 are supported.");
        }
    }

    /// <summary>Turns O_DIRECT on by fcntl(2), which keeps the descriptor and its lock.</summary>
    private void TryDirect(in statx stat, bool mustHave)
    {
        bool possible = !stat.HasDioAlign || stat.stx_dio_offset_align is > 0 and <= 4096;
        int rc = possible ? SetDirect(Fd) : -Errno.EINVAL;
        if (rc < 0)
        {
            if (mustHave)
            {
                throw DriveGeometry.Error(Path, "its file system has no direct I/O; leave direct=on out", -rc);
            }

            return;
        }

        IsDirect = true;
        if (stat.HasDioAlign)
        {
            MemoryAlignment = (int)stat.stx_dio_mem_align;
            LogicalBlockSize = Math.Max(LogicalBlockSize, (int)stat.stx_dio_offset_align);
        }
        else
        {
            MemoryAlignment = LogicalBlockSize = IsBlockDevice ? LogicalBlockSize : 4096;
        }
    }

    private void CheckSize(DriveSpec spec)
    {
        long size = ReadSize();
        if (size < 0)
        {
            throw DriveGeometry.Error(Path, "its size cannot be read", (int)-size);
        }

        if (size < LogicalBlockSize)
        {
            throw DriveGeometry.Error(
                Path,
                $"it has {size} bytes, less than one block; that is no drive: name another file, or make one with file:PATH,size=1GiB.");
        }

        if (!IsBlockDevice && size % LogicalBlockSize != 0)
        {
            // No advice to round it up: that would change a file that was perhaps never meant.
            throw DriveGeometry.Error(
                Path,
                $"it has {size} bytes, not a multiple of its block size {LogicalBlockSize}; a drive has whole "
                + "blocks: name another file, or make one with file:PATH,size=1GiB.");
        }

        if (spec.SizeBytes is long wanted && size < wanted)
        {
            throw DriveGeometry.Error(
                Path,
                $"it exists with {ByteSize.Format(size)}, less than {ByteSize.Format(wanted)}; "
                + "leave the size out to take it as it is, or name another file.");
        }
    }
}
