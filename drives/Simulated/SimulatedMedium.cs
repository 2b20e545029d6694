// The content of a simulated drive, twice: as a reader sees it, and as it would be after a crash.
//
// A completed write changes what readers see and joins the log of unflushed writes, in order. A flush takes from the log what had
// completed before the flush was submitted and makes it durable. In a crash each entry of the log, and each write in flight,
// survives wholly, in part (each unit of TearBytes by itself), or not at all. A write with FUA always survives; it joins the log
// nevertheless when older writes are in it, which must not be laid over it later.

using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Drives.Simulated;

/// <summary>Memory with a volatile cache that can be lost. Any thread.</summary>
internal sealed unsafe class SimulatedMedium : IDisposable
{
    private const nuint SmallBytes = 4 << 20;

    private readonly Lock _lock = new();
    private readonly Queue<Entry> _log = new();
    private readonly nuint _sizeBytes;
    private readonly int _tearBytes;
    private readonly bool _volatileCache;
    private byte* _current;
    private byte* _durable;
    private long _lastEntry;

    /// <summary>Maps it, zeroed.</summary>
    /// <exception cref="IOException">There is no memory.</exception>
    public SimulatedMedium(long sizeBytes, SimulatedDriveOptions options)
    {
        _sizeBytes = (nuint)sizeBytes;
        _tearBytes = options.TearBytes;
        _volatileCache = options.VolatileCache;
        _current = Map();
        _durable = options.CanCrash ? Map() : null;
    }

    /// <summary>Whether unflushed writes are remembered.</summary>
    public bool CanCrash => _durable is not null;

    /// <summary>The place in the log up to which a flush submitted now must reach.</summary>
    public long FlushMark
    {
        get
        {
            if (!CanCrash)
            {
                return 0;
            }

            lock (_lock)
            {
                return _lastEntry;
            }
        }
    }

    /// <summary>
    /// Does a request that is complete now. One at a time, as a real drive never mixes two writes within a block: two reactors'
    /// copies to the same place would be mixed, and the log's order be another than that in which readers saw them.
    /// </summary>
    /// <param name="request">A valid request whose buffers the CPU may use.</param>
    /// <param name="flushMark">For a flush: <see cref="FlushMark"/> when it was submitted.</param>
    public void Apply(BlockRequest request, long flushMark)
    {
        byte* current = _current + request.OffsetBytes;
        lock (_lock)
        {
            switch (request.Operation)
            {
                case BlockOperation.Read:
                    _ = RequestCopy.Copy(request, 0, current, request.LengthBytes, toRequest: true);
                    return;
                case BlockOperation.Flush:
                    MakeDurable(flushMark);
                    return;
                case BlockOperation.Write:
                    _ = RequestCopy.Copy(request, 0, current, request.LengthBytes, toRequest: false);
                    break;
                default:
                    NativeMemory.Clear(current, (nuint)request.LengthBytes);
                    break;
            }

            if (CanCrash)
            {
                Log(request, isComplete: true);
            }
        }
    }

    /// <summary>What a range holds, as readers see it.</summary>
    public void Peek(long offset, Span<byte> to)
    {
        lock (_lock)
        {
            new ReadOnlySpan<byte>(_current + offset, to.Length).CopyTo(to);
        }
    }

