// The place where a comparison keeps its files: one directory with the process's id in its name, removed at the end. What an earlier run
// left behind because it was killed is removed at the start of the next one.

using System.Globalization;
using Polyblk.Core.Block;

namespace Polyblk.Compare.Methods;

/// <summary>A temporary directory with room for the members, and the processors that the two sides use.</summary>
public sealed class ScratchSpace : IDisposable
{
    private const string Prefix = "polyblk-compare-";

    private ScratchSpace(string directory, string reason)
    {
        Directory = directory;
        Reason = reason;
    }

    /// <summary>The directory.</summary>
    public string Directory { get; }

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

    /// <summary>Member files of the RAID-5 volume.</summary>
    public required int Members { get; init; }

    /// <summary>Bytes that every target offers to the load, so that all work on equally much.</summary>
    public long SpanBytes => MemberBytes - (16 << 20);

    /// <summary>Makes the directory in <paramref name="wanted"/>, or where there is room: memory first, since disks of a shared machine tell little.</summary>
    /// <param name="wanted">Where the user wants it; null for the first place that has room.</param>
    /// <param name="memberBytes">Bytes of a member.</param>
    /// <param name="members">Members of a volume.</param>
    /// <param name="files">Member-sized files that all methods together will make.</param>
    /// <param name="targetCpus">Processors of the targets.</param>
    /// <param name="loadCpus">Processors of the load.</param>
    /// <exception cref="MethodException">There is no room.</exception>
    public static ScratchSpace Create(string? wanted, long memberBytes, int members, int files, IReadOnlyList<int> targetCpus, IReadOnlyList<int> loadCpus)
    {
        long needed = memberBytes * files;
        string[] places = wanted is not null ? [Path.GetFullPath(wanted)] : ["/dev/shm", "/var/tmp", Path.GetTempPath()];
        foreach (string place in places)
        {
            if (System.IO.Directory.Exists(place) && Room(place) >= needed)
            {
                RemoveStale(place);
                string directory = Path.Combine(place, Prefix + Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
                System.IO.Directory.CreateDirectory(directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
                string reason = place == "/dev/shm" ? "files in memory: the drives are not what is compared" : "files on disk";
                return new ScratchSpace(directory, reason) { TargetCpus = targetCpus, LoadCpus = loadCpus, MemberBytes = memberBytes, Members = members };
            }
        }

        throw new MethodException(
            $"There is no room for the scratch files: {ByteSize.FormatRounded(needed)} are needed in {string.Join(" or ", places)}. "
            + "Name another place with --dir, or make the members smaller with --member-size.");
    }

    /// <summary>A path in the directory.</summary>
    public string PathOf(string name) => Path.Combine(Directory, name);

    public void Dispose()
    {
        if (System.IO.Directory.Exists(Directory))
        {
            System.IO.Directory.Delete(Directory, recursive: true);
        }
    }

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

    private static void RemoveStale(string place)
    {
        foreach (string directory in System.IO.Directory.EnumerateDirectories(place, Prefix + "*"))
        {
            bool isDead = int.TryParse(Path.GetFileName(directory)[Prefix.Length..], out int pid) && !System.IO.Directory.Exists($"/proc/{pid}");
            if (isDead)
            {
                System.IO.Directory.Delete(directory, recursive: true);
            }
        }
    }
}
