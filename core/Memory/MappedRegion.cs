// A piece of somebody else's memory, mapped into this process and counted.
//
// The memory of a guest arrives as a descriptor with an offset and a size. It is mapped once and unmapped when the last user lets go,
// so that a region that the front-end removed stays readable for the requests that still point into it.
//
// A file that is made shorter under a mapping turns every later access beyond its end into SIGBUS. So when the region is mapped, the file must
// be long enough, and a memfd that allows it is sealed against shrinking (F_SEAL_SHRINK); QEMU seals its memfds itself. A file or an unsealable
// memfd stays in the hands of whoever holds it: MappedRegion.CannotShrink tells, a caller may refuse such memory, and FaultGuard keeps the
// process alive where it is taken and lost.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Core.Memory;

/// <summary>How a region is mapped.</summary>
[Flags]
public enum MapAccess : byte
{
    /// <summary>The device reads it.</summary>
    Read = 1,

    /// <summary>The device writes it.</summary>
    Write = 2,

    /// <summary>Both.</summary>
    ReadWrite = Read | Write,
}

/// <summary>A shared mapping with a reference count. It starts with one reference, its creator's.</summary>
public sealed unsafe class MappedRegion : IDisposable
{
    private const nuint PageBytes = 4096;
    private const long HUGETLBFS_MAGIC = 0x958458f6;
    private const long FUSE_SUPER_MAGIC = 0x65735546;
    private const long HugePageMinimumBytes = 64 << 10;

    private readonly void* _mapping;
    private readonly nuint _mappedBytes;
    private int _guard = -1;
    private int _references = 1;
    private int _disposed;

    private MappedRegion(void* mapping, nuint mappedBytes, nuint skipBytes, ulong sizeBytes)
    {
        _mapping = mapping;
        _mappedBytes = mappedBytes;
        Address = (byte*)mapping + skipBytes;
        SizeBytes = sizeBytes;
    }

    /// <summary>First byte.</summary>
    public byte* Address { get; }

    /// <summary>Usable length in bytes; any number.</summary>
    public ulong SizeBytes { get; }

    /// <summary>What the mapping allows.</summary>
    public MapAccess Access { get; private init; }

    /// <summary>Whether the file is sealed against shrinking, so that no access can fault.</summary>
    public bool CannotShrink { get; private init; }

    /// <summary>
    /// Whether somebody made the file shorter and a part of the memory has gone: it was replaced by zeroes that nobody else sees. Ask while a
    /// reference is held.
    /// </summary>
    public bool HasLost => _guard >= 0 && FaultGuard.HasLost(_guard);

    /// <summary>Why an access to memory that its owner takes away would end this process; null when it would not.</summary>
    public string? WhyUnguarded { get; private set; }

    /// <summary>Called once, on a thread of its own, soon after a part of the memory was found to be gone.</summary>
    internal Action? OnLost { get; private init; }

    /// <summary>Whether the memory is still mapped.</summary>
    public bool IsMapped => Volatile.Read(ref _references) > 0;

    /// <summary>Maps <paramref name="sizeBytes"/> bytes of a file, from <paramref name="offsetBytes"/> on.</summary>
    /// <param name="file">A memfd, a hugetlbfs file, or any file that can be mapped. It may be closed afterwards.</param>
    /// <param name="offsetBytes">Where the region starts in the file; any number.</param>
    /// <param name="sizeBytes">Its length; any number but 0.</param>
    /// <param name="access">What the device may do with it.</param>
    /// <param name="checkLength">
    /// Whether the file's length is checked; false only for a kernel object that has no length (the IOTLB descriptors of VDUSE).
    /// </param>
    /// <param name="onLost">Told once, on a thread of its own, when a part of the memory was found to be gone (<see cref="HasLost"/>).</param>
    /// <exception cref="IOException">The file is too short, lies on FUSE, or cannot be mapped.</exception>
    public static MappedRegion Map(
        SafeFileHandle file, ulong offsetBytes, ulong sizeBytes, MapAccess access = MapAccess.ReadWrite, bool checkLength = true, Action? onLost = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        bool held = false;
        file.DangerousAddRef(ref held);
        try
        {
            return Map((int)file.DangerousGetHandle(), offsetBytes, sizeBytes, access, checkLength, onLost);
        }
        finally
        {
            file.DangerousRelease();
        }
    }

