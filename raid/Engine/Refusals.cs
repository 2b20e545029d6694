using Polyblk.Core.Block;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Engine;

/// <summary>
/// Who refused a part of a write that several members carry, one bit a member, by role: judged when all have answered.
/// </summary>
internal struct Refusals
{
    /// <summary>Members that refused a part for another reason than room.</summary>
    public ulong Refused;

    /// <summary>Members that had no room for a part.</summary>
    public ulong NoSpace;

    /// <summary>Those of <see cref="Refused"/> that are gone; of a read, those that could not be read because they are.</summary>
    public ulong Gone;

    private ulong _atPlace;
    private ulong _notAtPlace;

    /// <summary>Whether anybody refused anything.</summary>
    public readonly bool Any => (Refused | NoSpace) != 0;

    /// <summary>Those of <see cref="Refused"/> of which only the place need be bad, in all that they refused.</summary>
    public readonly ulong AtPlace => _atPlace & ~_notAtPlace;

    /// <summary>Notes that a member answered a part with an error, and counts it there.</summary>
    /// <param name="member">The member.</param>
    /// <param name="part">The part, as it was answered.</param>
    public void Note(RaidMember member, BlockRequest part)
    {
        ulong bit = 1UL << member.Role;
        BlockErrorKind kind = BlockErrors.KindOf(part.Status);
        member.NoteWriteError(kind);
        if (kind == BlockErrorKind.NoSpace)
        {
            NoSpace |= bit;
            return;
        }

        // With FUA it may have been the flush.
        bool isAtPlace = BlockErrors.MayBeOfPlace(part.Status) && (part.Flags & BlockFlags.Fua) == 0;
        Refused |= bit;
        Gone |= kind == BlockErrorKind.Gone ? bit : 0;
        _atPlace |= isAtPlace ? bit : 0;
        _notAtPlace |= isAtPlace ? 0 : bit;
    }
}
