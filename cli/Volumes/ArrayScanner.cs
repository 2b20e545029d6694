// Looks at drives for superblocks without opening them as drives: plain reads take no lock, so that a scan neither disturbs a volume that is
// being served nor is hindered by it.

using Polyblk.Cli.Output;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Cli.Volumes;

/// <summary>Finds arrays by their superblocks.</summary>
internal static class ArrayScanner
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
            if (seen.Add(DriveList.RealPath(path))
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
        return Directory.Exists(plain) ? Directory.EnumerateFiles(plain).Order(StringComparer.Ordinal) : [plain];
    }

    private static async Task<AssemblyCandidate?> ReadAsync(string path, Action<string> warn, CancellationToken cancellation)
    {
        try
        {
            // FileShare.ReadWrite: the framework takes no lock then.
            using var handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            byte[] slot0 = new byte[SuperblockFormat.SizeBytes];
            byte[] slot1 = new byte[SuperblockFormat.SizeBytes];
            await RandomAccess.ReadAsync(handle, slot0, 0, cancellation).ConfigureAwait(false);
            await RandomAccess.ReadAsync(handle, slot1, SuperblockFormat.SecondSlotOffset, cancellation).ConfigureAwait(false);
            SuperblockResult result = SuperblockFormat.ParseSlots(slot0, slot1);
            if (result.Status is SuperblockStatus.Damaged or SuperblockStatus.Unsupported)
            {
                warn($"{path}: {result.Error}");
            }

            long size = DeviceSize(path) ?? RandomAccess.GetLength(handle);
            return result.Superblock is null ? null : new AssemblyCandidate(Path.GetFullPath(path), size, result.Superblock);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            warn($"{path} cannot be read: {e.Message}");
            return null;
        }
    }

    /// <summary>Size of a block device by sysfs (in units of 512 bytes); null for files.</summary>
    private static long? DeviceSize(string path)
    {
        string attribute = $"/sys/class/block/{Path.GetFileName(DriveList.RealPath(path))}/size";
        return DriveList.RealPath(path).StartsWith("/dev/", StringComparison.Ordinal) && File.Exists(attribute)
            && long.TryParse(File.ReadAllText(attribute).Trim(), out long sectors) ? sectors * 512 : null;
    }

    private static VolumeJson Describe(AssemblyCandidate[] members)
    {
        AssemblyResult result = ArrayAssembly.Assemble(members);
        ArraySuperblock newest = result.Newest ?? members[0].Superblock;
        return new VolumeJson
        {
            Name = newest.Name,
            Uuid = newest.ArrayUuid,
            Level = newest.Level.Name(),
            ChunkBytes = newest.Level == RaidLevel.Raid1 ? 0 : newest.ChunkSize,
            SizeBytes = newest.ExportedSize,
            Recorded = false,
            Drives = [.. members.OrderBy(m => m.Superblock.Role).Select(m => m.Path)],
            Status = VolumeView.StoppedStatus,
            Array = new ArrayJson
            {
                State = result.Outcome switch
                {
                    AssemblyOutcome.Refused => "failed",
                    AssemblyOutcome.Degraded => result.NeedsResync ? "degraded, dirty" : "degraded",
                    _ => result.NeedsResync ? "dirty" : "clean",
                },
                Problem = result.Error,
                Members = [.. MembersOf(result, newest)],
            },
        };
    }

    private static IEnumerable<MemberJson> MembersOf(AssemblyResult result, ArraySuperblock newest)
    {
        for (int role = 0; role < newest.MemberCount; role++)
        {
            AssemblyCandidate? used = role < result.Members.Length ? result.Members[role] : null;
            LeftOutMember? leftOut = result.LeftOut.FirstOrDefault(l => l.Candidate.Superblock.Role == role);
            yield return used is not null ? new MemberJson(role, used.Path, "present")
                : leftOut is not null ? new MemberJson(role, leftOut.Candidate.Path, $"left out: {leftOut.Reason}")
                : new MemberJson(role, null, "missing");
        }
    }
}
