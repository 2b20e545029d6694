// A piece of somebody else's memory, mapped into this process and counted.
//
// The memory of a guest arrives as a descriptor with an offset and a size. It is mapped once and unmapped when the last user lets
// go, so that a region that the front-end removed stays readable for the requests that still point into it.
//
// A file that is made shorter under a mapping turns every later access beyond its end into SIGBUS. So when the region is mapped,
// the file must be long enough, and a memfd that allows it is sealed against shrinking (F_SEAL_SHRINK); QEMU seals its memfds
// itself. A file or an unsealable memfd stays in the hands of whoever holds it: MappedRegion.CannotShrink tells, and a caller may
// refuse such memory. A seal promises the length but no pages: where huge pages or a tmpfs have run out, an access faults all the
// same. So every mapping is guarded (FaultGuard), and their number is bounded (MappingBudget).
//
// What a descriptor does not allow to be written is mapped for reading, if that is enough for the caller.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Tmds.Linux;

namespace Polyblk.Virtio.Memory;

/// <summary>How a region is mapped.</summary>
[Flags]
public enum MapAccess : byte
{
    /// <summary>Not at all: the region is known, and out of reach.</summary>
    None = 0,

    /// <summary>The device reads it.</summary>
    Read = 1,

    /// <summary>The device writes it.</summary>
    Write = 2,

    /// <summary>Both.</summary>
    ReadWrite = Read | Write,
}

/// <summary>A place in a file, whichever descriptor it was reached by.</summary>
/// <param name="Device">Number of the file system; 0 where there is no file.</param>
/// <param name="Inode">The file's number in it.</param>
/// <param name="OffsetBytes">Where in the file.</param>
public readonly record struct MappedFile(ulong Device, ulong Inode, ulong OffsetBytes)
{
    internal static MappedFile Of(int fd, ulong offsetBytes)
    {
        // Without asking a file system in user space, which might not answer.
        return Libc.IdentifyWithoutSync(fd, out ulong device, out ulong inode) < 0 ? default : new MappedFile(device, inode, offsetBytes);
    }
}

/// <summary>What is wanted of a mapping.</summary>
public sealed record MapOptions
{
    /// <summary>Reading and writing of a file that is long enough.</summary>
    public static MapOptions Default { get; } = new();

    /// <summary>What the device would like to do with it.</summary>
    public MapAccess Access { get; init; } = MapAccess.ReadWrite;

    /// <summary>
    /// What is enough where <see cref="Access"/> is not allowed: see <see cref="MappedRegion.Access"/> for what it became.
    /// </summary>
    public MapAccess Least { get; init; } = MapAccess.ReadWrite;

    /// <summary>
    /// Whether the file's length is checked; false only for a kernel object that has no length (the IOTLB descriptors of VDUSE).
    /// </summary>
    public bool CheckLength { get; init; } = true;

    /// <summary>Whether its owner has many mappings already, and is refused earlier than others.</summary>
    public bool IsOneOfMany { get; init; }

    /// <summary>
    /// Told once, on a thread of its own, when a part of the memory was found to be gone (<see cref="MappedRegion.HasLost"/>).
    /// </summary>
    public Action? OnLost { get; init; }
}

/// <summary>A shared mapping with a reference count. It starts with one reference, its creator's.</summary>
public sealed unsafe class MappedRegion : ISharedMemory, IDisposable
{
    private const nuint PageBytes = 4096;
    private const long HugePageMinimumBytes = 64 << 10;

    private readonly void* _mapping;
    private readonly nuint _mappedBytes;
    private readonly bool _isBudgeted;
    private int _guard = -1;
    private int _references = 1;
    private int _disposed;

    private MappedRegion(void* mapping, nuint mappedBytes, nuint skipBytes, ulong sizeBytes, bool isBudgeted = false)
    {
        _mapping = mapping;
        _mappedBytes = mappedBytes;
        _isBudgeted = isBudgeted;
        Address = (byte*)mapping + skipBytes;
        SizeBytes = sizeBytes;
    }

    /// <summary>First byte.</summary>
    public byte* Address { get; }

    /// <summary>Usable length in bytes; any number.</summary>
    public ulong SizeBytes { get; }

    /// <summary>What the mapping allows.</summary>
    public MapAccess Access { get; private init; }

    /// <inheritdoc/>
    public bool IsWritable => Access == MapAccess.ReadWrite;

    /// <summary>
    /// Whether the file is sealed against shrinking. An access may fault all the same, where there are no pages for it.
    /// </summary>
    public bool CannotShrink { get; private init; }

