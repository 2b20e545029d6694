// Which drives make up an array at one time.
//
// Theory of operation. A map never changes: another drive in a role, or another spare, is another map with the next epoch. The
// array publishes it (RaidArray.Adopt) and tells every queue on its own reactor, which opens a way to each drive that is new and
// closes those to drives that are gone. A role changes hands only when the member was out before and its drive owes nothing any
// more (RaidMember.IsDrained): so whatever comes back by a role's way was sent by the same way.
//
// A role whose drive works changes hands by a replacement (Replacement.cs): for as long as the map names one, each way to that role
// leads to both drives, and stays the same way when it becomes that of the new drive alone.
//
// What a member is worth at a moment (failed, rebuilt up to where) is not here: reactors change that in an instant (ArrayState).

using System.Collections.Immutable;
using Polyblk.Core.Block;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Map;

/// <summary>A drive that waits to take a lost member's place.</summary>
/// <param name="Drive">The drive.</param>
/// <param name="Uuid">Its UUID as a spare.</param>
internal sealed record SpareDrive(IBlockDevice Drive, Guid Uuid);

/// <summary>A drive that was away while its array was used.</summary>
/// <param name="Superblock">What it holds, from then.</param>
/// <param name="Drive">The drive.</param>
internal sealed record ReturningDrive(ArraySuperblock Superblock, IBlockDevice Drive);

/// <summary>See the top of the file.</summary>
/// <param name="Epoch">Counts the maps of a run, from 0.</param>
/// <param name="Members">By role.</param>
/// <param name="Spares">The spares that are here.</param>
internal sealed record ArrayMap(int Epoch, ImmutableArray<RaidMember> Members, ImmutableArray<SpareDrive> Spares)
{
    /// <summary>The replacement that is under way: the ways to its role lead to two drives. Null without one.</summary>
    public Replacement? Replacement { get; init; }

    /// <summary>The replacement of a role, or null.</summary>
    public Replacement? ReplacementOf(int role) => Replacement?.Role == role ? Replacement : null;

    /// <summary>The map with a replacement under way, or without one.</summary>
    public ArrayMap With(Replacement? replacement) => this with { Epoch = Epoch + 1, Replacement = replacement };

    /// <summary>The map with another member in its role.</summary>
    public ArrayMap With(RaidMember member) => this with { Epoch = Epoch + 1, Members = Members.SetItem(member.Role, member) };

    /// <summary>The map with a further spare.</summary>
    public ArrayMap With(SpareDrive spare) => this with { Epoch = Epoch + 1, Spares = Spares.Add(spare) };

    /// <summary>The map without a spare.</summary>
    public ArrayMap Without(SpareDrive spare) => this with { Epoch = Epoch + 1, Spares = Spares.Remove(spare) };
}
