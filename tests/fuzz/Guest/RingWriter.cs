// The driver's side of a ring in a fuzz target: it writes whatever it is told to, in the places where an honest driver would,
// and keeps account of what it showed and what came back.
//
// As long as the target only adds chains, and no more than fit, the account is exact (IsTrusted): then every chain must come
// back at most once, and exactly once when the device is idle. Whoever writes into the ring otherwise calls Distrust.

using Polyblk.Virtio;
using static Polyblk.Virtio.RingLayout;

namespace Polyblk.Fuzz.Guest;

/// <summary>A driver without manners.</summary>
internal abstract class RingWriter(GuardedSpace space, int size, bool eventIdx)
{
    private const int EntriesLookedAt = 512;

    protected GuardedSpace Space { get; } = space;

    protected bool EventIdx { get; } = eventIdx;

    /// <summary>Entries.</summary>
    public int Size { get; } = size;

    /// <summary>Whether the account is exact.</summary>
    public bool IsTrusted { get; private set; } = true;

    /// <summary>Chains shown, by id.</summary>
    protected int[] Shown { get; } = new int[size];

    /// <summary>Chains that came back, by id.</summary>
    protected int[] Answered { get; } = new int[size];

    /// <summary>Chains that were added and did not come back.</summary>
    public int Outstanding => Shown.Sum() - Answered.Sum();

    /// <summary>Chains that were added and are not shown yet.</summary>
    public int Hidden { get; protected set; }

    /// <summary>Where the three areas lie.</summary>
    public abstract VirtqueueAddresses Addresses { get; }

    /// <summary>The base of a fresh ring.</summary>
    public abstract uint StartBase { get; }

    /// <summary>Adds a chain. With a table address all of it goes into an indirect table there.</summary>
    /// <param name="chain">The buffers; their flags are WRITE and, for harm, others.</param>
    /// <param name="table">Guest address of the indirect table, or 0.</param>
    /// <param name="id">A name for the chain; taken modulo the size.</param>
    public abstract void Add(ReadOnlySpan<RawBuffer> chain, ulong table, byte id);

    /// <summary>Shows what was added.</summary>
    public abstract void Publish();

    /// <summary>Writes a field of an entry of the table: 0 address, 1 length, 2 flags, 3 next or id.</summary>
    public abstract void Poke(int index, int field, ulong value);

    /// <summary>Writes what says how far the driver is: the available index, or an entry's owner.</summary>
    public abstract void PokeIndex(ushort value);

    /// <summary>Writes the driver's event structure.</summary>
    public abstract void PokeEvent(ushort value, ushort flags);

    /// <summary>Reads the answers that were published; throws where the account contradicts them.</summary>
    public abstract void Reap();

    /// <summary>Allows the device to write what the ring says at this moment.</summary>
    public abstract void AllowWrites();

    /// <summary>The account is not exact any more.</summary>
    public void Distrust() => IsTrusted = false;

    protected void CountAnswer(uint id, int answers)
    {
        FuzzFailureException.Require(answers <= Size, $"{answers} answers came at once in a ring of {Size}.");
        FuzzFailureException.Require(id < (uint)Size, $"The answer {id} names no entry of {Size}.");
        Answered[id]++;
        FuzzFailureException.Require(
            Answered[id] <= Shown[id], $"The chain {id} was answered {Answered[id]} times and shown {Shown[id]} times.");
    }

    protected void AllowChain(ulong address, uint length, ushort flags, bool isTable = false)
    {
        if ((flags & VIRTQ_DESC_F_INDIRECT) != 0 && !isTable)
        {
            for (uint i = 0; i < Math.Min(length / DescriptorBytes, EntriesLookedAt); i++)
            {
                AllowEntry(address + (i * DescriptorBytes));
            }
        }
        else if ((flags & VIRTQ_DESC_F_WRITE) != 0)
        {
            Space.Allow(address, length);
        }
    }

    /// <summary>Allows what one entry of an indirect table says.</summary>
    protected abstract void AllowEntry(ulong address);
}

/// <summary>A descriptor as it is written.</summary>
/// <param name="Address">Guest address.</param>
/// <param name="Length">Bytes.</param>
/// <param name="Flags">VIRTQ_DESC_F_WRITE, or anything else.</param>
internal readonly record struct RawBuffer(ulong Address, uint Length, ushort Flags);
