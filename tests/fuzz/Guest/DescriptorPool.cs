// Descriptors that a front-end may send, most of them not what the message wants. They are made when they are first asked for,
// and closed with the pool.

using Polyblk.Core.Interop;

namespace Polyblk.Fuzz.Guest;

/// <summary>A pool of odd descriptors.</summary>
internal sealed unsafe class DescriptorPool : IDisposable
{
    /// <summary>Bytes of <see cref="Memory"/>.</summary>
    public const int MemoryBytes = 64 << 10;

    private const uint MFD_HUGETLB = 4;
    private const int O_RDONLY = 0;
    private const int O_PATH = 0x20_0000;
    private const int O_CLOEXEC = 0x8_0000;
    private const int HugePageBytes = 2 << 20;
    private const int Kinds = 16;
    private readonly int[] _fds = new int[Kinds];
    private readonly List<int> _others = [];

    public DescriptorPool() => Array.Fill(_fds, -1);

    /// <summary>The memory that an honest front-end shares.</summary>
    public int Memory => Get(0);

    /// <summary>An eventfd as front-ends have them.</summary>
    public int Event => Get(1);

    /// <summary>A descriptor of a kind; -1 where it cannot be made here.</summary>
    public int Get(int kind)
    {
        ref int fd = ref _fds[kind % Kinds];
        if (fd < 0)
        {
            fd = Make(kind % Kinds);
        }

        return fd;
    }

    /// <summary>Makes the shared memory shorter, where it lets itself be made so.</summary>
    public void Truncate(int kind, long bytes) => _ = Libc.ftruncate(Get(kind), bytes);

    /// <summary>Writes into the shared memory, by its file: it may be gone under a mapping.</summary>
    public void Write(int offset, ReadOnlySpan<byte> data)
    {
        fixed (byte* at = data)
        {
            _ = Libc.pwrite(Memory, at, (nuint)Math.Min(data.Length, MemoryBytes - offset), offset);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (int fd in _fds.Concat(_others).Where(fd => fd >= 0))
        {
            _ = Libc.close(fd);
        }
    }

    private int Make(int kind) => kind switch
    {
        0 => MemoryFile(Libc.MFD_ALLOW_SEALING, MemoryBytes, 0),
        1 => Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK),
        2 => MemoryFile(Libc.MFD_ALLOW_SEALING, 4097, 0),
        3 => MemoryFile(Libc.MFD_ALLOW_SEALING, 0, 0),
        4 => MemoryFile(Libc.MFD_ALLOW_SEALING, MemoryBytes, Libc.F_SEAL_SHRINK | Libc.F_SEAL_GROW | Libc.F_SEAL_SEAL),
        5 => MemoryFile(Libc.MFD_ALLOW_SEALING, MemoryBytes, Libc.F_SEAL_WRITE),
        6 => MemoryFile(Libc.MFD_ALLOW_SEALING | MFD_HUGETLB, HugePageBytes, Libc.F_SEAL_SHRINK),
        7 => Libc.open($"/proc/self/fd/{Memory}", O_RDONLY | O_CLOEXEC),
        8 => MemoryFile(0, 1L << 30, 0),
        9 => Socket(),
        10 => Full(Libc.eventfd(uint.MaxValue, Libc.EFD_CLOEXEC)),
        11 => Libc.open("/dev/null", O_RDONLY | O_CLOEXEC),
        12 => Libc.open("/proc/self", O_RDONLY | O_CLOEXEC),
        13 => Libc.epoll_create1(Libc.EPOLL_CLOEXEC),
        14 => Libc.open("/", O_PATH | O_CLOEXEC),
        _ => Libc.eventfd(0, Libc.EFD_CLOEXEC),
    };

    private static int MemoryFile(uint flags, long bytes, int seals)
    {
        int fd = Libc.memfd_create("fuzz", Libc.MFD_CLOEXEC | flags);
        if (fd >= 0)
        {
            _ = Libc.ftruncate(fd, bytes);
            _ = Libc.fcntl(fd, Libc.F_ADD_SEALS, seals);
        }

        return fd;
    }

    /// <summary>One end; the other is kept, so that it is connected.</summary>
    private int Socket()
    {
        int* pair = stackalloc int[2];
        _ = Libc.socketpair(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC | Libc.SOCK_NONBLOCK, 0, pair);
        _others.Add(pair[1]);
        return pair[0];
    }

    /// <summary>An eventfd in blocking mode whose counter has no room.</summary>
    private static int Full(int fd)
    {
        ulong most = ulong.MaxValue - 1 - uint.MaxValue;
        _ = Libc.write(fd, &most, sizeof(ulong));
        return fd;
    }
}
