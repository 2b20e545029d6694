// Making, starting and erasing arrays: the entry of the command line. Decisions about superblocks are pure and live in Superblock/;
// here they meet drives.

using System.Collections.Immutable;
using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Drives;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

/// <summary>Makes, finds, starts and erases arrays. Drives are always the caller's to dispose.</summary>
public static class ArrayBuilder
{
    /// <summary>
    /// Makes an array over the drives, in their order, and starts it. A new array whose drives are not known to be zero begins with
    /// a resync, in the background.
    /// </summary>
    /// <param name="options">What array.</param>
    /// <param name="drives">2 to 64 drives (1 for RAID 0); the smallest counts.</param>
    /// <param name="home">Carries the superblock writes and the resync; must outlive the array.</param>
    /// <exception cref="ArrayException">It cannot be made; nothing was written unless the message says so.</exception>
    public static async Task<RaidArray> CreateAsync(ArrayCreateOptions options, IReadOnlyList<IBlockDevice> drives, Reactor home)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(drives);
        ArgumentNullException.ThrowIfNull(home);
        RaidGeometry geometry = PlanGeometry(options, drives);
        await RefuseForeignAsync(options, drives, home).ConfigureAwait(false);

        Guid[] uuids = [.. drives.Select(_ => Guid.NewGuid())];
        bool redundant = geometry.HasParity || geometry.CopyCount > 1;
        bool zeroed = options.AssumeZeroed || drives.All(d => d is NullDrive);
        DateTimeOffset now = DateTimeOffset.UtcNow;
        var superblock = new ArraySuperblock
        {
            ArrayUuid = Guid.NewGuid(),
            MemberUuid = uuids[0],
            Name = options.Name,
            Level = options.Level,
            ParityCount = geometry.ParityCount,
            ChunkSize = geometry.ChunkSize,
            MemberCount = drives.Count,
            Role = 0,
            MemberDataOffset = geometry.DataOffset,
            MemberDataSize = geometry.MemberDataSize,
            ArraySize = geometry.Capacity,
            ExportedSize = options.SizeBytes ?? geometry.Capacity,
            EventCount = 1,
            CreatedAt = now,
            UpdatedAt = now,
            ResyncCheckpoint = redundant && !zeroed ? 0 : ArraySuperblock.NoResync,
            Members = [.. uuids.Select(u => new MemberEntry(u, MemberState.Present))],
        };
        foreach (IBlockDevice drive in drives)
        {
            // Drives that are known to be zero hold nothing; without force the drives were found to hold nothing.
            await (options is { Force: true, AssumeZeroed: false }
                ? DriveEraser.EraseAllAsync(drive, geometry.DataOffset, home)
                : EraseSlotsAsync(drive, home)).ConfigureAwait(false);
        }

        var members = new RaidMember[drives.Count];
        for (int i = 0; i < members.Length; i++)
        {
            members[i] = new RaidMember(i, drives[i], uuids[i]);
        }