    /// <summary>Maps fresh zeroed memory that nobody else has.</summary>
    /// <exception cref="IOException">There is not enough memory.</exception>
    public static MappedRegion CreateAnonymous(ulong sizeBytes)
    {
        nuint bytes = RoundUp((nuint)sizeBytes, PageBytes);
        void* mapping = Libc.mmap(
            null, bytes, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        return mapping == Libc.MAP_FAILED
            ? throw new IOException($"There are no {sizeBytes} bytes of memory to map.")
            : new MappedRegion(mapping, bytes, 0, sizeBytes) { Access = MapAccess.ReadWrite, CannotShrink = true };
    }

    /// <summary>One more user. Call it only while another reference is held.</summary>
    public void AddReference()
    {
        ObjectDisposedException.ThrowIf(Interlocked.Increment(ref _references) <= 1, this);
    }

    /// <summary>One user less; the last one unmaps.</summary>
    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
        {
            if (_guard >= 0)
            {
                FaultGuard.Remove(_guard);
            }

            _ = Libc.munmap(_mapping, _mappedBytes);
        }
    }

    /// <summary>Gives back the creator's reference. Further calls do nothing.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Release();
        }
    }

    private static MappedRegion Map(int fd, ulong offsetBytes, ulong sizeBytes, MapAccess access, bool checkLength, Action? onLost)
    {
        if (sizeBytes == 0 || offsetBytes > long.MaxValue - (1L << 32) || sizeBytes > (ulong)long.MaxValue - (1UL << 32) - offsetBytes)
        {
            throw new IOException($"A region of {sizeBytes} bytes at file offset {offsetBytes} cannot be mapped: send its true size.");
        }

        // Sealed first and measured afterwards: with the seal the length that is seen stays.
        bool cannotShrink = checkLength && SealAgainstShrinking(fd);
        Libc.stat stat;
        int rc = Libc.fstat(fd, &stat);
        if (rc < 0)
        {
            throw new IOException($"The memory's descriptor is not usable (errno {-rc}).");
        }

        if (checkLength && ((stat.st_mode & Libc.S_IFMT) != Libc.S_IFREG || (ulong)stat.st_size < offsetBytes + sizeBytes))
        {
            throw new IOException(
                $"The memory's file has {stat.st_size} bytes, too few for a region of {sizeBytes} bytes at offset {offsetBytes}.");
        }

        if (checkLength && FileSystemOf(fd) == FUSE_SUPER_MAGIC)
        {
            throw new IOException("The memory's file lies on a file system in user space (FUSE), which may keep every access waiting for ever: use a memfd, hugetlbfs or a local file.");
        }

        // hugetlbfs states its page size as the block size; offset and length of a mapping are multiples of it.
        nuint page = checkLength && stat.st_blksize >= HugePageMinimumBytes && IsPowerOfTwo(stat.st_blksize)
            && FileSystemOf(fd) == HUGETLBFS_MAGIC // a large block size alone says little: some file systems prefer large I/O
            ? (nuint)stat.st_blksize : PageBytes;
        nuint skip = (nuint)offsetBytes & (page - 1);
        nuint bytes = RoundUp((nuint)sizeBytes + skip, page);
        int protection = ((access & MapAccess.Read) != 0 ? Libc.PROT_READ : 0) | ((access & MapAccess.Write) != 0 ? Libc.PROT_WRITE : 0);
        void* mapping = Libc.mmap(null, bytes, protection, Libc.MAP_SHARED | Libc.MAP_NORESERVE, fd, (long)(offsetBytes - skip));
        if (mapping == Libc.MAP_FAILED)
        {
            throw new IOException(
                $"Mapping {sizeBytes} bytes at file offset {offsetBytes} failed (errno {Marshal.GetLastPInvokeError()}): "
                + "the memory must be shareable (memfd, hugetlbfs or a file, opened for reading and writing).");
        }

        var region = new MappedRegion(mapping, bytes, skip, sizeBytes) { Access = access, CannotShrink = cannotShrink, OnLost = onLost };
        if (!cannotShrink && checkLength)
        {
            region._guard = FaultGuard.Add(region, mapping, bytes, page);
            region.WhyUnguarded = region._guard >= 0 ? null : FaultGuard.Refusal ?? "too many regions are guarded already";
        }

        return region;
    }

    private static bool SealAgainstShrinking(int fd)
    {
        int seals = Libc.fcntl(fd, Libc.F_GET_SEALS, 0);
        if (seals >= 0 && (seals & (Libc.F_SEAL_SHRINK | Libc.F_SEAL_SEAL)) == 0)
        {
            _ = Libc.fcntl(fd, Libc.F_ADD_SEALS, Libc.F_SEAL_SHRINK);
            seals = Libc.fcntl(fd, Libc.F_GET_SEALS, 0);
        }

        return seals >= 0 && (seals & Libc.F_SEAL_SHRINK) != 0;
    }

    /// <summary>The magic number of the file system that a file is on (linux/magic.h); 0 where it cannot be told.</summary>
    private static long FileSystemOf(int fd)
    {
        Libc.statfs info;
        return Libc.fstatfs(fd, &info) == 0 ? info.f_type : 0;
    }

    private static bool IsPowerOfTwo(long value) => (value & (value - 1)) == 0;

    private static nuint RoundUp(nuint value, nuint unit) => (value + unit - 1) & ~(unit - 1);
}
