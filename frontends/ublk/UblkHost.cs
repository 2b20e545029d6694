// What the host knows about ublk devices beyond the control device: who uses one, and what lies on one. All from /proc, /sys and
// /dev.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Ublk;

/// <summary>Looks at the host's files. A test gives a directory of its own as root.</summary>
internal sealed class UblkHost(string root = "/")
{
    private const int NamesInMessage = 3;
    private const string BlockPrefix = "/dev/ublkb";

    /// <summary>This host.</summary>
    public static UblkHost Local { get; } = new();

    /// <summary>Name of a device's block device: <c>ublkb3</c>.</summary>
    public static string BlockName(uint device) => $"ublkb{device}";

    /// <summary>Path of a device's block device.</summary>
    public static string BlockPath(uint device) => $"/dev/{BlockName(device)}";

    /// <summary>The number of a device by the path of its block device; null when it is no such path.</summary>
    public static uint? NumberOfPath(string? path) => path is null ? null : ParseNumber(path, BlockPrefix);

    /// <summary>Numbers of all ublk devices on this host, started or not.</summary>
    public IReadOnlyList<uint> Devices() =>
        [.. Names("sys/class/ublk-char").Select(n => ParseNumber(n, "ublkc")).OfType<uint>().Order()];

    /// <summary>Whether a process lives.</summary>
    public bool IsAlive(int pid) => pid > 0 && Directory.Exists(At($"proc/{pid}")) && !IsZombie(pid);

    /// <summary>
    /// Whether a process lives and holds a device's character node: a number that was given to another process since is not taken
    /// for the server. Where the process's descriptors may not be looked at, its being alive has to do.
    /// </summary>
    public bool IsServing(int pid, uint device)
    {
        if (!IsAlive(pid))
        {
            return false;
        }

        string[] descriptors = [.. Names($"proc/{pid}/fd")];
        return descriptors.Length == 0 || descriptors.Any(fd => LinkTarget($"proc/{pid}/fd/{fd}") == UblkCharDevice.PathOf(device));
    }

    /// <summary>
    /// Sentences that say by what a device is used: mounts in any mount namespace, swap, devices on top of it, processes that
    /// have it open, an exclusive claim. Empty when it is idle.
    /// </summary>
    public IReadOnlyList<string> UsersOf(uint device)
    {
        string name = BlockName(device);
        string[] parts = [name, .. Partitions(name)];
        var uses = new List<string>();
        HashSet<string> numbers = [.. parts.Select(NumberOf).OfType<string>()];
        foreach ((string mountPoint, string number, _) in AllMounts())
        {
            if (numbers.Contains(number))
            {
                uses.Add($"mounted at {mountPoint}");
            }
        }

        foreach (string part in parts)
        {
            if (Swaps().Contains("/dev/" + part))
            {
                uses.Add($"/dev/{part} is swap space");
            }

            uses.AddRange(Names($"sys/class/block/{part}/holders").Select(holder => $"/dev/{holder} is built on it"));
        }

        AddOpeners(uses, parts);
        if (uses.Count == 0 && IsClaimed(name))
        {
            uses.Add("claimed by the kernel (a file system or another driver)");
        }

        return [.. uses.Distinct()];
    }

    /// <summary>Mount points of a device in any mount namespace, with a process in it.</summary>
    public IReadOnlyList<(string MountPoint, int Pid)> MountsOf(uint device)
    {
        string name = BlockName(device);
        HashSet<string> numbers = [.. Partitions(name).Append(name).Select(NumberOf).OfType<string>()];
        return [.. AllMounts().Where(m => numbers.Contains(m.Number)).Select(m => (m.MountPoint, m.Pid))];
    }

    /// <summary>Whether a device is mounted in this process's own mount namespace.</summary>
    public bool IsMountedHere(uint device)
    {
        string name = BlockName(device);
        HashSet<string> numbers = [.. Partitions(name).Append(name).Select(NumberOf).OfType<string>()];
        return ReadMounts("self").Any(m => numbers.Contains(m.Number));
    }

