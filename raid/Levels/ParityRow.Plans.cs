// The plan of a row: what is read, what may be made from it, and what cannot be done.

using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;

namespace Polyblk.Raid.Levels;

internal sealed unsafe partial class ParityRow
{
    private bool _doubtful;         // some of the columns are in doubt
    private bool _synced;           // the parities fit the data in all columns

    /// <summary>Makes the plan and reads what it needs; comes back here when one of the reads fails.</summary>
    private void ReadForPlan()
    {
        ArrayState state = _array.State;
        if (_mends && !BeginMend())
        {
            _finding = RowFinding.Skipped;
            Finish(0);
            return;
        }

        _failed = BlocksOf(LostHere);
        _lost = _failed | _unreadable;
        _doubtful = state.Doubts.Touches(_row, _lo, _hi);
        _synced = _row < state.SyncedUnits && !_doubtful;
        if (BitOperations.PopCount(_lost) > _parityCount || (_job == Job.Write && state.IsBroken))
        {
            Finish(-Errno.EIO);
            return;
        }

        _reading = _job switch
        {
            Job.Write => PlanWrite(),
            Job.Resync => PlanResync(),
            Job.Rebuild => PlanRebuild(),
            _ => PlanRead(),
        };
        if (!IsPlanSound())
        {
            Finish(-Errno.EIO);
            return;
        }

        SendReads(_job == Job.Read ? _reading : AllBlocks & ~_failed);
    }

    /// <summary>Members that are lost in the row; what is mended is not, but cannot be read.</summary>
    private ulong LostHere => _mends ? _array.State.LostBesidesBad(_row) : _array.State.LostAt(_row);

    /// <summary>
    /// What the row's members could not write is made, and written, like what they cannot read. Returns false where there is
    /// nothing.
    /// </summary>
    private bool BeginMend()
    {
        _mended = _array.State.BadAt(_row) & ~_array.State.LostBesidesBad(_row);
        _unreadable |= BlocksOf(_mended);
        return _mended != 0;
    }

    /// <summary>Reads the blocks of the plan that do not lie in members' memory.</summary>
    private void SendReads(ulong usable)
    {
        if (_queue.HasMemoryMembers)
        {
            PlaceBlocks(usable);
        }

        _isReading = true;
        _pending = 1;
        for (ulong left = _reading & ~_inPlace; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            bool underWrite = _job == Job.Write && _plan == Plan.Modify && block < _dataCount;
            int from = underWrite ? _pieces[block].From : _lo;
            int to = underWrite ? _pieces[block].To : _hi;
            Send(BlockOperation.Read, block, from, to);
        }

        PartDone();
    }

    /// <summary>Whether nothing is made that may be wrong.</summary>
    private bool IsPlanSound() => _job switch
    {
        Job.Read => ((_lost >> _target) & 1) == 0 || FitsParity(),
        Job.Resync or Job.Rebuild => (_lost & _dataMask) == 0 || _lo == _hi || FitsParity(),

        // A block that cannot be read is not to be written back from a parity that may not fit.
        _ => (_plan != Plan.Recover || BadData == 0 || _synced || _array.State.TrustsUnsynced) && CanReadBack(),
    };

    /// <summary>
    /// Data blocks that cannot be read although their members are there: of them nothing but a parity that fits says what they
    /// held.
    /// </summary>
    private ulong BadData => _unreadable & ~(_failed | _absent) & _dataMask;

    /// <summary>Whether lost blocks may be made from the parities: they fit, as far as is known.</summary>
    private bool FitsParity()
    {
        ArrayState state = _array.State;
        bool isSynced = _row < state.SyncedUnits;
        bool fits = !_doubtful && (isSynced || state.TrustsUnsynced || (!state.IsUnsyncedDistrusted && BadData == 0));
        return fits
            && (state.DistrustedMask == 0 || BitOperations.PopCount(_lost | BlocksOf(state.DistrustedMask)) <= _parityCount);
    }

    /// <summary>
    /// Whether what a write puts into blocks of failed members, which only the parities keep, can be read again.
    /// </summary>
    private bool CanReadBack()
    {
        ulong lost = _failed & _dataMask;
        bool isUnsyncedDistrusted = _row >= _array.State.SyncedUnits && _array.State.IsUnsyncedDistrusted;
        return (_written & lost) == 0 || (!_doubtful && !isUnsyncedDistrusted) || (!isUnsyncedDistrusted && CoversAlike(lost));
    }

    /// <summary>Whether all of some blocks are written over the same columns.</summary>
    private bool CoversAlike(ulong blocks)
    {
        ref Piece first = ref _pieces[BitOperations.TrailingZeroCount(blocks)];
        bool alike = (_written & blocks) == blocks;
        for (ulong left = blocks; alike && left != 0; left &= left - 1)
        {
            ref Piece piece = ref _pieces[BitOperations.TrailingZeroCount(left)];
            alike = piece.From == first.From && piece.To == first.To;
        }

        return alike;
    }