    /// <summary>A range becomes something else by itself: nobody is told, and it is durable.</summary>
    public void Corrupt(long offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            data.CopyTo(new Span<byte>(_current + offset, data.Length));
            if (CanCrash)
            {
                data.CopyTo(new Span<byte>(_durable + offset, data.Length));
            }
        }
    }

    /// <summary>A write was in flight when the drive crashed: it may survive like an unflushed one.</summary>
    public void AddInFlight(BlockRequest request)
    {
        if (CanCrash && request.Operation is not (BlockOperation.Read or BlockOperation.Flush))
        {
            lock (_lock)
            {
                Log(request, isComplete: false);
            }
        }
    }

    /// <summary>Loses the cache: decides by the seed what of the log survives, and shows readers that.</summary>
    public void Crash(ref SeededRandom random)
    {
        lock (_lock)
        {
            // Both are equal everywhere else.
            Entry[] lost = [.. _log];
            while (_log.TryDequeue(out Entry entry))
            {
                Survive(entry, ref random);
                NativeMemory.Free(entry.Data);
            }

            foreach (Entry entry in lost)
            {
                Buffer.MemoryCopy(_durable + entry.Offset, _current + entry.Offset, entry.Length, entry.Length);
            }
        }
    }

    public void Dispose()
    {
        lock (_lock)
        {
            while (_log.TryDequeue(out Entry entry))
            {
                NativeMemory.Free(entry.Data);
            }

            Unmap(ref _current);
            Unmap(ref _durable);
        }
    }

    /// <summary>Under the lock.</summary>
    private void Log(BlockRequest request, bool isComplete)
    {
        long length = request.LengthBytes;
        byte* data = null;
        if (request.Operation == BlockOperation.Write)
        {
            data = (byte*)NativeMemory.Alloc((nuint)length);
            _ = RequestCopy.Copy(request, 0, data, length, toRequest: false);
        }

        bool survives = isComplete && (!_volatileCache || (request.Flags & BlockFlags.Fua) != 0);
        var entry = new Entry(request.OffsetBytes, length, data, survives);
        if (survives)
        {
            CopyToDurable(entry, 0, length);
            if (_log.Count == 0)
            {
                NativeMemory.Free(data);
                return;
            }
        }

        _lastEntry++;
        _log.Enqueue(entry);
    }

    /// <summary>Under the lock. Without crashes the log is empty.</summary>
    private void MakeDurable(long mark)
    {
        while (_lastEntry - _log.Count < mark && _log.TryDequeue(out Entry entry))
        {
            CopyToDurable(entry, 0, entry.Length);
            NativeMemory.Free(entry.Data);
        }
    }

    private void Survive(in Entry entry, ref SeededRandom random)
    {
        long fate = entry.Survives ? 0 : random.Next(3);
        if (fate == 0)
        {
            CopyToDurable(entry, 0, entry.Length);
        }

        for (long at = 0; fate == 1 && at < entry.Length; at += _tearBytes)
        {
            if (random.Next(2) == 0)
            {
                CopyToDurable(entry, at, Math.Min(_tearBytes, entry.Length - at));
            }
        }
    }

    private void CopyToDurable(in Entry entry, long at, long length)
    {
        byte* to = _durable + entry.Offset + at;
        if (entry.Data is null)
        {
            NativeMemory.Clear(to, (nuint)length);
        }
        else
        {
            Buffer.MemoryCopy(entry.Data + at, to, length, length);
        }
    }

    private byte* Map()
    {
        // Of a small drive all is touched soon: its pages are made at once, which takes a tenth of the time of one after the other.
        int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE | (_sizeBytes <= SmallBytes ? Libc.MAP_POPULATE : 0);
        void* area = Libc.mmap(null, _sizeBytes, Libc.PROT_READ | Libc.PROT_WRITE, flags, -1, 0);
        if (area == Libc.MAP_FAILED)
        {
            throw DriveGeometry.Error("sim", "there is not enough memory; choose a smaller size.");
        }

        // Most of it is never touched. With huge pages, which some kernels give unasked, a first write of 4 KiB would clear and
        // keep 2 MiB. A kernel without huge pages refuses the advice.
        _ = DriveCalls.madvise(area, _sizeBytes, Libc.MADV_NOHUGEPAGE);
        return (byte*)area;
    }

    private void Unmap(ref byte* area)
    {
        if (area is not null)
        {
            _ = Libc.munmap(area, _sizeBytes);
            area = null;
        }
    }

    /// <summary>A write that may be lost; without data it is zeroes.</summary>
    private readonly struct Entry(long offset, long length, byte* data, bool survives)
    {
        public readonly long Offset = offset;
        public readonly long Length = length;
        public readonly byte* Data = data;
        public readonly bool Survives = survives;
    }
}
