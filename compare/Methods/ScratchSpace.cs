// The place where a comparison keeps its files: one directory with the process's id in its name, removed at the end. What an
// earlier run left behind because it was killed is removed at the start of the next one (Leftovers.cs).

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Machine;

namespace Polyblk.Compare.Methods;

/// <summary>A temporary directory with room for the members, and the processors that the two sides use.</summary>
public sealed class ScratchSpace : IDisposable
{
    internal const string Prefix = "polyblk-compare-";

    private readonly OwnedFolder _folder;

    private ScratchSpace(OwnedFolder folder, string reason)
    {
        _folder = folder;
        Reason = reason;
    }

    /// <summary>The directory.</summary>
    public string Directory => _folder.Path;

    /// <summary>Why it is there, for the report.</summary>
    public string Reason { get; }

    /// <summary>Whether the files lie in memory.</summary>
    public bool IsInMemory => Directory.StartsWith("/dev/shm/", StringComparison.Ordinal);

    /// <summary>State directory of the servers of this comparison.</summary>
    public string StateDirectory => PathOf("state");

    /// <summary>Processors of the targets.</summary>
    public required IReadOnlyList<int> TargetCpus { get; init; }

    /// <summary>Processors of the load.</summary>
    public required IReadOnlyList<int> LoadCpus { get; init; }

    /// <summary>Bytes of each member file.</summary>
    public required long MemberBytes { get; init; }

    /// <summary>Members of the volume, whatever its level.</summary>
    public required int Members { get; init; }

    /// <summary>The volume of the user that is measured; null where scratch volumes are made here.</summary>
    public ComparedVolume? Volume { get; init; }

    /// <summary>Bytes that every target offers to the load, so that all work on equally much.</summary>
    public long SpanBytes => Volume?.SpanBytes ?? MemberBytes - (16 << 20);

    /// <summary>
    /// Makes the directory in <paramref name="wanted"/>, or where there is room: memory first, since disks of a shared machine
    /// tell little.
    /// </summary>
    /// <param name="wanted">Where the user wants it; null for the first place that has room.</param>
    /// <param name="memberBytes">Bytes of a member.</param>
    /// <param name="members">Members of a volume.</param>
    /// <param name="files">Member-sized files that all methods together will make.</param>
    /// <param name="targetCpus">Processors of the targets.</param>
    /// <param name="loadCpus">Processors of the load.</param>
    /// <exception cref="MethodException">There is no room.</exception>
    public static ScratchSpace Create(string? wanted, long memberBytes, int members, int files, IReadOnlyList<int> targetCpus, IReadOnlyList<int> loadCpus)
    {
        if (wanted is not null && !System.IO.Directory.Exists(wanted))
        {
            throw new MethodException(
                $"There is no directory {wanted} for the scratch files: make it, or name another with --dir.");
        }

        long needed = memberBytes * files;
        string[] places = [.. Places(wanted)];
        foreach (string place in places)
        {
            if (System.IO.Directory.Exists(place) && Room(place) >= needed)
            {
                string reason = place == "/dev/shm" ? "files in memory: the drives are not what is compared" : "files on disk";
                return new ScratchSpace(OwnedFolder.Create(place, Prefix), reason) { TargetCpus = targetCpus, LoadCpus = loadCpus, MemberBytes = memberBytes, Members = members };
            }
        }

        throw new MethodException(
            $"There is no room for the scratch files: {ByteSize.FormatRounded(needed)} are needed in {string.Join(" or ", places)}. "
            + "Name another place with --dir, or make the members smaller with --member-size.");
    }

    /// <summary>A directory for the sockets and records of the servers of a volume that exists.</summary>
    public static ScratchSpace ForVolume(ComparedVolume volume, IReadOnlyList<int> targetCpus, IReadOnlyList<int> loadCpus)
    {
        ArgumentNullException.ThrowIfNull(volume);
        return new ScratchSpace(OwnedFolder.Create(Places(null).First(System.IO.Directory.Exists), Prefix), $"the drives of the volume '{volume.Name}'")
        {
            TargetCpus = targetCpus, LoadCpus = loadCpus, MemberBytes = volume.SizeBytes, Members = volume.Members, Volume = volume,
        };
    }

    /// <summary>Where a directory may be, the best place first.</summary>
    internal static IEnumerable<string> Places(string? wanted) =>
        wanted is not null ? [Path.GetFullPath(wanted)] : ["/dev/shm", "/var/tmp", Path.GetTempPath().TrimEnd('/')];

    /// <summary>A path in the directory.</summary>
    public string PathOf(string name) => Path.Combine(Directory, name);

    public void Dispose() => _folder.Dispose();

    private static long Room(string place)
    {
        long room = new DriveInfo(place).AvailableFreeSpace;
        return place == "/dev/shm" ? Math.Min(room, AvailableMemory() / 2) : room;
    }

    private static long AvailableMemory()
    {
        string? line = File.ReadLines("/proc/meminfo").FirstOrDefault(l => l.StartsWith("MemAvailable:", StringComparison.Ordinal));
        return line is null ? 0 : long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }
}