    /// <summary>
    /// Whether somebody made the file shorter and a part of the memory has gone: it was replaced by zeroes that nobody else sees.
    /// Ask while a reference is held.
    /// </summary>
    public bool HasLost => _guard >= 0 && FaultGuard.HasLost(_guard);

    /// <summary>Why an access to memory that its owner takes away would end this process; null when it would not.</summary>
    public string? WhyUnguarded { get; private set; }

    /// <summary>What of which file it is.</summary>
    public MappedFile File { get; private init; }

    /// <summary>Called once, on a thread of its own, soon after a part of the memory was found to be gone.</summary>
    internal Action? OnLost { get; private init; }

    /// <summary>Whether the memory is still mapped.</summary>
    public bool IsMapped => Volatile.Read(ref _references) > 0;

    /// <summary>Maps <paramref name="sizeBytes"/> bytes of a file, from <paramref name="offsetBytes"/> on.</summary>
    /// <param name="file">
    /// A memfd, a hugetlbfs file, or any file that can be mapped (of somebody else's, see <see cref="ForeignMemory"/> first). It
    /// may be closed afterwards.
    /// </param>
    /// <param name="offsetBytes">Where the region starts in the file; any number.</param>
    /// <param name="sizeBytes">Its length; any number but 0.</param>
    /// <param name="options">What is wanted of the mapping; by default to read and write all of it.</param>
    /// <exception cref="IOException">The file is too short or cannot be mapped, or too much is mapped already.</exception>
    public static MappedRegion Map(SafeFileHandle file, ulong offsetBytes, ulong sizeBytes, MapOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(file);
        bool held = false;
        file.DangerousAddRef(ref held);
        try
        {
            return Map((int)file.DangerousGetHandle(), offsetBytes, sizeBytes, options ?? MapOptions.Default);
        }
        finally
        {
            file.DangerousRelease();
        }
    }

