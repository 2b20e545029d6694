// The row's part in the journal (Journal/WriteJournal.cs): between the computing and the writing of a row that is written in part,
// the parity of what is not written becomes durable on the members that hold the row's parities.
//
//   compute -> [slot's lock -> record] -> write -> [the superblocks know who did not take it -> slot's unlock] -> unlock
//
// A member that refuses a record is given up, like one that refuses a block. Nothing is written in place before the superblocks
// know: the others' records would count without its own, at the next start, only then.
//
// Rows that wait for superblocks keep their locks, so the control task never waits for a row without looking after superblocks
// meanwhile (JobRunner.StopAsync).

using System.Numerics;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Parity;

namespace Polyblk.Raid.Levels;

internal sealed unsafe partial class ParityRow
{
    private enum JournalStep : byte
    {
        /// <summary>The row has no record, or none yet.</summary>
        None,

        /// <summary>A record is being made durable.</summary>
        Recording,

        /// <summary>A record of before is being made void.</summary>
        Voiding,

        /// <summary>The record is durable: the row may be written.</summary>
        Recorded,
    }

    private readonly JournalTransaction _transaction = new();
    private readonly SlotLock? _slot;
    private JournalStep _journalStep;
    private bool _endsWhenKnown;    // waits for superblocks: to finish, or else to go on
    private int _voided;            // Zero: rows whose records are void

    /// <summary>The blocks are computed: records what must be, then writes.</summary>
    private void RecordThenWrite()
    {
        if (_slot is not null && MendsParity && _journalStep == JournalStep.None)
        {
            // A record that was made before it went bad may be on its member still, and says of the others what they were then.
            LockSlot(JournalStep.Voiding);
            return;
        }

        if (_slot is null || _job != Job.Write)
        {
            WriteBack();
            return;
        }

        bool isPartial = _plan != Plan.Full && ParitiesToRecord != 0;
        if (_plan != Plan.Full && WaitsForLostParity())
        {
            return;
        }

        if (isPartial && _slot.Journal.IsOn)
        {
            LockSlot(JournalStep.Recording);
        }
        else if (!VoidsFirst())
        {
            WriteBack();
        }
    }

    private bool MendsParity => (BlocksOf(_mended) & ~_dataMask) != 0 && _lo != _hi;

    /// <summary>Parities of the row that are written: a record goes to their members.</summary>
    private ulong ParitiesToRecord => ParitiesHere & ~_failed;

    /// <summary>Parities of the row whose members are here.</summary>
    private ulong ParitiesHere => AllBlocks & ~_dataMask & ~BlocksOf(_array.State.LostAt(_row));

    /// <summary>Those whose records may be there: where a parity's own place is bad, that of its record need not be.</summary>
    private ulong ParitiesToVoid => AllBlocks & ~_dataMask & ~BlocksOf(_array.State.LostBesidesBad(_row));

    /// <summary>
    /// A parity whose member is out gets no record, which is right only once the superblocks say that it is out: should it come back
    /// as if nothing had happened, nothing would tell that it does not fit. Returns whether the row waits for them.
    /// </summary>
    private bool WaitsForLostParity()
    {
        ArrayState state = _array.State;
        bool isUnknown = (BlocksOf(state.FailedMask & ~state.PersistedMask) & ~_dataMask) != 0
            || (state.IsBadPending && (BlocksOf(state.BadAt(_row)) & ~_dataMask) != 0);
        if (!isUnknown || state.IsBroken)
        {
            return false;
        }

        _endsWhenKnown = false;
        _queue.WaitForSuperblocks(this);
        return true;
    }

    /// <summary>Makes the records void of rows that are about to be zeroed, one after the other, and zeroes then.</summary>
    private void VoidThenZero()
    {
        for (; _slot is not null && _voided < UnitCount; _voided++)
        {
            SetRow(FirstUnit + _voided);
            if (VoidsFirst())
            {
                return;
            }
        }

        SetRow(FirstUnit);
        SendZeroes();
    }

    /// <summary>What is mended was perhaps wrong when a record was made of it.</summary>
    private void VoidThenWriteScrubbed()
    {
        if (_slot is null || !VoidsFirst())
        {
            WriteScrubbed();
        }
    }