        var array = new RaidArray(superblock, geometry, members, home, options.Run, redundant && !zeroed ? 0 : long.MaxValue);
        return await StartAsync(array, writeHole: false).ConfigureAwait(false);
    }

    /// <summary>Starts an array from the drives that belong to it; other drives may be among them.</summary>
    /// <param name="options">Which array, and what is allowed.</param>
    /// <param name="candidates">Drives to look at.</param>
    /// <param name="home">Carries the superblock writes and the resync; must outlive the array.</param>
    /// <exception cref="ArrayException">It cannot be started; nothing was written.</exception>
    public static async Task<RaidArray> AssembleAsync(ArrayAssembleOptions options, IReadOnlyList<IBlockDevice> candidates, Reactor home)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(candidates);
        ArgumentNullException.ThrowIfNull(home);
        IReadOnlyList<DriveInspection> inspections = await InspectAsync(candidates, home).ConfigureAwait(false);
        List<DriveInspection> wanted = Choose(options, inspections);
        var byCandidate = new Dictionary<AssemblyCandidate, IBlockDevice>(ReferenceEqualityComparer.Instance);
        foreach (DriveInspection inspection in wanted)
        {
            byCandidate.Add(new AssemblyCandidate(inspection.Drive.Name, inspection.Drive.SizeBytes, inspection.Superblock!), inspection.Drive);
        }

        AssemblyResult result = ArrayAssembly.Assemble([.. byCandidate.Keys]);
        if (result.Outcome == AssemblyOutcome.Refused)
        {
            throw new ArrayException(result.Error! + DescribeProblems(inspections));
        }

        ArraySuperblock newest = result.Newest!;
        bool writeHole = CheckDegraded(options, result);
        RaidGeometry geometry = result.Geometry!;
        var members = new RaidMember[newest.MemberCount];
        for (int role = 0; role < members.Length; role++)
        {
            AssemblyCandidate? candidate = result.Members[role];
            members[role] = new RaidMember(role, candidate is null ? null : byCandidate[candidate], newest.Members[role].Uuid)
            {
                Sequence = candidate?.Superblock.Sequence ?? 0,
                OutSinceEvent = newest.Members[role].EventCount,
            };
        }

        bool canResync = result.NeedsResync
            && (geometry.Level == RaidLevel.Raid10 || BitOperations.PopCount(result.MissingRoles) < geometry.Redundancy);
        long synced = canResync ? (newest.State & ArrayStateFlags.Dirty) != 0 ? 0 : result.ResyncFrom : long.MaxValue;
        ArraySuperblock start = newest with { State = ArrayStateFlags.Clean, DirtySince = null };
        var array = new RaidArray(start, geometry, members, home, options.Run, synced);
        foreach (LeftOutMember left in result.LeftOut)
        {
            options.Run.OnEvent?.Invoke(new ArrayEvent(ArrayEventLevel.Warning, $"Array {array.Name}: {left.Reason}"));
        }

        if (result.MissingRoles != 0)
        {
            options.Run.OnEvent?.Invoke(new ArrayEvent(
                ArrayEventLevel.Warning,
                $"Array {array.Name} starts without {BitOperations.PopCount(result.MissingRoles)} of {newest.MemberCount} members: replace what is missing."));
        }

        return await StartAsync(array, writeHole).ConfigureAwait(false);
    }

    /// <summary>Reads what drives hold. Changes nothing. A drive that cannot be read has a problem that says so.</summary>
    public static async Task<IReadOnlyList<DriveInspection>> InspectAsync(IReadOnlyList<IBlockDevice> drives, Reactor reactor)
    {
        ArgumentNullException.ThrowIfNull(drives);
        ArgumentNullException.ThrowIfNull(reactor);
        DriveInspection[] found = await Task.WhenAll(drives.Select(d => InspectAsync(d, reactor))).ConfigureAwait(false);
        return found;
    }

    /// <summary>Erases the superblocks of drives, so that they belong to no array. The data stays but is not found again.</summary>
    /// <param name="drives">Drives of stopped arrays.</param>
    /// <param name="uuid">Only drives of this array; null erases any.</param>
    /// <param name="reactor">Carries the I/O.</param>
    /// <returns>The drives that were erased.</returns>
    /// <exception cref="ArrayException">A drive could not be written.</exception>
    public static async Task<IReadOnlyList<IBlockDevice>> EraseAsync(IReadOnlyList<IBlockDevice> drives, Guid? uuid, Reactor reactor)
    {
        var erased = new List<IBlockDevice>();
        foreach (DriveInspection inspection in await InspectAsync(drives, reactor).ConfigureAwait(false))
        {
            if (inspection.Superblock is { } superblock && (uuid is null || superblock.ArrayUuid == uuid))
            {
                await EraseSlotsAsync(inspection.Drive, reactor).ConfigureAwait(false);
                erased.Add(inspection.Drive);
            }
        }

        return erased;
    }

    private static async Task<RaidArray> StartAsync(RaidArray array, bool writeHole)
    {
        try
        {
            await array.Control.StartAsync(writeHole).ConfigureAwait(false);
            return array;
        }
        catch
        {
            array.Control.Dispose();
            throw;
        }
    }

    private static RaidGeometry PlanGeometry(ArrayCreateOptions options, IReadOnlyList<IBlockDevice> drives)
    {
        if (SuperblockFormat.CheckName(options.Name) is { } nameError)
        {
            throw new ArrayException($"'{options.Name}' cannot be an array's name: {nameError}.");
        }

        if (drives.Distinct(ReferenceEqualityComparer.Instance).Count() != drives.Count)
        {
            throw new ArrayException("The same drive is given twice: every member needs a drive of its own.");
        }

        if (drives.FirstOrDefault(d => d.Limits.ReadOnly) is { } readOnly)
        {
            throw new ArrayException($"{readOnly.Name} is read-only: open it for writing.");
        }

        if (!RaidGeometry.TryCreate(options.Level, options.ChunkBytes, [.. drives.Select(d => d.SizeBytes)], out RaidGeometry? geometry, out string? error))
        {
            throw new ArrayException(error!);
        }

        if (options.SizeBytes is long size && (size <= 0 || size % 4096 != 0 || size > geometry!.Capacity))
        {
            throw new ArrayException($"A size of {size} bytes is not possible: use a multiple of 4096 up to {geometry!.Capacity}, which is what the drives give.");
        }

        return geometry!;
    }

    private static async Task RefuseForeignAsync(ArrayCreateOptions options, IReadOnlyList<IBlockDevice> drives, Reactor home)
    {
        if (options.Force)
        {
            return;
        }

        foreach (DriveInspection inspection in await InspectAsync(drives, home).ConfigureAwait(false))
        {
            string? found = inspection.Superblock is { } superblock ? $"it is a member of array '{superblock.Name}' ({superblock.ArrayUuid})"
                : inspection.ForeignSignatures.Count != 0 ? $"it holds {string.Join(", ", inspection.ForeignSignatures.Distinct())}"
                : inspection.Problem;
            if (found is not null)
            {
                throw new ArrayException(
                    $"{inspection.Drive.Name} cannot be taken: {found}. Nothing was written. To overwrite what is there, use --force.");
            }
        }
    }

    private static List<DriveInspection> Choose(ArrayAssembleOptions options, IReadOnlyList<DriveInspection> inspections)
    {
        List<DriveInspection> wanted = [.. inspections.Where(i => i.Superblock is { } s
            && (options.Uuid is null || s.ArrayUuid == options.Uuid) && (options.Name is null || s.Name == options.Name))];
        if (wanted.Count != 0)
        {
            return wanted;
        }

        string which = options.Name is not null ? $"array '{options.Name}'" : options.Uuid is not null ? $"array {options.Uuid}" : "any array";
        string others = string.Join(", ", inspections.Where(i => i.Superblock is not null).Select(i => $"'{i.Superblock!.Name}'").Distinct());
        throw new ArrayException(
            $"None of the {inspections.Count} drives belongs to {which}{(others.Length != 0 ? $" (found: {others})" : string.Empty)}: check the paths."
            + DescribeProblems(inspections));
    }

    /// <summary>Refuses what needs a decision. Returns whether data may be damaged all the same.</summary>
    private static bool CheckDegraded(ArrayAssembleOptions options, AssemblyResult result)
    {
        ArraySuperblock newest = result.Newest!;
        if (result.MissingRoles == 0)
        {
            return false;
        }

        int missing = BitOperations.PopCount(result.MissingRoles);
        if (!options.AllowDegraded)
        {
            throw new ArrayException(
                $"Array '{newest.Name}' lacks {missing} of {newest.MemberCount} members, and a degraded start was not allowed: connect what is missing.");
        }

        if (!result.Geometry!.HasParity || !newest.NeedsResync)
        {
            return false;
        }

        if (!options.Force)
        {
            throw new ArrayException(
                $"Array '{newest.Name}' was not stopped in order and lacks {missing} of {newest.MemberCount} members. Blocks of the missing "
                + "members that were being written when it stopped would be made from parity that may not match them. Connect the missing drives; "
                + "or use --force to start without them, and check the file systems afterwards.");
        }

        return true;
    }

    private static string DescribeProblems(IReadOnlyList<DriveInspection> inspections)
    {
        string[] problems = [.. inspections.Where(i => i.Superblock is null && i.Problem is not null).Select(i => $" {i.Drive.Name}: {i.Problem}.")];
        return string.Concat(problems);
    }

    private static async Task<DriveInspection> InspectAsync(IBlockDevice drive, Reactor reactor)
    {
        if (drive is NullDrive)
        {
            // It keeps nothing, and what it "reads" is whatever the buffer held.
            return new DriveInspection(drive, null, null, []);
        }

        try
        {
            return await ReadInspectionAsync(drive, reactor).ConfigureAwait(false);
        }
        catch (BlockIoException e)
        {
            // One dead drive among the candidates must not keep an array with redundancy from starting.
            return new DriveInspection(drive, null, $"it cannot be read ({BlockIo.DescribeErrno(e.Errno)})", []);
        }
    }

    private static async Task<DriveInspection> ReadInspectionAsync(IBlockDevice drive, Reactor reactor)
    {
        if (drive.SizeBytes < SuperblockFormat.MinDataOffset)
        {
            return new DriveInspection(drive, null, "it is too small for an array", []);
        }

        var slot0 = new byte[SuperblockFormat.SizeBytes];
        var slot1 = new byte[SuperblockFormat.SizeBytes];
        await BlockIo.ReadAsync(drive, reactor, SuperblockFormat.SlotOffset(0), slot0).ConfigureAwait(false);
        await BlockIo.ReadAsync(drive, reactor, SuperblockFormat.SlotOffset(1), slot1).ConfigureAwait(false);
        SuperblockResult parsed = SuperblockFormat.ParseSlots(slot0, slot1);
        if (parsed.Superblock is not null)
        {
            return new DriveInspection(drive, parsed.Superblock, null, []);
        }

        string? problem = parsed.Status == SuperblockStatus.Absent ? null : parsed.Error;

        IReadOnlyList<ForeignSignature> foreign = await ForeignSignatures.DetectAsync(
            drive.SizeBytes, (offset, buffer) => BlockIo.ReadAsync(drive, reactor, offset, buffer)).ConfigureAwait(false);
        return new DriveInspection(drive, null, problem, [.. foreign.Select(f => f.Name)]) { PartOf = foreign.FirstOrDefault(f => f.IsPart).Name };
    }

    private static async Task EraseSlotsAsync(IBlockDevice drive, Reactor reactor)
    {
        try
        {
            var zeroes = new byte[SuperblockFormat.SizeBytes];
            await BlockIo.WriteAsync(drive, reactor, SuperblockFormat.SlotOffset(0), zeroes).ConfigureAwait(false);
            await BlockIo.WriteAsync(drive, reactor, SuperblockFormat.SlotOffset(1), zeroes).ConfigureAwait(false);
            await BlockIo.FlushAsync(drive, reactor).ConfigureAwait(false);
        }
        catch (BlockIoException e)
        {
            throw new ArrayException($"{drive.Name} cannot be written: {e.Message}", e);
        }
    }
}
