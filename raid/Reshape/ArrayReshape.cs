// The beginning of a reshape: drives come in, or the level changes, and the superblocks speak of two geometries from then on,
// with the frontier at 0. Nothing is moved here; the run that comes next does (Control/Reshaping.cs), and any run after it.
//
// While nothing runs (RaidArray.Succession.cs), in the order that makes it harmless to be cut off:
//   1  the new drives are cleared: their slots, and the journal's area;
//   2  the new superblock goes to both slots of the new drives. It counts for nothing as long as no older member has it
//      (ArrayAssembly.FindUnbegun): the array starts as it was;
//   3  it goes to the older members, one after the other. From the first on the reshape has begun, and all that it needs is there.
// Where only the level changes, 3 is all: whoever lacks the new superblock is one event behind, and nothing has been moved yet.

using System.Collections.Immutable;
using Polyblk.Core.Block;
using Polyblk.Raid.Control;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Reshape;

/// <summary>See the top of the file.</summary>
internal static class ArrayReshape
{
    /// <summary>Adds drives to a running array, gives it another level, or both.</summary>
    /// <exception cref="ArrayException">It cannot; the array goes on as it was.</exception>
    public static async Task BeginAsync(RaidArray array, RaidLevel? level, IReadOnlyList<IBlockDevice> drives, bool force)
    {
        if (array.Sums is not null)
        {
            // Whatever the level and the room: that is what it is refused for.
            ArrayGrowth.RefuseUnlessSound(array, "be reshaped");
        }

        bool hasJournal = array.Consistency == ArrayConsistency.Journal;
        RaidGeometry now = array.Geometry;
        RaidLevel next = level ?? now.Level;

        // First what no waiting helps against; whether there is room depends on a reshape that may be under way.
        if (ReshapeMap.WhyNot(now.Level, now.MemberCount, next, now.MemberCount + drives.Count) is { } why)
        {
            throw new ArrayException(why);
        }

        ArrayGrowth.RefuseUnlessSound(array, "be reshaped");
        ReshapeMap map = ReshapeMap.Plan(now, next, drives.Count, array.Options.ReshapeWindowBytes, hasJournal);
        await RefuseUnfitAsync(array, drives, force);
        bool hasBegun = false;
        try
        {
            await array.SucceedAsync("be reshaped", drives, ChangeAsync);
        }
        catch (ArrayException e) when (hasBegun)
        {
            // A member did not take the superblock, others may have: it has begun, and that one is out. Whoever has the new
            // drives must keep them, also where the array could not start again: its superblocks name them.
            if (array.Live.Reshape is null)
            {
                string begun = drives.Count == 0 ? "The reshape may have begun"
                    : "The reshape has begun: the drives that were added belong to the array";
                throw new ArrayException($"{e.Message} {begun}.", e) { HasBegun = true };
            }
        }

        async Task ChangeAsync(ArraySuperblock current)
        {
            RaidMember[] added =
            [
                .. drives.Select((drive, i) => new RaidMember(current.MemberCount + i, drive, array.Options.NewUuid())),
            ];
            ArraySuperblock next = Describe(current, map, added, array.Options.Clock.GetUtcNow());
            foreach (RaidMember member in added)
            {
                await ClearAsync(array, map, member.Drive!, force);
            }

            try
            {
                foreach (RaidMember member in added)
                {
                    await MemberSlots.WriteMemberAsync(next, member, array.Control.Home);
                    await MemberSlots.WriteMemberAsync(next, member, array.Control.Home);
                }
            }
            catch
            {
                // None of them is to be taken for a member of an event that comes again.
                foreach (RaidMember member in added)
                {
                    await MemberSlots.TryEraseAsync(member.Drive!, array.Control.Home, array.Options.Clock);
                }

                throw;
            }

            hasBegun = true;
            foreach (RaidMember member in array.Members)
            {
                await MemberSlots.WriteMemberAsync(next, member, array.Control.Home);
            }
        }
    }

    /// <summary>What the superblocks are to say.</summary>
    internal static ArraySuperblock Describe(
        ArraySuperblock current, ReshapeMap map, IReadOnlyList<RaidMember> added, DateTimeOffset at)
    {
        RaidLevel level = map.New.Level;
        var reshape = new ReshapeRecord(map.Old.Level, map.Old.MemberCount, map.ShiftBytes, 0);
        return current with
        {
            EventCount = current.EventCount + 1,
            UpdatedAt = at,
            Level = level,
            ParityCount = map.New.ParityCount,
            MemberCount = map.New.MemberCount,
            MemberDataOffset = map.New.DataOffset,
            MemberDataSize = map.New.MemberDataSize,
            ArraySize = map.New.Capacity,
            Members = [.. current.Members, .. added.Select(m => new MemberEntry(m.Uuid, MemberState.Present))],
            Regions = map.New.HasParity ? WriteIntent.Make(map.New.Capacity, marked: false, current.EventCount + 1) : null,
            Incompatible = (current.Incompatible & ~IncompatibleFeatures.ManyParities) | reshape.FeaturesOf(level)
                | (level.HasManyParities() ? IncompatibleFeatures.ManyParities : IncompatibleFeatures.None),
            Reshape = reshape,
        };
    }

    private static async Task RefuseUnfitAsync(RaidArray array, IReadOnlyList<IBlockDevice> drives, bool force)
    {
        if (drives.Distinct(ReferenceEqualityComparer.Instance).Count() != drives.Count)
        {
            throw new ArrayException("The same drive is given twice: every member needs a drive of its own.");
        }

        foreach (IBlockDevice drive in drives)
        {
            string? why = array.Drives.Contains(drive, ReferenceEqualityComparer.Instance) ? "the array has it already"
                : array.Journal is not null && drive.Limits.IsEphemeral ? "what it holds ends with the process: take a drive of the others' kind"
                : ArrayLimits.WhyNotFit(array, drive);
            if (why is not null)
            {
                throw new ArrayException($"{drive.Name} cannot become a member of array {array.Name}: {why}.");
            }

            if (!force)
            {
                ArrayBuilder.RefuseWhatIsThere(await ArrayBuilder.InspectAsync(drive, array.Control.Home, array.Options.Clock));
            }
        }
    }

    private static async Task ClearAsync(RaidArray array, ReshapeMap map, IBlockDevice drive, bool force)
    {
        try
        {
            await (force
                ? DriveEraser.EraseAllAsync(drive, map.New.DataOffset, array.Control.Home)
                : MemberSlots.EraseAsync(drive, array.Control.Home, array.Options.Clock));
            if (map.New.HasParity && map.New.DataOffset > JournalLayout.AreaOffset)
            {
                await BlockIo.WriteZeroesAsync(
                    drive, array.Control.Home, JournalLayout.AreaOffset, map.New.DataOffset - JournalLayout.AreaOffset);
                await BlockIo.FlushAsync(drive, array.Control.Home);
            }
        }
        catch (BlockIoException e)
        {
            throw new ArrayException($"{drive.Name} cannot be written: {e.Message}", e);
        }
    }
}
