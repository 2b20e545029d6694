// Looks at drives for superblocks without opening them as drives: plain reads take no lock, so that a scan neither disturbs a
// volume that is being served nor is hindered by it. What is no file and no block device is not opened at all: a FIFO would wait
// for its writer.

using Polyblk.Drives;
using Polyblk.Drives.Files;
using Polyblk.Host.Model;
using Polyblk.Raid;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>Finds arrays by their superblocks.</summary>
public static class ArrayScanner
{
    /// <summary>Looks at the given devices, files and directories; at every block device when none is given.</summary>
    /// <returns>One entry for each array, with its drives by role.</returns>
    public static async Task<IReadOnlyList<VolumeJson>> ScanAsync(
        IReadOnlyList<string> paths, Action<string> warn, CancellationToken cancellation)
    {
        bool everything = paths.Count == 0;
        var candidates = new List<AssemblyCandidate>();
        var seen = new HashSet<string>(StringComparer.Ordinal);
        foreach (string path in everything ? BlockDevices() : paths.SelectMany(Expand))
        {
            cancellation.ThrowIfCancellationRequested();
            if (seen.Add(DriveReader.IdentityOf(path) ?? path)
                && await ReadAsync(path, everything ? _ => { } : warn, cancellation).ConfigureAwait(false) is AssemblyCandidate candidate)
            {
                candidates.Add(candidate);
            }
        }

        return [.. candidates.GroupBy(c => c.Superblock.ArrayUuid).Select(array => Describe([.. array]))];
    }

    /// <summary>Every block device with a size, whole disks and partitions.</summary>
    private static IEnumerable<string> BlockDevices()
    {
        const string root = "/sys/class/block";
        return !Directory.Exists(root) ? [] : Directory.EnumerateDirectories(root)
            .Where(d => File.Exists(Path.Combine(d, "size")) && File.ReadAllText(Path.Combine(d, "size")).Trim() != "0")
            .Select(d => "/dev/" + Path.GetFileName(d).Replace('!', '/'))
            .Where(File.Exists)
            .Order(StringComparer.Ordinal);
    }

    private static IEnumerable<string> Expand(string path)
    {
        string plain = path.StartsWith("file:", StringComparison.Ordinal) ? path["file:".Length..].Split(',')[0] : path;

        // What lies in a directory and cannot be a drive is nobody's mistake; what is named is, and is told.
        return Directory.Exists(plain)
            ? Directory.EnumerateFiles(plain).Where(f => DriveReader.IdentityOf(f) is not null).Order(StringComparer.Ordinal)
            : [plain];
    }

    internal static async Task<AssemblyCandidate?> ReadAsync(string path, Action<string> warn, CancellationToken cancellation)
    {
        try
        {
            using DriveReader drive = DriveReader.Open(path);
            byte[]? slot0 = await TryReadSlotAsync(drive, 0, cancellation).ConfigureAwait(false);
            byte[]? slot1 = await TryReadSlotAsync(drive, 1, cancellation).ConfigureAwait(false);
            SuperblockResult result = SuperblockFormat.ParseSlots(slot0, slot1);
            if (slot0 is null || slot1 is null)
            {
                warn($"{Printable.Line(path)}: one of its superblocks, or both, cannot be read");
            }
            else if (result.Status is SuperblockStatus.Damaged or SuperblockStatus.Unsupported)
            {
                warn($"{Printable.Line(path)}: {result.Error}");
            }

            return result.Superblock is null
                ? null
                : new AssemblyCandidate(Path.GetFullPath(path), drive.SizeBytes, result.Superblock);
        }
        catch (DriveException e)
        {
            warn(e.Message);
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            warn($"{Printable.Line(path)} cannot be read: {e.Message}");
            return null;
        }
    }

    /// <summary>
    /// A slot, or null when the drive does not give it: the other one may be sound, as for the start of an array.
    /// </summary>
    private static async Task<byte[]?> TryReadSlotAsync(DriveReader drive, ulong slot, CancellationToken cancellation)
    {
        byte[] block = new byte[SuperblockFormat.SizeBytes];
        try
        {
            await drive.ReadAsync(SuperblockFormat.SlotOffset(slot), block, cancellation).ConfigureAwait(false);
            return block;
        }
        catch (IOException)
        {
            // The caller says so.
            return null;
        }
    }

    private static VolumeJson Describe(AssemblyCandidate[] members)
    {
        AssemblyResult result = ArrayAssembly.Assemble(members);
        ArraySuperblock newest = result.Newest ?? members[0].Superblock;
        ArrayJson array = DescribeArray(result, newest);
        return new VolumeJson
        {
            Name = newest.Name,
            Uuid = newest.ArrayUuid,
            Level = newest.Level.Name(),
            ChunkBytes = newest.Level == RaidLevel.Raid1 ? 0 : newest.ChunkSize,
            SizeBytes = newest.ExportedSize,
            Recorded = false,

            // Spares, which have no role, come last.
            Drives = [.. members.OrderBy(m => (uint)m.Superblock.Role).Select(m => m.Path)],
            Status = VolumeView.StoppedStatus,
            Health = array.Health,
            Array = array,
        };
    }

