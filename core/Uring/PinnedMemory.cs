// Memory whose pages a ring knows, so that an operation on it need not look them up and hold them one by one.
//
// Theory of operation
//   * A range is registered as buffers of the ring's table (IORING_REGISTER_BUFFERS_UPDATE) in pieces of one size, a power of two, so that an
//     address gives the index of its piece. A piece is registered a turn: pinning takes about a millisecond for 16 MiB of small
//     pages, and other guests share the thread. What is not registered yet, or lies across two pieces, goes the ordinary way.
//   * A range that leaves is forgotten at once, for its addresses may be mapped anew; its pieces are taken out a turn each. The
//     kernel holds the pages themselves as long as an operation uses them.
//
// Pinned pages are the ones that were mapped when they were registered. A file whose pages are given back and allocated anew (a
// balloon, virtio-mem, free page reporting) leaves the ring with the old ones: a permit (PinPermit) promises that this does not
// happen.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;

namespace Polyblk.Core.Uring;

/// <summary>The ranges of memory that are registered with one ring. On the ring's thread.</summary>
public sealed unsafe class PinnedMemory
{
    private const int MinPieceShift = 24;
    private const int MaxPieceShift = 30; // The kernel's limit of one buffer.
    private const ulong PiecesWanted = 4096;

    private readonly IoUring _ring;
    private readonly List<Range> _leaving = [];
    private Range[] _ranges = [];
    private Range? _window;

    internal PinnedMemory(IoUring ring) => _ring = ring;

    /// <summary>Bytes that are registered now.</summary>
    public ulong Bytes
    {
        get
        {
            ulong sum = 0;
            foreach (Range range in _ranges)
            {
                sum += Math.Min((ulong)range.Done << range.Shift, range.SizeBytes);
            }

            return sum;
        }
    }

    /// <summary>Finds the registered buffer that holds all of a piece of memory.</summary>
    /// <returns>Its index in the ring's table, or -1.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Find(byte* address, nuint length)
    {
        Range? range = _window;
        if (range is null)
        {
            return -1;
        }

        nuint offset = (nuint)(address - range.Address);
        return offset < range.SizeBytes ? range.Find(offset, length) : FindElsewhere(address, length);
    }

    /// <summary>Begins to register a range; <see cref="Step"/> does the work.</summary>
    /// <param name="address">Its first byte, at the start of a page.</param>
    /// <param name="sizeBytes">Its length. It stays mapped until it is removed.</param>
    /// <param name="refused">Told, once, the errno with which the kernel refused a piece; the range then stays as far as it
    /// came.</param>
    internal void Add(byte* address, ulong sizeBytes, Action<int>? refused)
    {
        int shift = MinPieceShift;
        while (shift < MaxPieceShift && sizeBytes >> shift > PiecesWanted)
        {
            shift++;
        }

        int count = (int)((sizeBytes + (1ul << shift) - 1) >> shift);
        int first = _ring.Buffers.Reserve(count);
        if (first < 0)
        {
            refused?.Invoke(-first);
            return;
        }

        var range = new Range { Address = address, SizeBytes = (nuint)sizeBytes, First = first, Count = count, Shift = shift, Refused = refused };
        _ranges = [.. _ranges, range];
        _window = range;
    }

    /// <summary>Forgets a range. A range that could not be added is not known, and nothing happens.</summary>
    internal void Remove(byte* address)
    {
        int index = Array.FindIndex(_ranges, range => range.Address == address);
        if (index < 0)
        {
            return;
        }

        _leaving.Add(_ranges[index]);
        _ranges = [.. _ranges[..index], .. _ranges[(index + 1)..]];
        _window = _ranges.Length == 0 ? null : _ranges[0];
    }

    /// <summary>Registers the next piece, or takes one out. Returns whether there is more to do.</summary>
    internal bool Step()
    {
        if (_leaving.Count != 0)
        {
            Range range = _leaving[^1];
            if (range.Done != 0 && _ring.Buffers.Set(range.First + range.Done - 1, null, 0) >= 0)
            {
                range.Done--;
                return true;
            }

            _leaving.RemoveAt(_leaving.Count - 1);
            if (range.Done == 0)
            {
                _ring.Buffers.Release(range.First, range.Count);
            }

            return true;
        }

        foreach (Range range in _ranges)
        {
            if (range.Done < range.Count && !range.IsRefused)
            {
                ulong offset = (ulong)range.Done << range.Shift;
                int result = _ring.Buffers.Set(range.First + range.Done, range.Address + offset, (nuint)Math.Min(1ul << range.Shift, range.SizeBytes - offset));
                if (result < 0)
                {
                    range.IsRefused = true;
                    range.Refused?.Invoke(-result);
                }
                else
                {
                    range.Done++;
                }

                return true;
            }
        }

        return false;
    }

    private int FindElsewhere(byte* address, nuint length)
    {
        foreach (Range range in _ranges)
        {
            nuint offset = (nuint)(address - range.Address);
            if (offset < range.SizeBytes)
            {
                _window = range;
                return range.Find(offset, length);
            }
        }

        return -1;
    }

    private sealed class Range
    {
        public required byte* Address { get; init; }

        public required nuint SizeBytes { get; init; }

        public required int First { get; init; }

        public required int Count { get; init; }

        public required int Shift { get; init; }

        public required Action<int>? Refused { get; init; }

        /// <summary>Pieces that are registered: the first ones.</summary>
        public int Done { get; set; }

        public bool IsRefused { get; set; }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public int Find(nuint offset, nuint length)
        {
            nuint piece = offset >> Shift;
            return piece < (nuint)Done && length != 0 && length <= SizeBytes - offset && (offset + length - 1) >> Shift == piece ? First + (int)piece : -1;
        }
    }
}
