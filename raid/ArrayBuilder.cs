// Making, starting and erasing arrays: the entry of the command line. Decisions about superblocks are pure and live in
// Superblock/; here they meet drives.

using System.Collections.Immutable;
using System.Numerics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;
using Polyblk.Raid.Reshape;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

/// <summary>Makes, finds, starts and erases arrays. Drives are always the caller's to dispose.</summary>
public static class ArrayBuilder
{
    /// <summary>How long a drive may take to show its superblock: longer than one needs to spin up.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Makes an array over the drives, in their order, and starts it. A new array whose drives are not known to be zero begins
    /// with a resync, in the background.
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
        ArrayConsistency consistency = ChooseConsistency(options, drives);
        RaidGeometry geometry = PlanGeometry(options, drives, consistency);
        await RefuseForeignAsync(options, drives, home);

        Guid[] uuids = [.. drives.Select(_ => options.NewUuid())];
        bool redundant = geometry.HasParity || geometry.CopyCount > 1;
        bool zeroed = options.AssumeZeroed || drives.All(d => d.Limits.KeepsNothing);
        DateTimeOffset now = options.Run.Clock.GetUtcNow();
        var superblock = new ArraySuperblock
        {
            ArrayUuid = options.NewUuid(),
            MemberUuid = uuids[0],
            Name = options.Name,
            Level = options.Level,
            ParityCount = geometry.ParityCount,
            GroupCount = geometry.GroupCount,
            Incompatible = SuperblockFormat.FeaturesOf(options.Level)
                | (options.Checksums ? IncompatibleFeatures.Checksums : IncompatibleFeatures.None),
            ChecksumOffset = options.Checksums ? geometry.DataOffset + geometry.MemberDataSize : 0,
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
            LogicalBlockSize = drives.Max(d => d.Limits.LogicalBlockSize),
            Consistency = consistency,
            TrustsUnsynced = consistency == ArrayConsistency.Journal,
            Forks = ForkHistory.From(1),
            Host = options.Run.HostName,
            Members = [.. uuids.Select(u => new MemberEntry(u, MemberState.Present))],
        };

        // All of them before the first is written: no member of an older array is left beside those of the new one.
        foreach (IBlockDevice drive in drives)
        {
            // Drives that are known to be zero hold nothing; without force the drives were found to hold nothing.
            await (options is { Force: true, AssumeZeroed: false }
                ? DriveEraser.EraseAllAsync(drive, geometry.DataOffset, home)
                : MemberSlots.EraseAsync(drive, home, options.Run.Clock));
        }