    /// <summary>Whether a record of the row may be in its slot: then it is being made void, and the row goes on behind that.</summary>
    private bool VoidsFirst()
    {
        bool holds = _slot!.Journal.Holds(SlotIndex, _row);
        if (holds)
        {
            LockSlot(JournalStep.Voiding);
        }

        return holds;
    }

    private int SlotIndex => _slot!.Journal.SlotIndex(_row, _geometry.ParityMember(_stripe, 0));

    private void LockSlot(JournalStep step)
    {
        _journalStep = step;
        _slot!.Index = SlotIndex;
        if (_slot.Locks.LockOrWait(_slot))
        {
            SendRecords();
        }
    }

    /// <summary>The slot is this row's: sends the records.</summary>
    private void SendRecords()
    {
        WriteJournal journal = _slot!.Journal;
        if (_array.State.IsBroken)
        {
            // A row that was being written when it broke has given the slot free, but nobody knows of it: its record must stay.
            GiveSlotBack();
            return;
        }

        if (_journalStep == JournalStep.Voiding && !journal.Holds(_slot.Index, _row) && !_mends)
        {
            // Another row's has taken its place meanwhile.
            AfterVoid();
            return;
        }

        ulong parities = _journalStep == JournalStep.Recording ? ParitiesToRecord : ParitiesToVoid;
        if (_journalStep == JournalStep.Recording && WaitsForLostParity())
        {
            return;
        }

        JournalWriter writer = _queue.JournalWriter!;
        writer.Begin(_transaction);
        journal.NoteRecord(_slot.Index, _row);
        _isReading = false;
        _pending = 1;
        for (ulong left = parities; left != 0; left &= left - 1)
        {
            SendRecord(BitOperations.TrailingZeroCount(left), (uint)(parities >> _dataCount), writer);
        }

        PartDone();
    }

    private void SendRecord(int block, uint parities, JournalWriter writer)
    {
        // The header lies right before the partial parity, in what is a gap of the staging or columns that are not used.
        bool isVoid = _journalStep == JournalStep.Voiding;
        int from = isVoid ? 0 : _lo, to = isVoid ? 0 : _hi;
        byte* partial = ParityAside(block) + (isVoid ? _base : from);
        var header = new Span<byte>(partial - JournalLayout.HeaderBytes, JournalLayout.HeaderBytes);
        WriteJournal journal = writer.Journal;
        header[JournalRecord.UsedBytes..].Clear();
        JournalRecord.Begin(
            header, journal.ArrayUuid, journal.Generation, writer.Number, _transaction.Number, writer.Oldest, parities, _row, from, to);
        if (!isVoid)
        {
            MakePartialParity(block, header);
        }

        JournalRecord.Seal(header, block - _dataCount, new ReadOnlySpan<byte>(partial, to - from));
        long offset = journal.Layout.OffsetOf(block - _dataCount, journal.Layout.SlotOf(_row));
        Submit(BlockOperation.Write, block, partial - JournalLayout.HeaderBytes, offset, JournalLayout.HeaderBytes + to - from, _durably);
    }

    /// <summary>
    /// Takes what is written out of a parity: what is left is the sum of the blocks that stay. Staging holds the new content.
    /// </summary>
    private void MakePartialParity(int block, Span<byte> header)
    {
        byte* partial = ParityAside(block);
        byte* from = _blocks[block];
        for (ulong left = _written; left != 0; left &= left - 1)
        {
            int data = BitOperations.TrailingZeroCount(left);
            Piece piece = _pieces[data];
            JournalRecord.AddPiece(header, data, piece.From, piece.To);
            if (block == _dataCount && piece.From == _lo && piece.To == _hi)
            {
                // The usual case, in one pass.
                _pointers[0] = from + _lo;
                _pointers[1] = _blocks[data] + _lo;
                _kernels.Xor(_pointers, 2, partial + _lo, (nuint)(_hi - _lo));
                from = partial;
                continue;
            }

            if (from != partial)
            {
                System.Buffer.MemoryCopy(from + _lo, partial + _lo, _hi - _lo, _hi - _lo);
                from = partial;
            }

            byte coefficient = StripeCode.Coefficient(block - _dataCount, data);
            _kernels.MultiplyAccumulate(coefficient, _blocks[data] + piece.From, partial + piece.From, (nuint)(piece.To - piece.From));
        }
    }

