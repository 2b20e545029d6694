// What follows when members refuse a write of a row. The row is still locked.
//
// Members that refused for another reason than room are given up, in this row alone where that is enough (RaidQueue.GiveUpAt),
// all of them or, where that would lose data, none. Where all that refused stay, the row has blocks of the write and blocks from
// before it, and its parities fit neither. It is settled: all data is read, and the parities that do not fit it are written (what
// fits is left alone: on a file system that is full, a hole must stay one). Where that is not possible, because a lost member's
// block is only in the parities or because a parity has no room either, the columns are in doubt: until they are written or
// resynced, no block is made from them.
//
// A discard that is refused is settled as well, and costs nobody anything: what a discarded block holds is open, so the parities
// may be made to fit whatever it is.

using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Jobs;

namespace Polyblk.Raid.Levels;

internal sealed unsafe partial class ParityRow
{
    private Refusals _refusals;     // who refused a write of the row
    private bool _isAdvice;         // a discard
    private int _settled;           // rows that are settled

    /// <summary>All members have answered a write.</summary>
    private void AfterWrites()
    {
        if (_job == Job.Settle)
        {
            AfterSettleWrites();
        }
        else if (!_refusals.Any)
        {
            if (!WritesMendedDurably())
            {
                ForgetMended();
                Heal();
                Finish(_status);
            }
        }
        else
        {
            JudgeRefusals();
        }
    }

    /// <summary>
    /// What was mended is written a second time, durably, before it counts. Not the first time: what refuses that may be the
    /// flush.
    /// </summary>
    private bool WritesMendedDurably()
    {
        if (_mended == 0 || _lo == _hi || _flags == _durably)
        {
            return false;
        }

        _flags = _durably;
        WriteBack();
        return true;
    }

    /// <summary>A row was mended, durably: its places are bad no more.</summary>
    private void ForgetMended()
    {
        if (_mended != 0 && _lo != _hi)
        {
            // Who was given up meanwhile was not written.
            _array.State.RemoveBad(_row, _mended & ~_array.State.LostBesidesBad(_row));
            _array.Control.Kick();
        }
        else if (_mended != 0)
        {
            _finding = RowFinding.Skipped;
        }
    }

    private void JudgeRefusals()
    {
        ulong costly = _isAdvice ? _refusals.Gone : _refusals.Refused;
        bool areOut = costly == 0
            || _queue.GiveUpAt(FirstUnit, FirstUnit + UnitCount - 1, costly, _refusals.Gone, _refusals.AtPlace);
        if (_mended != 0)
        {
            // What is bad already was tried again, in vain.
            _finding = RowFinding.Unread;
        }

        if (_job == Job.Read)
        {
            // The data is there; the block is found again when it is read again.
            Finish(0);
            return;
        }

        bool isOpen = _refusals.NoSpace != 0 || !areOut || (_isAdvice && _refusals.Refused != _refusals.Gone);
        if (!isOpen)
        {
            Heal();
            Finish(_status);
            return;
        }

        _status = _isAdvice ? 0 : !areOut ? -Errno.EIO : -Errno.ENOSPC;
        if (_job is Job.Resync or Job.Rebuild or Job.Scrub)
        {
            Finish(_status);
            return;
        }

        _job = Job.Settle;
        _settled = -1;
        SettleNext();
    }

    /// <summary>Settles the next row of the locked ones, or ends when all are.</summary>
    private void SettleNext()
    {
        while (++_settled < UnitCount)
        {
            SetRow(FirstUnit + _settled);
            _unreadable = _absent = 0;
            _refusals = default;
            if (ReadForSettling())
            {
                return;
            }
        }

        Finish(_status);
    }

    /// <summary>
    /// Reads a row, data and parities. Returns false when there is nothing to settle, or no way to: it is in doubt then.
    /// </summary>
    private bool ReadForSettling()
    {
        _failed = BlocksOf(_array.State.LostAt(_row));
        _lost = _failed | _unreadable;
        ulong lostData = _lost & _dataMask;
        ulong parities = AllBlocks & ~_dataMask & ~_failed;
        if (parities == 0)
        {
            return false;
        }

        if (_array.State.IsBroken || (lostData & ~_failed) != 0 || (lostData != 0 && !_isAdvice))
        {
            PutInDoubt();
            return false;
        }

        if (BitOperations.PopCount(lostData) >= BitOperations.PopCount(parities & ~_lost) && lostData != 0)
        {
            // What was discarded on a lost member is whatever the parities make of it.
            return false;
        }

        _reading = AllBlocks & ~_lost;
        SendReads(_reading);
        return true;
    }

    /// <summary>The row is read as far as it can be: writes the parities that do not fit.</summary>
    private void AfterSettleReads()
    {
        if ((_unreadable & _reading) != 0)
        {
            if (!ReadForSettling())
            {
                SettleNext();
            }

            return;
        }

        int length = _hi - _lo;
        MakeParitiesAside(length);
        _isReading = false;
        _pending = 1;
        for (ulong left = AllBlocks & ~_dataMask & ~_failed; left != 0; left &= left - 1)
        {
            int block = BitOperations.TrailingZeroCount(left);
            var made = new ReadOnlySpan<byte>(ParityAside(block) + _lo, length);
            var found = new Span<byte>(_blocks[block] + _lo, length);
            if (((_unreadable >> block) & 1) != 0 || !made.SequenceEqual(found))
            {
                made.CopyTo(found);
                if (((_inPlace >> block) & 1) == 0)
                {
                    Send(BlockOperation.Write, block, _lo, _hi);
                }
            }
        }

        PartDone();
    }

    private void AfterSettleWrites()
    {
        if (_refusals.Any)
        {
            if (_refusals.Gone != 0)
            {
                _queue.GiveUp(_refusals.Gone, _refusals.Gone);
            }

            PutInDoubt();
        }

        SettleNext();
    }

    /// <summary>The parities of the data, a lost block made from P first, into the room behind the staging.</summary>
    private void MakeParitiesAside(int length)
    {
        if ((_lost & _dataMask) != 0)
        {
            Recover(null);
        }

        PointAt(_lo);
        for (int block = _dataCount; block < _blockCount; block++)
        {
            _pointers[block] = ParityAside(block) + _lo;
        }

        MakeParities((nuint)length);
    }

    private byte* ParityAside(int block) => StagingOf(block + _parityCount);

    private void PutInDoubt()
    {
        _array.State.PutInDoubt(_row, _lo, _hi);
        _array.Control.Kick();
    }
}