    private static ArrayJson DescribeArray(AssemblyResult result, ArraySuperblock newest) => new()
    {
        Health = result.Outcome == AssemblyOutcome.Refused ? Health.Failed : Healths.Of(
            result.Outcome == AssemblyOutcome.Degraded, result.RebuildingRoles != 0, result.NeedsResync, isResyncing: false),
        Problem = result.Error,
        Consistency = ConsistencyWord.Of(newest.Consistency, newest.Level),
        Checksums = newest.ChecksumOffset != 0,
        Resync = result.NeedsResync && result.Outcome != AssemblyOutcome.Refused
            ? new ProgressJson(result.ResyncFrom, newest.MemberDataSize, 0) { IsLeft = true } : null,
        Rebuild = result.RebuildingRoles != 0
            ? new ProgressJson(result.RebuildFrom, newest.MemberDataSize, 0) { IsLeft = true } : null,
        Check = ArrayStatusJson.Check(ScrubStatus.LastOf(newest)),
        Replacement = ReplacementOf(result, newest),
        Reshape = ReshapeOf(newest),
        Spares = [.. result.Spares.Where(s => s.Superblock.MemberUuid != ReplacingOf(result, newest)?.Spare).Select(s => s.Path)],
        OtherDrives = [.. OthersOf(result, newest)],
        Members = [.. MembersOf(result, newest)],
    };

    /// <summary>The spare that is to take the place of a drive that works, where both are here.</summary>
    private static SpareForRole? ReplacingOf(AssemblyResult result, ArraySuperblock newest) =>
        newest.Replacing is SpareForRole kept && result.Spares.Any(s => s.Superblock.MemberUuid == kept.Spare)
            && result.Members[kept.Role] is not null && newest.Members[kept.Role].State == MemberState.Present ? kept : null;

    private static ReplacementJson? ReplacementOf(AssemblyResult result, ArraySuperblock newest) =>
        ReplacingOf(result, newest) is not SpareForRole kept ? null : new ReplacementJson(
            kept.Role,
            result.Members[kept.Role]!.Path,
            result.Spares.First(s => s.Superblock.MemberUuid == kept.Spare).Path,
            new ProgressJson(0, newest.MemberDataOffset + newest.MemberDataSize, 0) { IsLeft = true });

    private static ReshapeJson? ReshapeOf(ArraySuperblock newest)
    {
        if (newest.Reshape is not { } reshape || reshape.Frontier >= newest.ArraySize)
        {
            return null;
        }

        // The frontier is one of the new geometry, of which every member has its share.
        long done = (long)((double)reshape.Frontier / newest.ArraySize * newest.MemberDataSize);
        return new ReshapeJson(
            reshape.OldMemberCount, newest.MemberCount, new ProgressJson(done, newest.MemberDataSize, 0) { IsLeft = true })
        {
            OldLevel = reshape.OldLevel.Name(),
            NewLevel = newest.Level.Name(),
            Redundancy = Math.Min(reshape.OldLevel.ParityCount(), newest.ParityCount),
        };
    }

    private static IEnumerable<MemberJson> MembersOf(AssemblyResult result, ArraySuperblock newest)
    {
        for (int role = 0; role < newest.MemberCount; role++)
        {
            AssemblyCandidate? used = role < result.Members.Length ? result.Members[role] : null;
            LeftOutMember? leftOut = result.LeftOut.FirstOrDefault(l => IsOf(l, newest, role));
            MemberEntry entry = newest.Members[role];
            MemberJson member = used is not null
                    ? new MemberJson(role, used.Path, entry.State == MemberState.Rebuilding ? MemberJson.Rebuilding : MemberJson.Present)
                : leftOut is not null ? new MemberJson(role, leftOut.Candidate.Path, MemberJson.LeftOut) { Problem = leftOut.Reason }
                : new MemberJson(role, null, "missing");
            yield return member with
            {
                Uuid = entry.Uuid == Guid.Empty ? null : entry.Uuid,
                Reason = used is null ? ArrayStatusJson.ReasonName(entry.Reason) : null,
                BadRanges = newest.BadRanges.CountOf(role),
                BadBytes = newest.BadBytesOf(role),
            };
        }
    }

    /// <summary>Drives of the array that are neither members nor spares: another one has their place.</summary>
    private static IEnumerable<OtherDriveJson> OthersOf(AssemblyResult result, ArraySuperblock newest) =>
        from leftOut in result.LeftOut
        where !Enumerable.Range(0, newest.MemberCount).Any(role => IsOf(leftOut, newest, role))
        select OtherDriveJson.LeftOut(leftOut.Candidate.Path, leftOut.Reason);

    /// <summary>Whether a drive that is left out is the member that the array knows in a role.</summary>
    private static bool IsOf(LeftOutMember leftOut, ArraySuperblock newest, int role) =>
        leftOut.Candidate.Superblock.Role == role && leftOut.Candidate.Superblock.MemberUuid == newest.Members[role].Uuid;
}