    /// <summary>All members have answered a record.</summary>
    private void AfterRecords()
    {
        if (!_refusals.Any)
        {
            AfterRecordsKnown();
            return;
        }

        bool areOut = _refusals.Refused == 0 || _queue.GiveUp(_refusals.Refused, _refusals.Gone);
        int status = _refusals.NoSpace != 0 ? -Errno.ENOSPC : areOut ? 0 : -Errno.EIO;
        _refusals = default;
        if (_operation is null)
        {
            // A job comes again; its queue is not told when superblocks are known.
            EndRecord();
            End(-Errno.EIO);
        }
        else if (status != 0)
        {
            // Nothing was written in place, but to members' own memory.
            if (_inPlace != 0 && _job == Job.Write)
            {
                PutInDoubt();
            }

            Finish(_isAdvice ? 0 : status);
        }
        else
        {
            WaitUntilKnown(toEnd: false);
        }
    }

    private void AfterRecordsKnown()
    {
        if (_journalStep == JournalStep.Voiding)
        {
            _slot!.Journal.NoteVoid(_slot.Index);
            _queue.JournalWriter!.End(_transaction);
            AfterVoid();
            return;
        }

        // The row's blocks are durable when they are written: the slot is free then.
        _journalStep = JournalStep.Recorded;
        _flags |= _durably;
        WriteBack();
    }

    private void AfterVoid()
    {
        _journalStep = JournalStep.None;
        _slot!.Locks.Unlock(_slot.FirstUnit, 1);
        if (_job == Job.Zero)
        {
            _voided++;
            VoidThenZero();
        }
        else if (_job == Job.Scrub)
        {
            WriteScrubbed();
        }
        else
        {
            WriteBack();
        }
    }

    /// <summary>The array is broken: nothing is written, neither a record nor the row.</summary>
    private void GiveSlotBack()
    {
        if (_job == Job.Scrub || _mends)
        {
            _journalStep = JournalStep.None;
            _slot!.Locks.Unlock(_slot.FirstUnit, 1);
            End(-Errno.EIO);
        }
        else
        {
            AfterVoid();
        }
    }

    private void WaitUntilKnown(bool toEnd)
    {
        _endsWhenKnown = toEnd;
        if (!_array.State.MetadataPending || _array.State.IsBroken)
        {
            GoOnWhenKnown();
        }
        else
        {
            _queue.WaitForSuperblocks(this);
        }
    }

    /// <summary>The superblocks know of every failure, or never will.</summary>
    internal void GoOnWhenKnown()
    {
        if (_endsWhenKnown)
        {
            EndRecord();
            End(_status);
        }
        else if (_transaction.Number != 0)
        {
            AfterRecordsKnown();
        }
        else if (_journalStep == JournalStep.None)
        {
            RecordThenWrite();
        }
        else
        {
            SendRecords();
        }
    }

    /// <summary>Whether the end of the row has to wait for superblocks; it comes by itself then.</summary>
    private bool EndsLater(int status)
    {
        if (_journalStep == JournalStep.None)
        {
            return false;
        }

        _status = status;
        WaitUntilKnown(toEnd: true);
        return true;
    }

    private void EndRecord()
    {
        _journalStep = JournalStep.None;
        _queue.JournalWriter!.End(_transaction);
        _slot!.Locks.Unlock(_slot.FirstUnit, 1);
    }

    /// <summary>The row's wait for its slot. In a list of the slots' locks while the row holds its own.</summary>
    private sealed class SlotLock(ParityRow row, WriteJournal journal) : RangeWaiter
    {
        public WriteJournal Journal { get; } = journal;

        public int Index
        {
            get => (int)FirstUnit;
            set
            {
                FirstUnit = value;
                UnitCount = 1;
            }
        }

        internal override Reactor Home => row.Home;

        internal override RangeLocks Locks => Journal.Locks;

        protected override void OnLocked() => row.SendRecords();
    }
}
