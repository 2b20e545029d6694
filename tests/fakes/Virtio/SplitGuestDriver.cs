using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Fakes.Virtio;

/// <summary>The driver of a split virtqueue.</summary>
public sealed unsafe class SplitGuestDriver : GuestDriver
{
    private readonly Stack<ushort> _free = new();
    private readonly ushort[]?[] _chains;
    private readonly ulong _availAddress;
    private readonly ulong _usedAddress;
    private ushort _added;
    private ushort _published;
    private ushort _lastUsed;

    public SplitGuestDriver(GuestSpace space, int size, ulong features, ulong ringAddress)
        : base(space, size, features, ringAddress)
    {
        _chains = new ushort[size][];
        _availAddress = ringAddress + ((ulong)size * DescriptorBytes);
        _usedAddress = (_availAddress + AvailBytes(size, true) + 3) & ~3UL;
        Table = (virtq_desc*)space.At(ringAddress, (ulong)size * DescriptorBytes);
        Avail = (ushort*)space.At(_availAddress, AvailBytes(size, true));
        Used = (ushort*)space.At(_usedAddress, UsedBytes(size, true));
        for (int i = size - 1; i >= 0; i--)
        {
            _free.Push((ushort)i);
        }
    }

    /// <summary>The descriptor table.</summary>
    public virtq_desc* Table { get; }

    /// <summary>flags, idx, ring, used_event.</summary>
    public ushort* Avail { get; }

    /// <summary>flags, idx, ring of 8-byte elements, avail_event.</summary>
    public ushort* Used { get; }

    /// <summary>The used elements.</summary>
    public virtq_used_elem* UsedRing => (virtq_used_elem*)(Used + 2);

    /// <inheritdoc/>
    public override VirtqueueAddresses Addresses => new(RingAddress, _availAddress, _usedAddress, false);

    /// <inheritdoc/>
    public override int FreeDescriptors => _free.Count;

    /// <inheritdoc/>
    public override uint StartBase => 0;

    /// <inheritdoc/>
    public override int Add(ReadOnlySpan<GuestBuffer> buffers, ulong tableAddress = 0, int indirectCount = int.MaxValue)
    {
        int indirect = tableAddress == 0 ? 0 : Math.Min(indirectCount, buffers.Length);
        int direct = buffers.Length - indirect;
        int needed = direct + (indirect == 0 ? 0 : 1);
        if (_free.Count < needed)
        {
            return -1;
        }

        var chain = new ushort[needed];
        for (int i = 0; i < needed; i++)
        {
            chain[i] = _free.Pop();
        }

        for (int i = 0; i < needed; i++)
        {
            bool last = i == needed - 1;
            ushort next = last ? (ushort)0 : chain[i + 1];
            var more = (ushort)(last ? 0 : VIRTQ_DESC_F_NEXT);
            Table[chain[i]] = i < direct
                ? Describe(buffers[i], more, next)
                : new virtq_desc { addr = tableAddress, len = (uint)(indirect * DescriptorBytes), flags = VIRTQ_DESC_F_INDIRECT };
        }

        if (indirect != 0)
        {
            WriteTable(buffers[direct..], tableAddress);
        }

        _chains[chain[0]] = chain;
        Avail[2 + (_added++ % Size)] = chain[0];
        return chain[0];
    }

    /// <inheritdoc/>
    public override bool Publish()
    {
        ushort old = _published;
        _published = _added;
        Volatile.Write(ref Avail[1], _added);
        Interlocked.MemoryBarrier();
        if (!EventIdx)
        {
            return (Volatile.Read(ref Used[0]) & VIRTQ_USED_F_NO_NOTIFY) == 0;
        }

        ushort availEvent = Volatile.Read(ref *(ushort*)(UsedRing + Size));
        return (ushort)(_published - availEvent - 1) < (ushort)(_published - old);
    }

    /// <inheritdoc/>
    public override bool TryGetUsed(out int token, out uint length)
    {
        token = -1;
        length = 0;
        if (Volatile.Read(ref Used[1]) == _lastUsed)
        {
            return false;
        }

        virtq_used_elem element = UsedRing[_lastUsed++ % Size];
        ushort[] chain = (element.id < Size ? _chains[element.id] : null)
            ?? throw new InvalidOperationException($"The device answered head {element.id}, which is not in flight.");
        _chains[element.id] = null;
        foreach (ushort index in chain)
        {
            _free.Push(index);
        }

        token = (int)element.id;
        length = element.len;
        return true;
    }

    /// <inheritdoc/>
    public override bool EnableCalls()
    {
        if (EventIdx)
        {
            Volatile.Write(ref Avail[2 + Size], _lastUsed);
        }
        else
        {
            Volatile.Write(ref Avail[0], 0);
        }

        Interlocked.MemoryBarrier();
        return Volatile.Read(ref Used[1]) == _lastUsed;
    }

    /// <inheritdoc/>
    public override void DisableCalls()
    {
        if (EventIdx)
        {
            Volatile.Write(ref Avail[2 + Size], (ushort)(_lastUsed - 1));
        }
        else
        {
            Volatile.Write(ref Avail[0], VIRTQ_AVAIL_F_NO_INTERRUPT);
        }
    }

    private static virtq_desc Describe(GuestBuffer buffer, ushort flags, ushort next) => new()
    {
        addr = buffer.Address, len = buffer.Length, flags = (ushort)(flags | (buffer.Write ? VIRTQ_DESC_F_WRITE : 0)), next = next,
    };

    private void WriteTable(ReadOnlySpan<GuestBuffer> buffers, ulong tableAddress)
    {
        for (int i = 0; i < buffers.Length; i++)
        {
            bool last = i == buffers.Length - 1;
            virtq_desc desc = Describe(buffers[i], (ushort)(last ? 0 : VIRTQ_DESC_F_NEXT), (ushort)(last ? 0 : i + 1));
            Space.Write(tableAddress + ((ulong)i * DescriptorBytes), new ReadOnlySpan<byte>(&desc, DescriptorBytes));
        }
    }
}
