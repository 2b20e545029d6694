// Whether somebody else writes the superblocks of a drive that this run has.
//
// A drive can be reached by several hosts (a shared enclosure, NVMe over fabrics), and a lock keeps out the processes of one host
// only. Should another host start the array as well, both would write where the other does not expect it, and neither would see
// an error. What a host cannot do without being seen is write superblocks: each run does that before its first write, and
// whenever more of the array is being written. So a run looks into the slots of a member before it writes there (for marks once a
// second), and from time to time, and knows what it has put there itself. Of what it finds
//
//   the same bytes            are its own, also of a write that ended with an error: nobody knows whether it came to the drive
//   nothing, or what is torn  is no word of anybody
//   older ones                are what was there before, or what a drive went back to
//   what the start could not  was there before, too: the drive did not give it for a moment, and it may be newer than what was
//   read                      found in the other slot
//   anything else             is somebody else's
//
// Then the array ends its part (ArrayState.Fence): no write is acknowledged any more, and the superblocks are left to the other
// one. What both wrote until then may be mixed: this ends the damage, it does not prevent it.

using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>What a run has put into the slots of one member. The control task's.</summary>
internal sealed class OwnSlots
{
    private readonly List<byte[]>[] _tried = [[], []];

    /// <summary>Slots that the start could not read, one bit each, and nobody has read since.</summary>
    public int Unread { get; set; }

    /// <summary>In which second of the array the slots were looked at last.</summary>
    public int LookedInSecond { get; set; } = -1;

    /// <summary>A superblock is on its way to its slot.</summary>
    /// <param name="sequence">Its sequence number, which says which slot.</param>
    /// <param name="block">The bytes; they are copied.</param>
    public void NoteTry(ulong sequence, byte[] block) => _tried[sequence & 1].Add([.. block]);

    /// <summary>The last one that was tried there is durable: nothing else of this run's can be found there any more.</summary>
    public void NoteWritten(ulong sequence)
    {
        List<byte[]> tried = _tried[sequence & 1];
        tried.RemoveRange(0, tried.Count - 1);
    }

    /// <summary>What somebody else has written of the same array; null where there is nothing.</summary>
    /// <param name="array">The array.</param>
    /// <param name="sequence">The number of the superblock that this run has written, or found, last.</param>
    /// <param name="slots">What is in the two slots; null for one that cannot be read.</param>
    public ArraySuperblock? FindForeign(Guid array, ulong sequence, ReadOnlySpan<byte[]?> slots)
    {
        for (int slot = 0; slot < slots.Length; slot++)
        {
            if (slots[slot] is not { } found || _tried[slot].Exists(own => own.AsSpan().SequenceEqual(found)))
            {
                continue;
            }

            if (((Unread >> slot) & 1) != 0)
            {
                Unread &= ~(1 << slot);
                _tried[slot].Add(found);
                continue;
            }

            if (SuperblockFormat.Parse(found).Superblock is { } its && its.ArrayUuid == array
                && (its.Sequence > sequence || (its.Sequence == sequence && _tried[slot].Count != 0)))
            {
                return its;
            }
        }

        return null;
    }
}