        // What the first resync has not come to holds nothing that anybody has written.
        var start = new RaidStart(redundant && !zeroed ? 0 : long.MaxValue, superblock.LogicalBlockSize, ReadOnly: false)
        {
            TrustsUnsynced = superblock.TrustsUnsynced,
        };
        var sums = ArrayChecksums.Of(superblock, home, options.Run);
        try
        {
            var members = new RaidMember[drives.Count];
            for (int role = 0; role < members.Length; role++)
            {
                members[role] = new RaidMember(role, drives[role], uuids[role])
                {
                    Sums = sums is null ? null : await sums.FormatAsync(drives[role], role, uuids[role]),
                };
            }

            var array = new RaidArray(superblock, geometry, new ArrayMap(0, [.. members], []), home, options.Run, start, sums);
            await array.Control.StartAsync(isNew: true, mayBeDamaged: false, []);
            return array;
        }
        catch when (sums is not null)
        {
            await sums.CloseAllAsync(_ => false);
            throw;
        }
    }

    /// <summary>
    /// Sees whether <see cref="CreateAsync"/> would make an array, as far as that can be told without its drives. Writes nothing.
    /// </summary>
    /// <param name="options">What array.</param>
    /// <param name="drives">Its drives that are there; they may be open for reading only.</param>
    /// <param name="furtherBytes">The sizes in bytes of those that are made for it.</param>
    /// <param name="home">Carries the reads.</param>
    /// <exception cref="ArrayException">It cannot be made; the message says why.</exception>
    public static async Task CheckCreateAsync(
        ArrayCreateOptions options, IReadOnlyList<IBlockDevice> drives, IReadOnlyList<long> furtherBytes, Reactor home)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(drives);
        ArgumentNullException.ThrowIfNull(furtherBytes);
        ArgumentNullException.ThrowIfNull(home);
        _ = PlanGeometry(options, [.. drives.Select(d => d.SizeBytes), .. furtherBytes], ChooseConsistency(options, drives));
        await RefuseForeignAsync(options, drives, home);
    }

    /// <summary>
    /// Starts an array from the drives that belong to it; other drives may be among them. Writes nothing: the superblocks stay
    /// what they are until a consumer writes, a resync begins or a member fails.
    /// </summary>
    /// <param name="options">Which array, and what is allowed.</param>
    /// <param name="candidates">Drives to look at.</param>
    /// <param name="home">Carries the superblock writes and the resync; must outlive the array.</param>
    /// <exception cref="ArrayException">
    /// It cannot be started, or not without more leave (<see cref="ArrayAssembleOptions"/>).
    /// </exception>
    public static async Task<RaidArray> AssembleAsync(ArrayAssembleOptions options, IReadOnlyList<IBlockDevice> candidates, Reactor home)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(candidates);
        ArgumentNullException.ThrowIfNull(home);
        IReadOnlyList<DriveInspection> inspections = await InspectAsync(candidates, home, options.Run.Clock);
        List<DriveInspection> wanted = Choose(options, inspections);
        var byCandidate = new Dictionary<AssemblyCandidate, IBlockDevice>(ReferenceEqualityComparer.Instance);
        foreach (DriveInspection inspection in wanted)
        {
            byCandidate.Add(new AssemblyCandidate(inspection.Drive.Name, inspection.Drive.SizeBytes, inspection.Superblock!), inspection.Drive);
        }

        AssemblyResult result = ArrayAssembly.Assemble([.. byCandidate.Keys]);
        string problems = DescribeProblems(inspections, wanted);
        if (result.Outcome == AssemblyOutcome.Refused && !result.IsTooFew)
        {
            throw new ArrayException(result.Error! + problems);
        }

        AssemblyPermit.Check(options, result, problems);
        var sums = ArrayChecksums.Of(result.Newest!, home, options.Run);
        try
        {
            return await AssembleAsync(options, home, result, byCandidate, wanted, problems, sums);
        }
        catch when (sums is not null)
        {
            await sums.CloseAllAsync(_ => false);
            throw;
        }
    }

    private static async Task<RaidArray> AssembleAsync(
        ArrayAssembleOptions options,
        Reactor home,
        AssemblyResult result,
        Dictionary<AssemblyCandidate, IBlockDevice> byCandidate,
        List<DriveInspection> inspections,
        string problems,
        ArrayChecksums? sums)
    {
        ArraySuperblock newest = result.Newest!;
        bool isReadOnly = options.ReadOnly
            || result.Members.Any(c => c is not null && byCandidate[c].Limits.ReadOnly);
        var members = new RaidMember[newest.MemberCount];
        for (int role = 0; role < members.Length; role++)
        {
            AssemblyCandidate? candidate = result.Members[role];
            IBlockDevice? drive = candidate is not null ? byCandidate[candidate]
                : result.IsTooFew ? new AbsentDrive(newest.MemberDataOffset + newest.MemberDataSize) : null;
            MemberEntry entry = newest.Members[role];
            members[role] = new RaidMember(role, drive, entry.Uuid)
            {
                Sums = sums is null || candidate is null ? null : await sums.OpenAsync(drive!, role, entry.Uuid, isReadOnly),
                Sequence = candidate?.Superblock.Sequence ?? 0,
                OutSinceEvent = entry.EventCount,
                WhyOut = candidate is not null ? OutReason.Errors : entry.State == MemberState.Failed ? entry.Reason : OutReason.Absent,
            };
            members[role].OwnSlots.Unread = inspections.Find(i => ReferenceEquals(i.Drive, drive))?.UnreadSlots ?? 0;
        }

        RaidGeometry geometry = result.Geometry!;
        JournalReplayResult? replayed = !isReadOnly && !options.IsInSync && !result.IsTooFew && JournalReplay.IsNeeded(newest)
            ? await ReplayAsync(
                newest, geometry, [.. members.Select(m => m.Way)], result.RebuildingRoles, home, options.Run.Clock)
            : null;
        bool trusts = newest.TrustsUnsynced
            && (replayed is { Doubtful.IsEmpty: true, Unreadable: 0 } || options.IsInSync || !JournalReplay.IsNeeded(newest));
        bool canResync = result.NeedsResync && !options.IsInSync
            && (geometry.Level == RaidLevel.Raid10
                || (ReshapeMap.UnderWay(newest)?.HasRedundancyLeft(result.MissingRoles)
                    ?? geometry.HasRedundancyLeft(result.MissingRoles)));
        var start = new RaidStart(
            !canResync ? long.MaxValue : (newest.State & ArrayStateFlags.Dirty) != 0 ? 0 : result.ResyncFrom,
            AssemblyPermit.BlockSize(options, result, members.Where(m => !m.IsAbsent).Select(m => m.Drive!)),
            isReadOnly)
        {
            TrustsUnsynced = trusts,
            RebuildingMask = result.RebuildingRoles,
            RebuiltBytes = result.RebuildFrom,
        };
        var map = new ArrayMap(0, [.. members], [.. result.Spares.Select(s => new SpareDrive(byCandidate[s], s.Superblock.MemberUuid))]);
        var array = new RaidArray(newest, geometry, map, home, options.Run, start, sums);
        foreach (JournalRecord row in replayed?.Doubtful ?? [])
        {
            array.State.PutInDoubt(row.Row, row.From, row.To);
        }

        foreach (RefusedParity parity in replayed?.Refused ?? [])
        {
            if (array.State.TryAddBad(parity.Record.Row, parity.Record.Row, 1UL << parity.Role) != BadOutcome.Recorded)
            {
                array.State.PutInDoubt(parity.Record.Row, parity.Record.From, parity.Record.To);
            }
        }

        Tell(options.Run, array, result, problems, replayed);
        bool mayBeDamaged = !options.IsInSync && (result.MissingRoles | result.RebuildingRoles) != 0 && geometry.HasParity && newest.NeedsResync
            && (!trusts || newest.MayHaveTornRows);
        mayBeDamaged |= !options.IsInSync && geometry.HasParity && (newest.State & ArrayStateFlags.Dirty) != 0
            && (!trusts || newest.MayHaveTornRows) && HasMarkedBadRows(array);
        await array.Control.StartAsync(
            isNew: false, mayBeDamaged, result.Returning.Select(r => new ReturningDrive(r.Superblock, byCandidate[r])));
        if (newest.Reshape is not null && !array.TracksDirt && !options.ReadOnly)
        {
            await MakeFrontierDurableAsync(array);
        }

        return array;
    }

    /// <summary>
    /// The frontier that was found may be in a drive's cache only, since a kill, and writes go by it. Arrays with marks write
    /// superblocks before the first of them anyway.
    /// </summary>
    private static async Task MakeFrontierDurableAsync(RaidArray array)
    {
        try
        {
            await array.Control.RecordAsync();
        }
        catch
        {
            await array.DisposeAsync();
            throw;
        }
    }

    /// <summary>Whether members have places that they could not write where something may have been cut off.</summary>
    private static bool HasMarkedBadRows(RaidArray array)
    {
        RaidGeometry geometry = array.Geometry;
        return array.State.Bad.Entries.Any(IsMarked);

        bool IsMarked(BadRange bad)
        {
            long first = RaidUnits.VolumeOffset(geometry, RaidUnits.OfMemberRow(geometry, bad.Role, bad.Row));
            long last = RaidUnits.VolumeOffset(geometry, RaidUnits.OfMemberRow(geometry, bad.Role, bad.End - 1));
            return array.Intent is not { } intent || intent.IsMarked(first, last + geometry.StripeDataSize - first);
        }
    }

    /// <summary>Of an array that is being reshaped, the rows of each geometry have records of their own.</summary>
    private static async Task<JournalReplayResult> ReplayAsync(
        ArraySuperblock newest, RaidGeometry geometry, IBlockDevice?[] drives, ulong rebuilding, Reactor home, TimeProvider clock)
    {
        JournalReplayResult total = JournalReplayResult.None;
        foreach (JournalPart part in newest.Reshape is { } reshape ? ReshapeMap.Of(newest).JournalParts(reshape.Frontier) : [JournalPart.AllOf(geometry)])
        {
            JournalReplayResult one = await JournalReplay.RunAsync(newest, part, drives[..part.Geometry.MemberCount], rebuilding, home, clock);
            total = new JournalReplayResult(
                total.Rows + one.Rows, total.Mended + one.Mended, total.Doubtful.AddRange(one.Doubtful), total.Unreadable + one.Unreadable,
                total.Refused.AddRange(one.Refused));
        }

        return total;
    }

    private static void Tell(ArrayRunOptions run, RaidArray array, AssemblyResult result, string problems, JournalReplayResult? replayed)
    {
        void Report(ArrayEvent e) => run.OnEvent?.Invoke(e with { Array = array.Name });

        foreach (LeftOutMember left in result.LeftOut)
        {
            Report(new ArrayEvent(ArrayEventKind.MemberLeftOut)
            {
                Role = left.Candidate.Superblock.Role, Drive = left.Candidate.Path, Reason = left.Reason,
            });
        }

        if (problems.Length != 0)
        {
            Report(new ArrayEvent(ArrayEventKind.StartProblem) { Reason = problems });
        }

        if (replayed is { Mended: > 0 })
        {
            Report(new ArrayEvent(ArrayEventKind.JournalReplayed) { Count = replayed.Mended });
        }

        if (replayed is { Unreadable: > 0 } or { Doubtful.Length: > 0 })
        {
            Report(new ArrayEvent(ArrayEventKind.JournalDamaged) { Count = replayed.Doubtful.Length, Of = replayed.Unreadable });
        }

        if (result.MissingRoles != 0)
        {
            int missing = BitOperations.PopCount(result.MissingRoles);
            Report(new ArrayEvent(ArrayEventKind.Degraded) { Count = missing, Of = array.Members.Length, IsAtStart = true });
        }
    }

    /// <summary>Reads what drives hold. Changes nothing. A drive that cannot be read has a problem that says so.</summary>
    /// <param name="drives">The drives.</param>
    /// <param name="reactor">Carries the I/O.</param>
    /// <param name="clock">By which a drive that does not answer for half a minute is given up; null is the system's.</param>
    public static async Task<IReadOnlyList<DriveInspection>> InspectAsync(
        IReadOnlyList<IBlockDevice> drives, Reactor reactor, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(drives);
        ArgumentNullException.ThrowIfNull(reactor);
        clock ??= TimeProvider.System;
        DriveInspection[] found = await Task.WhenAll(drives.Select(d => InspectAsync(d, reactor, clock)));
        return found;
    }

    /// <summary>
    /// Erases the superblocks of drives, so that they belong to no array. The data stays but is not found again.
    /// </summary>
    /// <param name="drives">Drives of stopped arrays.</param>
    /// <param name="uuid">Only drives of this array; null erases any.</param>
    /// <param name="reactor">Carries the I/O.</param>
    /// <returns>The drives that were erased.</returns>
    /// <exception cref="ArrayException">A drive could not be written.</exception>
    public static async Task<IReadOnlyList<IBlockDevice>> EraseAsync(IReadOnlyList<IBlockDevice> drives, Guid? uuid, Reactor reactor)
    {
        var erased = new List<IBlockDevice>();
        foreach (DriveInspection inspection in await InspectAsync(drives, reactor))
        {
            if (inspection.Superblock is { } superblock && (uuid is null || superblock.ArrayUuid == uuid))
            {
                await MemberSlots.EraseAsync(inspection.Drive, reactor, TimeProvider.System);
                erased.Add(inspection.Drive);
            }
        }

        return erased;
    }

    private static ArrayConsistency ChooseConsistency(ArrayCreateOptions options, IReadOnlyList<IBlockDevice> drives)
    {
        bool hasParity = options.Level.ParityCount() > 0;
        bool isRedundant = hasParity || options.Level is RaidLevel.Raid1 or RaidLevel.Raid10;
        bool isEphemeral = drives.Any(d => d.Limits.IsEphemeral);
        if (options.Consistency is { } wanted and not ArrayConsistency.Unrecorded)
        {
            return WhyNot(wanted, options.Level, isEphemeral) is { } why ? throw new ArrayException(why) : wanted;
        }

        return !isRedundant ? ArrayConsistency.Unrecorded
            : hasParity && !isEphemeral ? ArrayConsistency.Journal
            : ArrayConsistency.Bitmap;
    }

    /// <summary>Why an array cannot be put right in a way, and what to do; null where it can.</summary>
    /// <param name="consistency">The way.</param>
    /// <param name="level">The array's level.</param>
    /// <param name="isEphemeral">Whether drives end with the process.</param>
    internal static string? WhyNot(ArrayConsistency consistency, RaidLevel level, bool isEphemeral) => (consistency, level) switch
    {
        (_, RaidLevel.Raid0) => $"{level.Name()} has no redundancy that could disagree after a crash: leave the consistency out.",
        (ArrayConsistency.Journal, RaidLevel.Raid1 or RaidLevel.Raid10) =>
            $"{level.Name()} needs no journal: its copies are made equal after a crash. Use bitmap, or leave the consistency out.",
        (ArrayConsistency.Journal, _) when isEphemeral =>
            "What these drives hold ends with the process, and a journal with it: use bitmap, or leave the consistency out.",
        _ => null,
    };

    private static RaidGeometry PlanGeometry(ArrayCreateOptions options, IReadOnlyList<IBlockDevice> drives, ArrayConsistency consistency)
    {
        if (drives.Distinct(ReferenceEqualityComparer.Instance).Count() != drives.Count)
        {
            throw new ArrayException("The same drive is given twice: every member needs a drive of its own.");
        }

        if (options.Checksums && drives.FirstOrDefault(d => d.Limits.KeepsNothing) is { } nothing)
        {
            throw new ArrayException($"{nothing.Name} keeps nothing that could be checked: leave the checksums out.");
        }

        if (drives.FirstOrDefault(d => d.Limits.ReadOnly) is { } readOnly)
        {
            throw new ArrayException($"{readOnly.Name} is read-only: open it for writing.");
        }

        return PlanGeometry(options, [.. drives.Select(d => d.SizeBytes)], consistency);
    }

    private static RaidGeometry PlanGeometry(ArrayCreateOptions options, long[] sizes, ArrayConsistency consistency)
    {
        if (SuperblockFormat.CheckName(options.Name) is { } nameError)
        {
            throw new ArrayException($"'{options.Name}' cannot be an array's name: {nameError}.");
        }

        long dataOffset = consistency == ArrayConsistency.Journal && sizes.Length != 0
            ? JournalLayout.DataOffsetFor(sizes.Min())
            : RaidGeometry.DefaultDataOffset;
        if (options.Checksums)
        {
            sizes = [.. sizes.Select(size => ChecksumLayout.BytesWithoutArea(size, dataOffset))];
        }

        bool isPossible = RaidGeometry.TryCreate(
            options.Level, options.ChunkBytes, sizes, out RaidGeometry? geometry, out string? error, dataOffset, options.Groups ?? 0);
        if (!isPossible)
        {
            throw new ArrayException(error!);
        }

        if (options.SizeBytes is long size && (size <= 0 || size % 4096 != 0 || size > geometry!.Capacity))
        {
            throw new ArrayException($"A size of {size} bytes is not possible: use a multiple of 4096 up to {geometry!.Capacity}, which is what the drives give.");
        }

        return geometry!;
    }

    private static Task RefuseForeignAsync(ArrayCreateOptions options, IReadOnlyList<IBlockDevice> drives, Reactor home) =>
        options.Force ? Task.CompletedTask : RefuseForeignAsync(drives, home, options.Run.Clock);

    /// <summary>Refuses drives that hold something. Reads only.</summary>
    /// <param name="drives">The drives.</param>
    /// <param name="home">Carries the reads.</param>
    /// <param name="clock">As of <see cref="InspectAsync(IReadOnlyList{IBlockDevice}, Reactor, TimeProvider?)"/>.</param>
    /// <exception cref="ArrayException">One does; the message says what.</exception>
    public static async Task RefuseForeignAsync(IReadOnlyList<IBlockDevice> drives, Reactor home, TimeProvider? clock = null)
    {
        foreach (DriveInspection inspection in await InspectAsync(drives, home, clock))
        {
            RefuseWhatIsThere(inspection);
        }
    }

    /// <summary>Refuses a drive that holds something.</summary>
    /// <exception cref="ArrayException">It does; the message says what.</exception>
    internal static void RefuseWhatIsThere(DriveInspection inspection)
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
            + DescribeProblems(inspections, []));
    }

    /// <summary>What is wrong with drives, and which are none of the wanted: a sentence each, with a blank before it.</summary>
    private static string DescribeProblems(IReadOnlyList<DriveInspection> inspections, IReadOnlyList<DriveInspection> wanted)
    {
        IEnumerable<string> problems =
            from inspection in inspections
            let what = inspection.Problem
                ?? (wanted.Contains(inspection) ? null
                    : inspection.Superblock is { } other ? $"it is a member of array '{other.Name}' ({other.ArrayUuid})"
                    : wanted.Count == 0 && inspection.ForeignSignatures.Count == 0 ? null
                    : $"it is no member of an array{string.Concat(inspection.ForeignSignatures.Select(f => $"; it holds {f}"))}")
            where what is not null
            select $" {inspection.Drive.Name}: {what}.";
        return string.Concat(problems);
    }

    internal static async Task<DriveInspection> InspectAsync(IBlockDevice drive, Reactor reactor, TimeProvider clock)
    {
        if (drive.Limits.KeepsNothing)
        {
            // It keeps nothing, and what it "reads" is whatever the buffer held.
            return new DriveInspection(drive, null, null, []);
        }

        try
        {
            return await ReadInspectionAsync(drive, reactor).WaitAsync(Patience, clock);
        }
        catch (TimeoutException)
        {
            // What was asked of it stays with it; nothing waits for that.
            return new DriveInspection(
                drive, null, $"it has not answered a read for {Patience.TotalSeconds} s: check the drive and its cable", []);
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

        byte[]? slot0 = await MemberSlots.TryReadAsync(drive, reactor, 0);
        byte[]? slot1 = await MemberSlots.TryReadAsync(drive, reactor, 1);
        SuperblockResult parsed = SuperblockFormat.ParseSlots(slot0, slot1);
        string? unreadable = (slot0, slot1) switch
        {
            (null, null) => "its superblocks cannot be read",
            (null, _) => "its first superblock cannot be read",
            (_, null) => "its second superblock cannot be read",
            _ => null,
        };
        if (parsed.Superblock is not null)
        {
            string? note = unreadable is null ? null : $"{unreadable}; the next update writes it anew";
            return new DriveInspection(drive, parsed.Superblock, note, [])
            {
                UnreadSlots = (slot0 is null ? 1 : 0) | (slot1 is null ? 2 : 0),
            };
        }

        if (unreadable is not null)
        {
            return new DriveInspection(drive, null, unreadable, []);
        }

        string? problem = parsed.Status == SuperblockStatus.Absent ? null : parsed.Error;

        IReadOnlyList<ForeignSignature> foreign = await ForeignSignatures.DetectAsync(
            drive.SizeBytes, (offset, buffer) => BlockIo.ReadAsync(drive, reactor, offset, buffer));
        return new DriveInspection(drive, null, problem, [.. foreign.Select(f => f.Name)]) { PartOf = foreign.FirstOrDefault(f => f.IsPart).Name };
    }
}
