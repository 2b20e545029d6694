using Polyblk.Core.Interop;
using static Polyblk.Core.Uring.UringAbi;

namespace Polyblk.Core.Uring;

/// <summary>The mapped memory of a ring. A test makes one over memory of its own.</summary>
internal sealed unsafe class UringMemory : IDisposable
{
    public uint* SqHead, SqTail, SqFlags, SqArray, CqHead, CqTail;

    /// <summary>Flags that we set for the kernel; null before Linux 5.8.</summary>
    public uint* CqFlags;
    public uint SqMask, SqEntries, CqMask, CqEntries, SqeBytes;
    public byte* Sqes;
    public io_uring_cqe* Cqes;

    private void* _sqRing, _cqRing;
    private bool _disposed;
    private nuint _sqRingBytes, _cqRingBytes, _sqesBytes;

    public int RingFd { get; private init; } = -1;

    /// <summary>
    /// Maps the three areas of a ring made by io_uring_setup(2). Owns <paramref name="fd"/> from here on; null, and the ring
    /// closed, when there is no memory.
    /// </summary>
    public static UringMemory? TryMap(int fd, in io_uring_params p)
    {
        uint sqeBytes = (p.flags & IORING_SETUP_SQE128) != 0 ? 128u : 64u;
        var memory = new UringMemory
        {
            RingFd = fd,
            SqeBytes = sqeBytes,
            SqEntries = p.sq_entries,
            CqEntries = p.cq_entries,
            SqMask = p.sq_entries - 1,
            CqMask = p.cq_entries - 1,
            _sqRingBytes = p.sq_off.array + (p.sq_entries * sizeof(uint)),
            _cqRingBytes = p.cq_off.cqes + (p.cq_entries * (uint)sizeof(io_uring_cqe)),
            _sqesBytes = p.sq_entries * sqeBytes,
        };
        bool single = (p.features & IORING_FEAT_SINGLE_MMAP) != 0;
        if (single)
        {
            memory._sqRingBytes = nuint.Max(memory._sqRingBytes, memory._cqRingBytes);
        }

        memory._sqRing = memory.MapArea(memory._sqRingBytes, IORING_OFF_SQ_RING);
        memory._cqRing = single ? memory._sqRing : memory.MapArea(memory._cqRingBytes, IORING_OFF_CQ_RING);
        memory.Sqes = (byte*)memory.MapArea(memory._sqesBytes, IORING_OFF_SQES);

        if (memory._sqRing is null || memory._cqRing is null || memory.Sqes is null)
        {
            memory.Dispose();
            return null;
        }

        byte* sq = (byte*)memory._sqRing;
        byte* cq = (byte*)memory._cqRing;
        memory.SqHead = (uint*)(sq + p.sq_off.head);
        memory.SqTail = (uint*)(sq + p.sq_off.tail);
        memory.SqFlags = (uint*)(sq + p.sq_off.flags);
        memory.SqArray = (uint*)(sq + p.sq_off.array);
        memory.CqHead = (uint*)(cq + p.cq_off.head);
        memory.CqTail = (uint*)(cq + p.cq_off.tail);
        memory.CqFlags = p.cq_off.flags == 0 ? null : (uint*)(cq + p.cq_off.flags);
        memory.Cqes = (io_uring_cqe*)(cq + p.cq_off.cqes);
        return memory;
    }

    public void Dispose()
    {
        if (RingFd < 0 || _disposed)
        {
            return;
        }

        _disposed = true;

        Unmap(Sqes, _sqesBytes);
        if (_cqRing != _sqRing)
        {
            Unmap(_cqRing, _cqRingBytes);
        }

        Unmap(_sqRing, _sqRingBytes);
        _ = Libc.close(RingFd);
    }

    private static void Unmap(void* area, nuint bytes)
    {
        if (area is not null)
        {
            _ = Libc.munmap(area, bytes);
        }
    }

    private void* MapArea(nuint bytes, long offset)
    {
        void* area = Libc.mmap(null, bytes, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_SHARED | Libc.MAP_POPULATE, RingFd, offset);
        return area == Libc.MAP_FAILED ? null : area;
    }
}
