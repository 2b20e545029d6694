// The content of a simulated drive, twice: as a reader sees it, and as it would be after a crash.
//
// A completed write changes what readers see and joins the log of unflushed writes, in order. A flush takes from the log what had
// completed before the flush was submitted and makes it durable. In a crash each entry of the log, and each write in flight,
// survives wholly, in part (each unit of TearBytes by itself), or not at all. A write with FUA always survives; it joins the log
// nevertheless when older writes are in it, which must not be laid over it later.

using System.Numerics;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;

namespace Polyblk.Drives.Simulated;

/// <summary>Memory with a volatile cache that can be lost. Any thread.</summary>
internal sealed unsafe class SimulatedMedium : IDisposable
{
    private const int PageBytes = 4096;

    private static readonly byte* s_zeroes = (byte*)NativeMemory.AllocZeroed(PageBytes);

    private readonly Lock _lock = new();
    private readonly Queue<Entry> _log = new();
    private readonly nuint _sizeBytes;
    private readonly int _tearBytes;
    private readonly bool _volatileCache;
    private readonly MediumPool? _pool;
    private readonly ulong[] _changed;
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
        _pool = options.Pool;
        _changed = new ulong[_pool is null ? 0 : (sizeBytes + (64 * PageBytes) - 1) / (64 * PageBytes)];
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
                    Read(request);
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

            NoteChange(request.OffsetBytes, request.LengthBytes);
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
            NoteChange(offset, data.Length);
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
                NoteChange(request.OffsetBytes, request.LengthBytes);
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

    /// <summary>Under the lock. Where nothing was ever changed, memory that is far away need not be looked at.</summary>
    private void Read(BlockRequest request)
    {
        long length = request.LengthBytes;
        for (long done = 0; done < length;)
        {
            long offset = request.OffsetBytes + done;
            long part = _pool is null ? length : Math.Min(length - done, PageBytes - (offset % PageBytes));
            bool isChanged = _pool is null || (_changed[offset / PageBytes / 64] >> (int)(offset / PageBytes % 64) & 1) != 0;
            _ = RequestCopy.Copy(request, done, isChanged ? _current + offset : s_zeroes, part, toRequest: true);
            done += part;
        }
    }

    /// <summary>Under the lock. Remembers which pages are to be cleared before the memory is used again.</summary>
    private void NoteChange(long offset, long length)
    {
        for (long page = offset / PageBytes; _pool is not null && page <= (offset + length - 1) / PageBytes; page++)
        {
            _changed[page / 64] |= 1UL << (int)(page % 64);
        }
    }

    private byte* Map() => _pool is null ? MediumPool.Map(_sizeBytes) : _pool.Rent(_sizeBytes);

    private void Unmap(ref byte* area)
    {
        if (area is null)
        {
            return;
        }

        if (_pool is null)
        {
            MediumPool.Unmap(area, _sizeBytes);
        }
        else
        {
            ClearChanged(area);
            _pool.Return(area, _sizeBytes);
        }

        area = null;
    }

    private void ClearChanged(byte* area)
    {
        for (int i = 0; i < _changed.Length; i++)
        {
            for (ulong left = _changed[i]; left != 0; left &= left - 1)
            {
                nuint at = (nuint)((i * 64) + BitOperations.TrailingZeroCount(left)) * PageBytes;
                NativeMemory.Clear(area + at, Math.Min(PageBytes, _sizeBytes - at));
            }
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
