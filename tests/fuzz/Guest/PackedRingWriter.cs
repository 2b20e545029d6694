using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Fuzz.Guest;

/// <summary>Writes a packed ring, which ends where its region ends.</summary>
internal sealed class PackedRingWriter : RingWriter
{
    private const ulong RegionBytes = 4096;
    private const ushort OwnerBits = VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED;
    private readonly ulong _ring;
    private readonly ulong _driver = GuardedSpace.RingAddress;
    private readonly ulong _device = GuardedSpace.RingAddress + RegionBytes - 4;
    private readonly List<(int Entry, ushort Flags)> _hidden = [];
    private readonly int[] _lengths;
    private int _next;
    private bool _wrap = true;
    private int _nextUsed;
    private bool _usedWrap = true;
    private int _entriesOut;

    public PackedRingWriter(GuardedSpace space, int size, bool eventIdx)
        : base(space, size, eventIdx)
    {
        _ring = GuardedSpace.TableAddress + RegionBytes - ((ulong)size * DescriptorBytes);
        _lengths = new int[size];
    }

    /// <inheritdoc/>
    public override VirtqueueAddresses Addresses => new(_ring, _driver, _device, AreUserAddresses: false);

    /// <inheritdoc/>
    public override uint StartBase => VirtqueueSetup.PackedStart;

    /// <inheritdoc/>
    public override void Add(ReadOnlySpan<RawBuffer> chain, ulong table, byte id)
    {
        int name = id % Size;
        int entries = table == 0 ? Math.Min(chain.Length, Size) : 1;
        if (Shown[name] != Answered[name] || _entriesOut + entries > Size || (table == 0 && chain.Length > Size))
        {
            Distrust();
        }

        _entriesOut += entries;
        _lengths[name] = entries;
        Shown[name]++;
        Hidden++;
        if (table != 0)
        {
            for (int i = 0; i < chain.Length; i++)
            {
                Space.Write(
                    table + ((ulong)i * DescriptorBytes),
                    new pvirtq_desc { addr = chain[i].Address, len = chain[i].Length, flags = chain[i].Flags });
            }

            Put(new RawBuffer(table, (uint)(chain.Length * DescriptorBytes), VIRTQ_DESC_F_INDIRECT), (ushort)name, hide: true);
            return;
        }

        for (int i = 0; i < entries; i++)
        {
            var flags = (ushort)(chain[i].Flags | (i == entries - 1 ? 0 : VIRTQ_DESC_F_NEXT));
            Put(chain[i] with { Flags = flags }, (ushort)name, hide: i == 0);
        }
    }

    /// <inheritdoc/>
    public override void Publish()
    {
        // Each chain's first flags, as they were hidden: the device may take them one by one.
        foreach ((int entry, ushort flags) in _hidden)
        {
            Space.Write(FlagsOf(entry), flags);
        }

        _hidden.Clear();
        Hidden = 0;
    }

    /// <inheritdoc/>
    public override void Poke(int index, int field, ulong value)
    {
        Distrust();
        ulong entry = _ring + ((ulong)(index % Size) * DescriptorBytes);
        switch (field & 3)
        {
            case 0: Space.Write(entry, value); break;
            case 1: Space.Write(entry + 8, (uint)value); break;
            case 2: Space.Write(entry + 14, (ushort)value); break;
            default: Space.Write(entry + 12, (ushort)value); break;
        }
    }

    /// <inheritdoc/>
    public override void PokeIndex(ushort value)
    {
        Distrust();
        int entry = (value & 0xFF) % Size;
        var flags = Space.Read<ushort>(FlagsOf(entry));
        Space.Write(FlagsOf(entry), (ushort)((flags & ~OwnerBits) | (value & 0x100) >> 1 | (value & 0x200) << 6));
    }

    /// <inheritdoc/>
    public override void PokeEvent(ushort value, ushort flags) =>
        Space.Write(_driver, new pvirtq_event_suppress { off_wrap = value, flags = flags });

    /// <inheritdoc/>
    public override void Reap()
    {
        for (int answers = 1; IsTrusted; answers++)
        {
            var desc = Space.Read<pvirtq_desc>(_ring + ((ulong)_nextUsed * DescriptorBytes));
            if ((desc.flags & OwnerBits) != (_usedWrap ? OwnerBits : 0) || _entriesOut == 0)
            {
                return;
            }

            CountAnswer(desc.id, answers);
            _entriesOut -= _lengths[desc.id];
            Advance(ref _nextUsed, ref _usedWrap, _lengths[desc.id]);
        }
    }

    /// <inheritdoc/>
    public override void AllowWrites()
    {
        Space.Allow(_ring, (ulong)Size * DescriptorBytes);
        Space.Allow(_device, 4);
        for (int i = 0; i < Size; i++)
        {
            AllowAt(_ring + ((ulong)i * DescriptorBytes), isTable: false);
        }
    }

    /// <inheritdoc/>
    protected override void AllowEntry(ulong address) => AllowAt(address, isTable: true);

    private ulong FlagsOf(int entry) => _ring + ((ulong)entry * DescriptorBytes) + 14;

    private void AllowAt(ulong address, bool isTable)
    {
        var desc = Space.Read<pvirtq_desc>(address);
        AllowChain(desc.addr, desc.len, desc.flags, isTable);
    }

    private void Put(RawBuffer buffer, ushort id, bool hide)
    {
        var flags = (ushort)(buffer.Flags ^ (_wrap ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED));
        ulong entry = _ring + ((ulong)_next * DescriptorBytes);
        Space.Write(entry, buffer.Address);
        Space.Write(entry + 8, buffer.Length);
        Space.Write(entry + 12, id);
        if (hide)
        {
            _hidden.Add((_next, flags));
        }
        else
        {
            Space.Write(entry + 14, flags);
        }

        Advance(ref _next, ref _wrap, 1);
    }

    private void Advance(ref int index, ref bool wrap, int count)
    {
        index += count;
        if (index >= Size)
        {
            index -= Size;
            wrap = !wrap;
        }
    }
}
