// A row of a scrub: all blocks are read, the parities made anew beside them, and compared.
//
// With one parity a difference says that something is wrong, not what; the data counts as right then. With two it can be told,
// where one block is wrong: let dP and dQ be the differences of the parities that were read and those that the data makes.
//
//   only dP is not zero              P is wrong
//   only dQ is not zero              Q is wrong
//   dQ = g^z * dP in every column    data block z is wrong, by dP (H. P. Anvin, The mathematics of RAID-6, section 4)
//   anything else                    more than one block is wrong: the data counts as right
//
// With M parities, three or more, up to M / 2 wrong blocks are told, whichever they are. The first column that differs says some
// (StripeLocator). Then they, and as many parities as there are beside them, are made from all other blocks (two sets of wrong
// blocks that are so few cannot both fit): where those parities are as they were read, the blocks that were made are right in all
// columns; else the first column that differs says more of them.
//
// A block that cannot be read is made from the others and written back, as a resync does it.

using System.Numerics;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Levels;

internal sealed unsafe partial class ParityRow
{
    private bool _repairs;          // Scrub: whether what is found is mended
    private int _finding;
    private ulong _scrubbed;        // what is written of it
    private ulong _asides;          // more than two parities: which blocks are made aside

    /// <summary>Reads all blocks of the row, where they can be compared.</summary>
    private void ReadForScrub()
    {
        ArrayState state = _array.State;
        if (_repairs && state.BadAt(_row) != 0 && !state.IsBroken)
        {
            _mends = true;
            _job = Job.Resync;
            _finding = RowFinding.Repaired;
            ReadForPlan();
            return;
        }

        _failed = BlocksOf(state.LostAt(_row));
        _lost = _failed | _unreadable;
        _doubtful = state.Doubts.Touches(_row, _lo, _hi);
        _synced = _row < state.SyncedUnits && !_doubtful;
        if (_failed != 0 || !_synced || state.IsBroken)
        {
            Finish(RowFinding.Skipped);
            return;
        }

        _reading = AllBlocks;
        SendReads(_reading);
    }

    /// <summary>The row is read, as far as it can be.</summary>
    private void AfterScrubReads()
    {
        if (_unreadable != 0)
        {
            MendUnreadable();
            return;
        }

        int length = _hi - _lo;
        MakeParitiesAside(length);
        ulong differs = 0;
        for (int block = _dataCount; block < _blockCount; block++)
        {
            var made = new ReadOnlySpan<byte>(ParityAside(block) + _lo, length);
            differs |= made.SequenceEqual(new ReadOnlySpan<byte>(_blocks[block] + _lo, length)) ? 0 : 1UL << block;
        }

        if (differs == 0 || !_repairs)
        {
            Finish(differs == 0 ? RowFinding.Sound : RowFinding.Differs);
            return;
        }

        if (_queue.Solver is { } solver)
        {
            MendMany(solver, differs, length);
            return;
        }

        int wrong = _parityCount < 2 ? -1
            : BitOperations.PopCount(differs) == 1 ? BitOperations.TrailingZeroCount(differs)
            : FindWrongData(length);
        _finding = wrong < 0 ? RowFinding.MadeToAgree : RowFinding.Repaired;
        _scrubbed = wrong >= 0 && wrong < _dataCount ? 1UL << wrong : differs;
        VoidThenWriteScrubbed();
    }

    /// <summary>Blocks could not be read: a resync of the row makes and writes them, where it may.</summary>
    private void MendUnreadable()
    {
        if (!_repairs || BitOperations.PopCount(_unreadable) > _parityCount)
        {
            Finish(RowFinding.Unread);
            return;
        }

        _finding = RowFinding.Repaired;
        _job = Job.Resync;
        ReadForPlan();
    }

    /// <summary>Some parities differ, of more than two: finds the wrong blocks and writes them, or else those parities.</summary>
    private void MendMany(StripeSolver solver, ulong differs, int length)
    {
        _scrubbed = FindWrong(solver, length);
        _finding = _scrubbed != 0 ? RowFinding.Repaired : RowFinding.MadeToAgree;
        if (_scrubbed == 0)
        {
            MakeParitiesAside(length);
            _asides = AllBlocks & ~_dataMask;
            _scrubbed = differs;
        }

        for (ulong left = _scrubbed; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            new ReadOnlySpan<byte>(AsideOf(block) + _lo, length).CopyTo(new Span<byte>(_blocks[block] + _lo, length));
        }

        VoidThenWriteScrubbed();
    }

