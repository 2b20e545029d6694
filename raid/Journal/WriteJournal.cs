// The journal of a running parity array: it closes the write hole. Of a row that is written in part, some blocks may reach the
// members and others not; when a member is lost before its parities fit again, a block that nobody was writing would be made from
// what does not fit. So a record is durable on the members that hold the row's parities before anything of the row is written
// (Levels/ParityRow.Journal.cs), and what a crash leaves is put right from the records before the array starts (JournalReplay).
//
// Theory of operation. A slot belongs to one row at a time: whoever writes a record holds the slot's lock until the row's blocks
// are on the members, and that is durable, and the superblocks know of every member that did not take its block. Then the record
// says nothing that the members do not hold, so it may be read again, or not, or be written over.
//
// A row that is written as a whole has nothing that could be lost with it, and needs no record. But one of its own that is still
// in its slot would be wrong afterwards, and is made void first.
//
// Locks are taken in this order: a row, then a slot. Who holds a slot waits for drives and superblocks, never for a row.

using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Journal;

/// <summary>See the top of the file. Shared by the reactors of an array.</summary>
internal sealed class WriteJournal
{
    private const long Nobody = -1;

    private readonly long[] _rows;
    private int _isOn;
    private ulong _generation;
    private uint _writers;

    public WriteJournal(JournalLayout layout, RaidGeometry geometry, Guid array, bool isOn)
    {
        Layout = layout;
        ArrayUuid = array;
        _rows = new long[geometry.MemberCount * layout.SlotCount];
        Array.Fill(_rows, Nobody);
        _isOn = isOn ? 1 : 0;
    }

    /// <summary>Where it lies.</summary>
    public JournalLayout Layout { get; }

    /// <summary>The array.</summary>
    public Guid ArrayUuid { get; }

    /// <summary>Whether rows that are written in part are recorded. The control task's to change.</summary>
    public bool IsOn
    {
        get => Volatile.Read(ref _isOn) != 0;
        set => Volatile.Write(ref _isOn, value ? 1 : 0);
    }

    /// <summary>The number of this run in the superblocks, which every record bears. Set before the first write starts.</summary>
    public ulong Generation
    {
        get => Volatile.Read(ref _generation);
        set => Volatile.Write(ref _generation, value);
    }

    /// <summary>The locks of the slots: the units are what <see cref="SlotIndex"/> returns.</summary>
    public RangeLocks Locks { get; } = new();

    /// <summary>The number of another queue that writes records.</summary>
    public uint TakeWriter() => Interlocked.Increment(ref _writers);

    /// <summary>The number of a row's slot among those of all members.</summary>
    /// <param name="row">The row.</param>
    /// <param name="memberOfP">The member that holds P of it; who holds Q follows from that.</param>
    public int SlotIndex(long row, int memberOfP) => (memberOfP * Layout.SlotCount) + Layout.SlotOf(row);

    /// <summary>
    /// Whether a record of the row may be in its slot. Asked under the row's lock: nobody else writes one.
    /// </summary>
    public bool Holds(int slotIndex, long row) => Volatile.Read(ref _rows[slotIndex]) == row;

    /// <summary>A record of a row goes into a slot. Under the lock of the slot.</summary>
    public void NoteRecord(int slotIndex, long row) => Volatile.Write(ref _rows[slotIndex], row);

    /// <summary>What was in a slot is void, and that is durable. Under the lock of the slot.</summary>
    public void NoteVoid(int slotIndex) => Volatile.Write(ref _rows[slotIndex], Nobody);
}