    /// <summary>What the wanted block is made from; or itself, where it is only slow and cannot be made.</summary>
    private ulong PlanRead()
    {
        // Only where the parity is known to fit: a slow member can be read, and what it holds is right.
        ulong slow = BlocksOf(_array.State.SlowMask) & ~_lost;
        if (slow != 0 && _synced && BitOperations.PopCount(_lost | slow) <= _parityCount && FitsParity())
        {
            _lost |= slow;
        }

        if (((_lost >> _target) & 1) == 0)
        {
            return 1UL << _target;
        }

        // Whoever may have lost writes is lost here, too, where that leaves enough (FitsParity has the rest).
        ulong distrusted = BlocksOf(_array.State.DistrustedMask);
        if (BitOperations.PopCount(_lost | distrusted) <= _parityCount)
        {
            _lost |= distrusted;
        }

        return BlocksForRecovery();
    }

    /// <summary>The row is written: columns whose parities were made from all data are in doubt no more.</summary>
    private void Heal()
    {
        DoubtSet doubts = _array.State.Doubts;
        if (doubts.Count == 0)
        {
            return;
        }

        ulong lost = _job == Job.Write ? _failed & _dataMask : 0;
        if (_job == Job.Zero || ((_job == Job.Resync || (_job == Job.Rebuild && !_synced)) && _lo != _hi))
        {
            for (int i = 0; i < UnitCount; i++)
            {
                doubts.Remove(FirstUnit + i, 0, _rowBytes);
            }
        }
        else if (_job == Job.Write && _plan != Plan.Modify && lost == 0)
        {
            doubts.Remove(_row, _lo, _hi);
        }
        else if (_job == Job.Write && _plan != Plan.Modify && CoversAlike(lost))
        {
            ref Piece piece = ref _pieces[BitOperations.TrailingZeroCount(lost)];
            doubts.Remove(_row, piece.From, piece.To);
        }
    }

    /// <summary>Chooses the plan of a write. Returns the blocks to read.</summary>
    private ulong PlanWrite()
    {
        int width = _hi - _lo;
        ulong covered = 0;
        int modifyBytes = 0, coveredBlocks = 0;
        for (ulong left = _written; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            int length = _pieces[block].To - _pieces[block].From;
            modifyBytes += length;
            if (length == width)
            {
                covered |= 1UL << block;
                coveredBlocks++;
            }
        }

        ulong uncovered = _dataMask & ~covered;
        if (uncovered == 0)
        {
            _plan = Plan.Full;
            return 0;
        }

        ulong liveParities = ~_dataMask & AllBlocks & ~_lost;

        // A parity that could not be read is made anew and so repaired: no difference can be added to it.
        bool canModify = (_written & _lost) == 0 && (_unreadable & ~_failed & ~_dataMask) == 0;
        bool canReconstruct = (uncovered & _lost) == 0;
        modifyBytes += BitOperations.PopCount(liveParities) * width;
        int reconstructBytes = (_dataCount - coveredBlocks) * width;
        if (canModify && (canReconstruct ? _synced && modifyBytes < reconstructBytes : !MayParitiesDisagree(liveParities)))
        {
            _plan = Plan.Modify;

            // With every parity lost there is no difference to take: the data is written as it is.
            return liveParities == 0 ? 0 : _written | liveParities;
        }

        if (canReconstruct)
        {
            _plan = Plan.Reconstruct;
            return uncovered;
        }

        _plan = Plan.Recover;
        return BlocksForRecovery();
    }

    /// <summary>
    /// Whether a row that no resync has come to lacks data while more parities are there than say what it is. Each of them may
    /// say something else of it (drives held something before, or a whole row was torn); a difference that is added to all of
    /// them keeps that, and with the next member that is lost they would make something else of what was written. So the lost
    /// blocks are made of as few as can, and all parities of them. (What is in doubt is read from no parity anyhow.)
    /// </summary>
    private bool MayParitiesDisagree(ulong liveParities) => !_synced && !_doubtful
        && BitOperations.PopCount(liveParities) > BitOperations.PopCount(_lost & _dataMask)
        && (BadData == 0 || _array.State.TrustsUnsynced);

    /// <summary>All data, and as many parities as data is lost. Nothing when no parity would be left to write.</summary>
    private ulong PlanResync()
    {
        _plan = Plan.Recover;
        ulong parities = AllBlocks & ~_dataMask & ~_failed;
        if (BitOperations.PopCount(_failed) >= _parityCount || parities == 0)
        {
            _lo = _hi = 0;
            return 0;
        }

        return (_lost & _dataMask) == 0 ? _dataMask : BlocksForRecovery();
    }

    /// <summary>What the blocks of the members that are being rebuilt are made from: all data.</summary>
    private ulong PlanRebuild()
    {
        _plan = Plan.Recover;
        return (_lost & _dataMask) == 0 ? _dataMask : BlocksForRecovery();
    }

    /// <summary>All data there is, and as many parities as data is lost: P first, of which little is to compute.</summary>
    private ulong BlocksForRecovery()
    {
        ulong blocks = _dataMask & ~_lost;
        ulong parities = AllBlocks & ~_dataMask & ~_lost;
        for (int lost = BitOperations.PopCount(_lost & _dataMask); lost > 0 && parities != 0; lost--, parities &= parities - 1)
        {
            blocks |= parities & ~(parities - 1);
        }

        return blocks;
    }
}