    /// <summary>
    /// Takes the place of a region that cannot be mapped: nothing in it can be read or written (<see cref="MapAccess.None"/>).
    /// </summary>
    /// <exception cref="IOException">There are not enough addresses, or too much is mapped already.</exception>
    public static MappedRegion CreateUnreachable(SafeFileHandle file, ulong offsetBytes, ulong sizeBytes, bool isOneOfMany)
    {
        ArgumentNullException.ThrowIfNull(file);
        if (sizeBytes is 0 or > long.MaxValue)
        {
            throw new IOException($"A region of {sizeBytes} bytes is not possible: send its true size.");
        }

        MappingBudget.Mappings.Take(isOneOfMany);
        nuint bytes = RoundUp((nuint)sizeBytes, PageBytes);
        void* mapping = Libc.mmap(null, bytes, Libc.PROT_NONE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        if (mapping == Libc.MAP_FAILED)
        {
            MappingBudget.Mappings.Return();
            throw new IOException($"There are no addresses for a region of {sizeBytes} bytes.");
        }

        return new MappedRegion(mapping, bytes, 0, sizeBytes, isBudgeted: true)
        {
            CannotShrink = true, File = MappedFile.Of((int)file.DangerousGetHandle(), offsetBytes),
        };
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

    /// <summary>
    /// Maps fresh zeroed memory between two pages that nobody may touch: an access before its page's beginning or beyond its last
    /// byte ends the process. For tests.
    /// </summary>
    /// <param name="sizeBytes">Its length; a multiple of 64, so that the last byte is next to the guard and the first is
    /// aligned.</param>
    /// <param name="access">What the device may do with it; the mapping allows nothing else.</param>
    /// <exception cref="IOException">There is not enough memory.</exception>
    internal static MappedRegion CreateGuarded(ulong sizeBytes, MapAccess access = MapAccess.ReadWrite)
    {
        int protection = Libc.PROT_READ | ((access & MapAccess.Write) != 0 ? Libc.PROT_WRITE : 0);
        nuint inner = RoundUp((nuint)sizeBytes, PageBytes);
        nuint bytes = inner + (2 * PageBytes);
        void* mapping = Libc.mmap(null, bytes, Libc.PROT_NONE, Libc.MAP_SHARED | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        if (mapping == Libc.MAP_FAILED || Libc.mprotect((byte*)mapping + PageBytes, inner, protection) < 0)
        {
            throw new IOException($"There are no {sizeBytes} bytes of memory to map.");
        }

        return new MappedRegion(mapping, bytes, PageBytes + inner - (nuint)sizeBytes, sizeBytes) { Access = access, CannotShrink = true };
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
            if (_isBudgeted)
            {
                MappingBudget.Mappings.Return();
            }
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

    private static MappedRegion Map(int fd, ulong offsetBytes, ulong sizeBytes, MapOptions options)
    {
        if (sizeBytes == 0 || offsetBytes > long.MaxValue - (1L << 32) || sizeBytes > (ulong)long.MaxValue - (1UL << 32) - offsetBytes)
        {
            throw new IOException($"A region of {sizeBytes} bytes at file offset {offsetBytes} cannot be mapped: send its true size.");
        }

        // Sealed first and measured afterwards: with the seal the length that is seen stays.
        bool cannotShrink = options.CheckLength && SealAgainstShrinking(fd);
        nuint page = options.CheckLength ? CheckFile(fd, offsetBytes, sizeBytes) : PageBytes;
        nuint skip = (nuint)offsetBytes & (page - 1);
        nuint bytes = RoundUp((nuint)sizeBytes + skip, page);
        MappingBudget.Mappings.Take(options.IsOneOfMany);
        MappedRegion region;
        try
        {
            void* mapping = MapFile(fd, bytes, (long)(offsetBytes - skip), options, out MapAccess access);
            region = new MappedRegion(mapping, bytes, skip, sizeBytes, isBudgeted: true)
            {
                Access = access, CannotShrink = cannotShrink, OnLost = options.OnLost, File = MappedFile.Of(fd, offsetBytes),
            };
        }
        catch (IOException)
        {
            MappingBudget.Mappings.Return();
            throw;
        }

        // The budget leaves room in the guard for every mapping, so it refuses only where there can be no guard at all.
        region._guard = FaultGuard.Add(region, region._mapping, bytes, page);
        region.WhyUnguarded = region._guard >= 0 ? null : FaultGuard.Refusal;
        return region;
    }

    /// <summary>Checks that a file holds the region; returns the size of its pages.</summary>
    private static nuint CheckFile(int fd, ulong offsetBytes, ulong sizeBytes)
    {
        stat stat;
        int rc = Libc.fstat(fd, &stat);
        if (rc < 0)
        {
            throw new IOException($"The memory's descriptor is not usable (errno {-rc}).");
        }

        long fileBytes = stat.st_size;
        if ((stat.st_mode & Libc.S_IFMT) != Libc.S_IFREG || (ulong)fileBytes < offsetBytes + sizeBytes)
        {
            throw new IOException(
                $"The memory's file has {fileBytes} bytes, too few for a region of {sizeBytes} bytes at offset {offsetBytes}.");
        }

        // hugetlbfs states its page size as the block size; offset and length of a mapping are multiples of it. A large block
        // size alone says little: some file systems prefer large I/O.
        long blockBytes = stat.st_blksize;
        return blockBytes >= HugePageMinimumBytes && IsPowerOfTwo(blockBytes)
            && ForeignMemory.FileSystemOf(fd) == ForeignMemory.HUGETLBFS_MAGIC
            ? (nuint)blockBytes : PageBytes;
    }

    private static void* MapFile(int fd, nuint bytes, long offset, MapOptions options, out MapAccess access)
    {
        access = options.Access;
        void* mapping = Libc.mmap(null, bytes, ProtectionOf(access), Libc.MAP_SHARED | Libc.MAP_NORESERVE, fd, offset);
        int errno = Marshal.GetLastPInvokeError();
        if (mapping == Libc.MAP_FAILED && errno is Errno.EACCES or Errno.EPERM && access != options.Least)
        {
            // Opened for reading, or sealed against writing.
            access = options.Least;
            mapping = Libc.mmap(null, bytes, ProtectionOf(access), Libc.MAP_SHARED | Libc.MAP_NORESERVE, fd, offset);
            errno = Marshal.GetLastPInvokeError();
        }

        if (mapping != Libc.MAP_FAILED)
        {
            // A core dump of this process holds no guest's memory. Whoever dumps it may have set coredump_filter to shared
            // mappings.
            _ = Libc.madvise(mapping, bytes, Libc.MADV_DONTDUMP);
            return mapping;
        }

        throw new IOException(
            $"Mapping {bytes} bytes at file offset {offset} failed (errno {errno}): "
            + "the memory must be shareable (memfd, hugetlbfs or tmpfs, opened for reading and writing).");
    }

    private static int ProtectionOf(MapAccess access) =>
        ((access & MapAccess.Read) != 0 ? Libc.PROT_READ : 0) | ((access & MapAccess.Write) != 0 ? Libc.PROT_WRITE : 0);

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

    private static bool IsPowerOfTwo(long value) => (value & (value - 1)) == 0;

    private static nuint RoundUp(nuint value, nuint unit) => (value + unit - 1) & ~(unit - 1);
}
