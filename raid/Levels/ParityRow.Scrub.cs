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
            if (block < _dataCount)
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