    /// <summary>The blocks that are wrong, made aside as they should be; 0 where that cannot be told.</summary>
    private ulong FindWrong(StripeSolver solver, int length)
    {
        ulong wrong = 0;
        _asides = AllBlocks & ~_dataMask;
        for (int column = FirstDifference(_asides, length); column < length;)
        {
            ulong found = Locate(_lo + column);
            if ((found & ~wrong) == 0 || BitOperations.PopCount(wrong | found) > _parityCount / 2)
            {
                return 0;
            }

            wrong |= found;
            ulong checks = LastParities(_parityCount - BitOperations.PopCount(wrong), but: wrong);
            _asides = wrong | checks;
            PointAt(_lo);
            for (ulong left = _asides; left != 0; left &= left - 1)
            {
                int block = BitOperations.TrailingZeroCount(left);
                _pointers[block] = AsideOf(block) + _lo;
            }

            if (!solver.TryRecover(_pointers, AllBlocks & ~_asides, _asides, (nuint)length))
            {
                return 0;
            }

            column = FirstDifference(checks, length);
        }

        return wrong;
    }

    /// <summary>What one column says is wrong.</summary>
    private ulong Locate(int column)
    {
        Span<byte> syndromes = stackalloc byte[StripeCode.MaxParities];
        for (int parity = 0; parity < _parityCount; parity++)
        {
            syndromes[parity] = _blocks[_dataCount + parity][column];
            for (int data = 0; data < _dataCount; data++)
            {
                syndromes[parity] ^= GaloisField.Multiply(StripeCode.Coefficient(parity, data), _blocks[data][column]);
            }
        }

        return StripeLocator.Find(syndromes[.._parityCount], _dataCount);
    }

    /// <summary>
    /// The first column, from that where the row begins, in which blocks aside are not what was read; or the length.
    /// </summary>
    private int FirstDifference(ulong blocks, int length)
    {
        int first = length;
        for (ulong left = blocks; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            var made = new ReadOnlySpan<byte>(AsideOf(block) + _lo, first);
            first = made.CommonPrefixLength(new ReadOnlySpan<byte>(_blocks[block] + _lo, first));
        }

        return first;
    }

    private ulong LastParities(int count, ulong but)
    {
        ulong parities = 0;
        for (int block = _blockCount - 1; count > 0; block--)
        {
            if (((but >> block) & 1) == 0)
            {
                parities |= 1UL << block;
                count--;
            }
        }

        return parities;
    }

    /// <summary>Where one of the blocks that are made aside lies: they take the places of the parities in order.</summary>
    private byte* AsideOf(int block) => ParityAside(_dataCount + BitOperations.PopCount(_asides & ((1UL << block) - 1)));

    /// <summary>The one data block that explains both differences; -1 when there is none.</summary>
    private int FindWrongData(int length)
    {
        byte* p = _blocks[_dataCount] + _lo;
        byte* q = _blocks[_dataCount + 1] + _lo;
        byte* madeP = ParityAside(_dataCount) + _lo;
        byte* madeQ = ParityAside(_dataCount + 1) + _lo;
        int wrong = -1;
        for (int i = 0; i < length; i++)
        {
            byte dP = (byte)(p[i] ^ madeP[i]), dQ = (byte)(q[i] ^ madeQ[i]);
            if (dP == 0 && dQ == 0)
            {
                continue;
            }

            if (dP == 0 || dQ == 0)
            {
                return -1;
            }

            // dQ / dP is a power of the generator: the block's number.
            int block = (GaloisField.Log(dQ) - GaloisField.Log(dP) + 255) % 255;
            if (block >= _dataCount || (wrong >= 0 && block != wrong))
            {
                return -1;
            }

            wrong = block;
        }

        return wrong;
    }

    /// <summary>Writes a data block by what P says of it, or parities by what the data says.</summary>
    private void WriteScrubbed()
    {
        int length = _hi - _lo;
        _isReading = false;
        _pending = 1;
        for (ulong left = _scrubbed; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            byte* to = _blocks[block] + _lo;
            if (_parityCount > 2)
            {
                // It lies there already.
            }
            else if (block < _dataCount)
            {
                byte* p = _blocks[_dataCount] + _lo;
                byte* made = ParityAside(_dataCount) + _lo;
                for (int i = 0; i < length; i++)
                {
                    to[i] ^= (byte)(p[i] ^ made[i]);
                }
            }
            else
            {
                new ReadOnlySpan<byte>(ParityAside(block) + _lo, length).CopyTo(new Span<byte>(to, length));
            }

            if (((_inPlace >> block) & 1) == 0)
            {
                Send(Core.Block.BlockOperation.Write, block, _lo, _hi);
            }
        }

        PartDone();
    }
}
