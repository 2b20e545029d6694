using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Fuzz.Guest;

/// <summary>Writes a split ring. Its table ends where its region ends, and so does its used ring.</summary>
internal sealed class SplitRingWriter : RingWriter
{
    private const ulong RegionBytes = 4096;
    private readonly ulong _table;
    private readonly ulong _avail = GuardedSpace.RingAddress;
    private readonly ulong _used;
    private readonly bool[] _busy;
    private readonly int[] _entriesOf;
    private int _nextEntry;
    private ushort _added;
    private ushort _seenUsed;

    public SplitRingWriter(GuardedSpace space, int size, bool eventIdx)
        : base(space, size, eventIdx)
    {
        _busy = new bool[size];
        _entriesOf = new int[size];
        _table = GuardedSpace.TableAddress + RegionBytes - ((ulong)size * DescriptorBytes);
        _used = GuardedSpace.RingAddress + RegionBytes - ((UsedBytes(size, eventIdx) + 3) & ~3UL);
    }

    /// <inheritdoc/>
    public override VirtqueueAddresses Addresses => new(_table, _avail, _used, AreUserAddresses: false);

    /// <inheritdoc/>
    public override uint StartBase => 0;

    /// <inheritdoc/>
    public override void Add(ReadOnlySpan<RawBuffer> chain, ulong table, byte id)
    {
        // Entries are taken in turn, busy or not: an honest driver would look which of them are free.
        int head = _nextEntry;
        int entries = table == 0 ? Math.Min(chain.Length, Size) : 1;
        _nextEntry = (_nextEntry + entries) % Size;
        if (table == 0 && chain.Length > Size)
        {
            Distrust();
        }

        for (int i = 0; i < entries; i++)
        {
            if (_busy[(head + i) % Size])
            {
                Distrust();
            }

            _busy[(head + i) % Size] = true;
        }

        _entriesOf[head] = entries;

        for (int i = 0; i < chain.Length; i++)
        {
            bool last = i == chain.Length - 1;
            int index = table == 0 ? (head + i) % Size : i;
            var desc = new virtq_desc
            {
                addr = chain[i].Address, len = chain[i].Length, flags = (ushort)(chain[i].Flags | (last ? 0 : VIRTQ_DESC_F_NEXT)),
                next = last ? (ushort)0 : (ushort)(table == 0 ? (head + i + 1) % Size : i + 1),
            };
            Space.Write((table == 0 ? _table : table) + ((ulong)index * DescriptorBytes), desc);
        }

        if (table != 0)
        {
            Space.Write(
                _table + ((ulong)head * DescriptorBytes),
                new virtq_desc { addr = table, len = (uint)(chain.Length * DescriptorBytes), flags = VIRTQ_DESC_F_INDIRECT });
        }

        Space.Write(_avail + 4 + (2 * (ulong)(_added++ % Size)), (ushort)head);
        Shown[head]++;
        Hidden++;
    }

    /// <inheritdoc/>
    public override void Publish()
    {
        Space.Write(_avail + 2, _added);
        Hidden = 0;
    }

    /// <inheritdoc/>
    public override void Poke(int index, int field, ulong value)
    {
        Distrust();
        ulong entry = _table + ((ulong)(index % Size) * DescriptorBytes);
        switch (field & 3)
        {
            case 0: Space.Write(entry, value); break;
            case 1: Space.Write(entry + 8, (uint)value); break;
            case 2: Space.Write(entry + 12, (ushort)value); break;
            default: Space.Write(entry + 14, (ushort)value); break;
        }
    }

    /// <inheritdoc/>
    public override void PokeIndex(ushort value)
    {
        Distrust();
        Space.Write(_avail + 2, value);
    }

    /// <inheritdoc/>
    public override void PokeEvent(ushort value, ushort flags)
    {
        Space.Write(_avail, flags);
        if (EventIdx)
        {
            Space.Write(_avail + 4 + (2 * (ulong)Size), value);
        }
    }

    /// <inheritdoc/>
    public override void Reap()
    {
        if (!IsTrusted)
        {
            return;
        }

        var used = Space.Read<ushort>(_used + 2);
        int answers = (ushort)(used - _seenUsed);
        for (; _seenUsed != used; _seenUsed++)
        {
            var element = Space.Read<virtq_used_elem>(_used + 4 + ((ulong)(_seenUsed % Size) * 8));
            CountAnswer(element.id, answers);
            for (int i = 0; i < _entriesOf[element.id]; i++)
            {
                _busy[((int)element.id + i) % Size] = false;
            }
        }
    }

    /// <inheritdoc/>
    public override void AllowWrites()
    {
        Space.Allow(_used, UsedBytes(Size, EventIdx));
        for (int i = 0; i < Size; i++)
        {
            var desc = Space.Read<virtq_desc>(_table + ((ulong)i * DescriptorBytes));
            AllowChain(desc.addr, desc.len, desc.flags);
        }
    }

    /// <inheritdoc/>
    protected override void AllowEntry(ulong address)
    {
        var desc = Space.Read<virtq_desc>(address);
        AllowChain(desc.addr, desc.len, desc.flags, isTable: true);
    }
}