    /// <summary>Whether a device is swap space.</summary>
    public bool IsSwap(uint device)
    {
        string name = BlockName(device);
        return Partitions(name).Append(name).Any(part => Swaps().Contains("/dev/" + part));
    }

    /// <summary>
    /// ublk devices below the files and devices that this process has open: directly, as a file system, or through md and dm.
    /// </summary>
    public IReadOnlySet<uint> DevicesUsedByThisProcess()
    {
        var found = new HashSet<uint>();
        Dictionary<string, string> mounts = [];
        foreach ((_, string number, string id) in ReadMounts("self"))
        {
            mounts[id] = number;
        }

        foreach (string fd in Names("proc/self/fd"))
        {
            string? target = LinkTarget($"proc/self/fd/{fd}");
            if (target is null)
            {
                continue;
            }

            if (target.StartsWith("/dev/", StringComparison.Ordinal))
            {
                AddBases(found, target["/dev/".Length..].Replace('/', '!'), 0);
            }
            else if (target.StartsWith('/') && MountIdOf(fd) is string id && mounts.TryGetValue(id, out string? number)
                && LinkTarget($"sys/dev/block/{number}") is string block)
            {
                AddBases(found, Path.GetFileName(block), 0);
            }
        }

        return found;
    }

    /// <summary>The value of a module parameter, or null.</summary>
    public string? ModuleParameter(string name) => ReadText($"sys/module/ublk_drv/parameters/{name}")?.Trim();

    /// <summary>Whether a module of the running kernel is there to be loaded.</summary>
    public bool HasModule(string module)
    {
        string? release = ReadText("proc/sys/kernel/osrelease")?.Trim();
        return release is not null && (ReadText($"lib/modules/{release}/modules.dep")?.Contains($"/{module}.ko", StringComparison.Ordinal) ?? false);
    }

    private static uint? ParseNumber(string name, string prefix) =>
        name.StartsWith(prefix, StringComparison.Ordinal) && uint.TryParse(name.AsSpan(prefix.Length), NumberStyles.None, null, out uint number)
            ? number
            : null;

