// A row in memory, and the arithmetic of a replay (JournalReplay has the theory).

using System.Numerics;
using System.Runtime.InteropServices;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Journal;

/// <summary>
/// The blocks of a row, its partial parities, and the parities that are made of them. Used for one row after the other.
/// </summary>
internal sealed unsafe class RowImage : IDisposable
{
    private readonly int _dataCount, _parityCount;
    private readonly byte[][] _blocks, _partials, _made;
    private readonly byte[] _zeroes;
    private readonly StripeSolver _solver;

    public RowImage(RaidGeometry geometry, int rowBytes)
    {
        _dataCount = geometry.DataCount;
        _parityCount = geometry.ParityCount;
        _blocks = Make(geometry.GroupSize, rowBytes);
        _partials = Make(_parityCount, rowBytes);
        _made = Make(_parityCount, rowBytes);
        _zeroes = Make(1, rowBytes)[0];
        _solver = new StripeSolver(ParityKernels.Best, _dataCount, _parityCount);
    }

    /// <summary>Columns of a block: data in order, then P, then Q.</summary>
    public Memory<byte> Block(int block, int from, int to) => _blocks[block].AsMemory(from, to - from);

    /// <summary>Columns of a partial parity.</summary>
    public Memory<byte> Partial(int parity, int from, int to) => _partials[parity].AsMemory(from, to - from);

    /// <summary>Columns of a parity as it must be.</summary>
    public Memory<byte> Made(int parity, int from, int to) => _made[parity].AsMemory(from, to - from);

    /// <summary>Whether a parity is as it must be.</summary>
    public bool IsRight(int parity, int from, int to) => Block(_dataCount + parity, from, to).Span.SequenceEqual(Made(parity, from, to).Span);

    /// <summary>Makes the lost blocks and the parities. Returns false when too much is lost.</summary>
    /// <param name="record">What was being written.</param>
    /// <param name="lost">Blocks that are not here, one bit each.</param>
    /// <param name="partials">Partial parities that are here, one bit each.</param>
    public bool TryMend(JournalRecord record, ulong lost, uint partials)
    {
        int[] bounds = [.. record.Pieces.SelectMany(p => new[] { p.From, p.To }).Append(record.From).Append(record.To).Distinct().Order()];
        for (int i = 0; i + 1 < bounds.Length; i++)
        {
            ulong written = 0;
            foreach (JournalPiece piece in record.Pieces)
            {
                written |= piece.From <= bounds[i] && bounds[i + 1] <= piece.To ? 1UL << piece.Block : 0;
            }

            if (!TryMend(bounds[i], bounds[i + 1] - bounds[i], written, lost, partials))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Makes columns in which the same blocks were being written.</summary>
    private bool TryMend(int from, int length, ulong written, ulong lost, uint partials)
    {
        ulong data = (1UL << _dataCount) - 1, parities = ((1UL << _parityCount) - 1) << _dataCount;
        ulong noPartial = parities & ~((ulong)partials << _dataCount);
        if (!TryRecover(lost & data & ~written, noPartial, written, _partials, from, length)
            || !TryRecover(lost & data & written, lost & ~data, 0, [.. _blocks.Skip(_dataCount)], from, length))
        {
            return false;
        }

        byte** pointers = stackalloc byte*[StripeCode.MaxBlocks];
        Point(pointers, 0, _made, from);
        ParityKernels.Best.Encode(pointers, null, _dataCount, pointers + _dataCount, _parityCount, (nuint)length);
        return true;
    }

    /// <summary>Makes data blocks from the others and parities.</summary>
    /// <param name="wanted">The blocks.</param>
    /// <param name="noParity">Parities that are not there.</param>
    /// <param name="zero">Blocks that count as zero.</param>
    /// <param name="parities">The parities.</param>
    /// <param name="from">The first column.</param>
    /// <param name="length">How many.</param>
    private bool TryRecover(ulong wanted, ulong noParity, ulong zero, byte[][] parities, int from, int length)
    {
        if (wanted == 0)
        {
            return true;
        }

        byte** pointers = stackalloc byte*[StripeCode.MaxBlocks];
        Point(pointers, zero, parities, from);
        ulong all = ulong.MaxValue >> (StripeCode.MaxBlocks - _dataCount - _parityCount);
        return _solver.TryRecover(pointers, all & ~(wanted | noParity), wanted, (nuint)length);
    }

    public void Dispose() => _solver.Dispose();

    private void Point(byte** pointers, ulong zero, byte[][] parities, int from)
    {
        for (int i = 0; i < _dataCount; i++)
        {
            pointers[i] = At(((zero >> i) & 1) != 0 ? _zeroes : _blocks[i], from);
        }

        for (int i = 0; i < _parityCount; i++)
        {
            pointers[_dataCount + i] = At(parities[i], from);
        }
    }

    private static byte* At(byte[] pinned, int from) => (byte*)Marshal.UnsafeAddrOfPinnedArrayElement(pinned, from);

    private static byte[][] Make(int count, int bytes)
    {
        var made = new byte[count][];
        for (int i = 0; i < count; i++)
        {
            made[i] = GC.AllocateArray<byte>(bytes, pinned: true);
        }

        return made;
    }
}
