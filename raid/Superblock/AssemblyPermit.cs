// What a start needs leave for. Assembly says what is there (ArrayAssembly); here is decided whether the caller allowed to start
// like that. Pure; touches no drive.
//
// An array starts unasked only as its superblocks know it. Whoever is called present and is not here makes the start a decision:
// what is written then makes the absent one stale; and of a mirror those that are here may be the stale ones, for their
// superblocks are as
// old as they.

using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Superblock;

/// <summary>Checks a start against what the caller allowed.</summary>
internal static class AssemblyPermit
{
    /// <summary>Refuses what needs leave that was not given.</summary>
    /// <param name="options">What is allowed.</param>
    /// <param name="result">What is there; complete, degraded, or <see cref="AssemblyResult.IsTooFew"/>.</param>
    /// <param name="problems">What else is known of the drives: sentences, each with a blank before it.</param>
    /// <exception cref="ArrayException">It must not start like this; the message says what to connect or to allow.</exception>
    public static void Check(ArrayAssembleOptions options, AssemblyResult result, string problems)
    {
        ArraySuperblock newest = result.Newest!;
        ulong lost = result.MissingRoles | result.RebuildingRoles;
        if (lost == 0)
        {
            return;
        }

        bool isAllowed = options.AllowDegraded || options.Force;
        if (result.IsTooFew)
        {
            if (!options.ReadOnly || !isAllowed)
            {
                throw new ArrayException(
                    $"{result.Error}{Names(options, result, result.MissingRoles)} Until then what lies on the others can be read: "
                    + $"start it read-only, by polyblk serve with --read-only and --allow-degraded.{problems}");
            }

            return;
        }

        if (result.Geometry!.HasParity && newest is { NeedsResync: true, TrustsUnsynced: true } && options.ReadOnly && !options.Force
            && (newest.State & ArrayStateFlags.Dirty) != 0)
        {
            throw new ArrayException(
                $"Array '{newest.Name}' was not stopped in order and lacks {Count(lost, newest)}."
                + $"{Names(options, result, lost)} What was being written is put right from its journal, which a read-only start cannot do: "
                + $"start it for writing once.{problems}");
        }

        if (result.Geometry!.HasParity && newest is { NeedsResync: true, TrustsUnsynced: false } && !options.Force)
        {
            string connect = result.MissingRoles == 0 ? "Members are being rebuilt and hold only a part of their blocks. Use"
                : "Connect the missing drives; or use";
            throw new ArrayException(
                $"Array '{newest.Name}' was not stopped in order and lacks {Count(lost, newest)}."
                + $"{Names(options, result, lost)} Blocks of the missing members that were being written when it "
                + $"stopped would be made from parity that may not match them. {connect} "
                + $"--force-assembly to start without them, and check the file systems afterwards.{problems}");
        }

        if (result.AbsentRoles != 0 && !isAllowed)
        {
            string mirror = result.Geometry.HasParity ? string.Empty
                : " Should the missing one have been used after these, these hold old data, which would be served.";
            throw new ArrayException(
                $"Array '{newest.Name}' lacks {Count(result.AbsentRoles, newest)} that it had when it was last used."
                + $"{Names(options, result, result.AbsentRoles)} Connect what is missing; or start without it with "
                + $"--allow-degraded: once something is written then, it is stale, and has to be filled when it comes back.{mirror}{problems}");
        }
    }

    /// <summary>The unit in bytes in which consumers address the array.</summary>
    /// <param name="options">Says what counts where nothing is recorded.</param>
    /// <param name="result">What is there.</param>
    /// <param name="drives">The members that are used; at least one.</param>
    /// <exception cref="ArrayException">It is not certain, or a drive cannot do it.</exception>
    public static int BlockSize(ArrayAssembleOptions options, AssemblyResult result, IEnumerable<IBlockDevice> drives)
    {
        string name = result.Newest!.Name;
        IBlockDevice coarsest = drives.MaxBy(d => d.Limits.LogicalBlockSize)!;
        int needed = coarsest.Limits.LogicalBlockSize;
        int recorded = result.Newest.LogicalBlockSize;
        int size = recorded != 0 ? recorded : options.LogicalBlockSize ?? 0;
        if (size == 0)
        {
            // The program that did not record it served the largest of the drives that it had.
            size = result.AbsentRoles == 0 || needed == 4096 ? needed : throw new ArrayException(
                $"Array '{name}' was made by an older program, which did not record its block size, and a drive that is missing "
                + "may have had blocks of 4096 bytes. Start it once with all drives; or say what its users saw, with --block-size "
                + "512 (most drives) or --block-size 4096.");
        }

        return size >= needed ? size : throw new ArrayException(
            $"{coarsest.Name} has blocks of {needed} bytes, and array '{name}' is addressed in blocks of {size}: it cannot be a "
            + $"member. Connect the member by a drive with blocks of {size} bytes, or leave it out.");
    }

    private static string Count(ulong roles, ArraySuperblock newest) =>
        $"{BitOperations.PopCount(roles)} of {newest.MemberCount} members";

    private static string Names(ArrayAssembleOptions options, AssemblyResult result, ulong roles)
    {
        ArraySuperblock newest = result.Newest!;
        IEnumerable<string> names =
            from role in Enumerable.Range(0, newest.MemberCount)
            where ((roles >> role) & 1) != 0
            let drive = options.DescribeRole(role, newest.MemberCount) is string known ? $"{known}, " : string.Empty
            select $"member {role} ({drive}UUID {newest.Members[role].Uuid})";
        return $" Missing: {string.Join(", ", names)}.";
    }
}
