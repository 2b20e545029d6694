// Growing an array whose members have all grown: the members' data gets longer, where it lies stays.
//
// The superblocks that say so are written one after the other, while nothing runs (RaidArray.Succession.cs). Until all have it,
// the newest counts, which is true for all drives alike: they have all grown, and what was there before lies where it did. Nobody
// has written what is new; a resync makes members agree there, from where the data ended before, and only there: nothing else is
// marked.

using System.Collections.Immutable;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Control;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Reshape;

/// <summary>See the top of the file.</summary>
internal static class ArrayGrowth
{
    private const string Grow = "grow";

    /// <summary>Grows a running array to what its drives have now.</summary>
    /// <exception cref="ArrayException">It cannot, or its drives have not grown; nothing was changed.</exception>
    public static async Task GrowAsync(RaidArray array)
    {
        RefuseUnlessSound(array, Grow);
        RaidGeometry grown = Plan(array.Geometry, array.Members);
        await array.SucceedAsync(Grow, [], async current =>
        {
            ArraySuperblock next = Describe(current, array.Geometry, grown, array.Options.Clock.GetUtcNow());
            foreach (RaidMember member in array.Members)
            {
                await MemberSlots.WriteMemberAsync(next, member, array.Control.Home);
            }
        });
    }

    /// <summary>Refuses an array that lacks something, or of which something is under way.</summary>
    /// <exception cref="ArrayException">It does; the message says what.</exception>
    public static void RefuseUnlessSound(RaidArray array, string what)
    {
        ArrayStatus status = array.Control.GetStatus();
        string? reason = array.Limits.ReadOnly ? "it is only read: start it for writing"
            : status.Health == ArrayHealth.Failed ? "it has failed"
            : array.Sums is not null
                ? "its blocks have checksums, which lie where that would put data. Copy the volume to a larger one"
            : array.Reshaping is not null ? "it is being reshaped: wait for the end of that"
            : array.Reshape is not null ? "it has been reshaped since it was started: stop it, and start it again"
            : array.State.LostMask != 0 ? "it lacks members, or rebuilds them: replace what is missing, and wait for the end of the rebuild"
            : array.State.NeedsResync ? "its members do not agree yet: wait for the end of the resync"
            : what != Grow && array.State.BadMask != 0 ? "members have places that they cannot write: replace those drives first"
            : status.Replacement is not null || array.Control.Superblock.Replacing is not null ? "a drive of it is being replaced: wait for the end of that"
            : null;
        if (reason is not null)
        {
            throw new ArrayException($"Array {array.Name} cannot {what} now: {reason}. Nothing was changed.");
        }
    }

    /// <summary>The geometry that the drives give now.</summary>
    /// <exception cref="ArrayException">They have not all grown.</exception>
    internal static RaidGeometry Plan(RaidGeometry now, ImmutableArray<RaidMember> members)
    {
        long[] sizes = [.. members.Select(m => m.Drive!.SizeBytes)];
        bool isPossible = RaidGeometry.TryCreate(
            now.Level, now.ChunkSize, sizes, out RaidGeometry? grown, out string? error, now.DataOffset, now.GroupCount);
        if (!isPossible)
        {
            throw new ArrayException(error!);
        }

        if (grown!.MemberDataSize <= now.MemberDataSize)
        {
            RaidMember least = members.MinBy(m => m.Drive!.SizeBytes)!;
            throw new ArrayException(
                $"The members have not all grown: {least.Drive!.Name} has {least.Drive.SizeBytes} bytes, of which {now.DataOffset + now.MemberDataSize} are used.");
        }

        return grown;
    }

    /// <summary>What the superblocks are to say.</summary>
    internal static ArraySuperblock Describe(ArraySuperblock current, RaidGeometry now, RaidGeometry grown, DateTimeOffset at)
    {
        bool isRedundant = grown.HasParity || grown.CopyCount > 1;
        return current with
        {
            EventCount = current.EventCount + 1,
            UpdatedAt = at,
            MemberDataSize = grown.MemberDataSize,
            ArraySize = grown.Capacity,
            ResyncCheckpoint = isRedundant ? now.MemberDataSize : ArraySuperblock.NoResync,
            Regions = isRedundant ? MarkedFrom(now.Capacity, grown.Capacity, current.EventCount + 1) : null,
        };
    }

    private static DirtyRegions MarkedFrom(long from, long capacity, ulong eventCount)
    {
        DirtyRegions none = WriteIntent.Make(capacity, marked: false, eventCount);
        var intent = new WriteIntent(capacity, none);
        intent.Want(from, capacity - from);
        intent.TakeWanted();
        return intent.Describe();
    }
}