    /// <summary>
    /// Lets the block layer use only the first tags of a device's queues, whatever its I/O scheduler is now or later. A scheduler
    /// has tags of its own, which it would limit instead: it is taken away for the moment.
    /// </summary>
    /// <returns>Whether the kernel took it.</returns>
    public bool LimitRequests(uint device, int requests)
    {
        string queue = $"sys/block/{BlockName(device)}/queue";
        string schedulers = ReadText($"{queue}/scheduler") ?? string.Empty;
        int begin = schedulers.IndexOf('[', StringComparison.Ordinal) + 1, end = schedulers.IndexOf(']', StringComparison.Ordinal);
        string scheduler = begin > 0 && end > begin ? schedulers[begin..end] : "none";
        try
        {
            if (scheduler != "none")
            {
                File.WriteAllText(At($"{queue}/scheduler"), "none");
            }

            File.WriteAllText(At($"{queue}/nr_requests"), requests.ToString(CultureInfo.InvariantCulture));
            if (scheduler != "none")
            {
                File.WriteAllText(At($"{queue}/scheduler"), scheduler);
            }

            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>Follows a block device down: a partition to its disk, md and dm to their members.</summary>
    private void AddBases(HashSet<uint> found, string name, int depth)
    {
        const int deepestStack = 16;
        if (depth == deepestStack)
        {
            return;
        }

        int partition = name.StartsWith("ublkb", StringComparison.Ordinal) ? name.IndexOf('p', StringComparison.Ordinal) : -1;
        if (ParseNumber(partition < 0 ? name : name[..partition], "ublkb") is uint device)
        {
            found.Add(device);
            return;
        }

        foreach (string member in Names($"sys/class/block/{name}/slaves"))
        {
            AddBases(found, member, depth + 1);
        }
    }

    private void AddOpeners(List<string> uses, string[] parts)
    {
        HashSet<string> paths = [.. parts.Select(p => "/dev/" + p)];
        var openers = new List<string>();
        foreach (string pid in Names("proc").Where(p => p.All(char.IsAsciiDigit)))
        {
            if (Names($"proc/{pid}/fd").Any(fd => LinkTarget($"proc/{pid}/fd/{fd}") is string target && paths.Contains(target)))
            {
                openers.Add($"{ReadText($"proc/{pid}/comm")?.Trim()} (process {pid})");
            }
        }

        if (openers.Count != 0)
        {
            string more = openers.Count > NamesInMessage ? $" and {openers.Count - NamesInMessage} more" : string.Empty;
            uses.Add($"opened by {string.Join(", ", openers.Take(NamesInMessage))}{more}");
        }
    }

    private bool IsClaimed(string name)
    {
        // O_EXCL without O_CREAT: open(2) fails with EBUSY while the device is claimed, for example by a mount in a namespace
        // that we cannot see.
        int fd = Libc.open(At("dev/" + name), Libc.O_RDONLY | Libc.O_EXCL | Libc.O_CLOEXEC | Libc.O_NONBLOCK);
        if (fd >= 0)
        {
            _ = Libc.close(fd);
        }

        return fd == -Errno.EBUSY;
    }

    private IEnumerable<string> Partitions(string name) =>
        Names($"sys/block/{name}").Where(n => n.StartsWith(name + "p", StringComparison.Ordinal));

    private string? NumberOf(string name) => ReadText($"sys/class/block/{name}/dev")?.Trim();

    private HashSet<string> Swaps() =>
        [.. (ReadText("proc/swaps") ?? string.Empty).Split('\n').Skip(1).Select(line => line.Split([' ', '\t'])[0])];

    /// <summary>Every mount of every mount namespace that this process may look into.</summary>
    private IEnumerable<(string MountPoint, string Number, int Pid)> AllMounts()
    {
        var seen = new HashSet<string>();
        foreach (string pid in Names("proc").Where(p => p.All(char.IsAsciiDigit)).Prepend("self"))
        {
            string? mountNamespace = LinkTarget($"proc/{pid}/ns/mnt");
            if (mountNamespace is null || !seen.Add(mountNamespace))
            {
                continue;
            }

            int number = pid == "self" ? Environment.ProcessId : int.Parse(pid, null);
            foreach ((string mountPoint, string device, _) in ReadMounts(pid))
            {
                yield return (mountPoint, device, number);
            }
        }
    }

    /// <summary>Reads mountinfo (proc_pid_mountinfo(5)): mount id, parent id, major:minor, root, mount point, ...</summary>
    private IEnumerable<(string MountPoint, string Number, string Id)> ReadMounts(string pid)
    {
        foreach (string line in (ReadText($"proc/{pid}/mountinfo") ?? string.Empty).Split('\n'))
        {
            string[] fields = line.Split(' ');
            if (fields.Length > 4)
            {
                yield return (fields[4].Replace("\\040", " ", StringComparison.Ordinal), fields[2], fields[0]);
            }
        }
    }

    private string? MountIdOf(string fd) =>
        ReadText($"proc/self/fdinfo/{fd}")?.Split('\n').FirstOrDefault(l => l.StartsWith("mnt_id:", StringComparison.Ordinal))?["mnt_id:".Length..].Trim();

    private bool IsZombie(int pid)
    {
        string? stat = ReadText($"proc/{pid}/stat");
        int end = stat?.LastIndexOf(')') ?? -1;
        return end > 0 && end + 2 < stat!.Length && stat[end + 2] is 'Z' or 'X';
    }

    private string At(string path) => Path.Combine(root, path);

    private IEnumerable<string> Names(string path)
    {
        try
        {
            return [.. Directory.EnumerateFileSystemEntries(At(path)).Select(p => Path.GetFileName(p)!)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not there, or somebody else's: nothing to be seen.
            return [];
        }
    }

    private string? LinkTarget(string path)
    {
        try
        {
            return new FileInfo(At(path)).LinkTarget;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private string? ReadText(string path)
    {
        try
        {
            return File.ReadAllText(At(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
