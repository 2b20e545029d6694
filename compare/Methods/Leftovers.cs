// What a comparison that was killed (SIGKILL, out of memory) left behind, found by the next one and removed.
//
// Everything that a comparison makes lies below its scratch directory, or refers to it, or carries the process id that is in the
// directory's name. The directory tells whether its owner lives (OwnedFolder); only of dead owners anything is touched. The order
// is that of use: processes, mounts, arrays, loop devices, devices of frontends, files. What cannot be removed is said, and does
// not keep the rest.

using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Polyblk.Machine;

namespace Polyblk.Compare.Methods;

/// <summary>Removes what dead comparisons left.</summary>
/// <param name="program">This program, which knows its ublk devices.</param>
public sealed partial class Leftovers(PolyblkProgram program)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(10);

    /// <summary>
    /// For one thing to go. The kernel may wait for ever for a request that nobody answers; the comparison does not.
    /// </summary>
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    // What a comparison starts. Another program that happens to look into its directory is left alone.
    private static readonly string[] s_programs = ["dotnet", "polyblk", "fio", "qemu-storage-daemon", "qemu-system-x86_64", "timeout", "taskset", "setpriv"];

    private readonly List<string> _removed = [];
    private readonly List<string> _failures = [];

    /// <summary>Removes it all.</summary>
    /// <param name="wanted">Where the user wants scratch files; null for the usual places.</param>
    /// <returns>What was removed, in one line; null when there was nothing.</returns>
    public async Task<string?> RemoveAsync(string? wanted)
    {
        var done = new List<string>();
        foreach (string folder in Find(wanted))
        {
            // A folder that has gone leaves devices at most; one that is there is claimed, so that two comparisons do not both
            // clear it.
            OwnedFolder? claimed = OwnedFolder.Claim(folder, ScratchSpace.Prefix);
            if (claimed is not null || !Directory.Exists(folder))
            {
                done.Add(folder);
                await RemoveFolderAsync(folder, claimed).ConfigureAwait(false);
            }
        }

        if (done.Count == 0)
        {
            return null;
        }

        string owners = string.Join(", ", done.Select(f => OwnedFolder.OwnerOf(f, ScratchSpace.Prefix)).Distinct());
        string failed = _failures.Count == 0 ? string.Empty : $" These remain: {string.Join("; ", _failures)}.";
        return $"Removed what a comparison that was killed had left (process {owners}): {string.Join(", ", _removed)}.{failed}";
    }

    /// <summary>
    /// Directories of dead comparisons: in the places where one would be, and those that loop devices and processes still refer
    /// to.
    /// </summary>
    private static string[] Find(string? wanted)
    {
        IEnumerable<string> inPlaces = ScratchSpace.Places(null).Concat(ScratchSpace.Places(wanted)).SelectMany(p => OwnedFolder.Abandoned(p, ScratchSpace.Prefix));
        IEnumerable<string> referred = LoopDevices().Select(l => l.File).Concat(Processes().Select(p => p.CommandLine))
            .SelectMany(text => FolderPattern().Matches(text).Select(m => m.Value)).Where(f => Directory.Exists(f) ? OwnedFolder.IsAbandoned(f, ScratchSpace.Prefix) : !Directory.Exists($"/proc/{OwnedFolder.OwnerOf(f, ScratchSpace.Prefix)}"));
        return [.. inPlaces.Concat(referred).Distinct()];
    }

    private async Task RemoveFolderAsync(string folder, OwnedFolder? claimed)
    {
        string pid = OwnedFolder.OwnerOf(folder, ScratchSpace.Prefix)!.Value.ToString(CultureInfo.InvariantCulture);
        string below = folder + "/";
        await EndProcessesAsync(below).ConfigureAwait(false);
        await EachAsync("mount", Mounts(below), mount => Command.RunAsync(["umount", mount], CancellationToken.None)).ConfigureAwait(false);
        (string Device, string File)[] loops = [.. LoopDevices().Where(l => l.File.StartsWith(below, StringComparison.Ordinal))];
        await EachAsync("md array", Arrays([.. loops.Select(l => l.Device)]), array => Command.RunAsync(["mdadm", "--stop", array], CancellationToken.None)).ConfigureAwait(false);
        await EachAsync("loop device", loops.Select(l => l.Device), loop => Command.RunAsync(["losetup", "-d", loop], CancellationToken.None)).ConfigureAwait(false);
        await EachAsync("ublk device", await UblkDevicesAsync(folder, pid).ConfigureAwait(false), number => program.RunAsync(
            "ublk", "delete", number, "--force", "--state", Path.Combine(folder, "state"))).ConfigureAwait(false);
        await EachAsync("VDUSE device", KernelDevices.VduseNames(pid).Where(KernelDevices.HasVduse), name => RemoveVduseAsync(folder, name)).ConfigureAwait(false);
        if (claimed is not null)
        {
            try
            {
                claimed.Dispose();
                _removed.Add(folder);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                _failures.Add($"{folder}: {e.Message}");
            }
        }
    }

    /// <summary>Ends what still works in the directory: SIGTERM, so that a server gives its devices back, then SIGKILL.</summary>
    private async Task EndProcessesAsync(string below)
    {
        int[] own = [.. Processes().Where(p => IsOurs(p.CommandLine, below)).Select(p => p.Id)];
        Array.ForEach(own, pid => _ = Signals.Terminate(pid));
        for (var wait = Stopwatch.StartNew(); own.Any(IsAlive) && wait.Elapsed < s_patience;)
        {
            await Task.Delay(50).ConfigureAwait(false);
        }

        foreach (int pid in own.Where(IsAlive))
        {
            using Process process = Process.GetProcessById(pid);
            process.Kill();
            await process.WaitForExitAsync().ConfigureAwait(false);
        }

        Count("process", own.Length);
    }

    private static async Task RemoveVduseAsync(string folder, string name)
    {
        await WaitingDevice.TakeOffAsync(folder, name).ConfigureAwait(false);
        await KernelDevices.RemoveVduseAsync(name).ConfigureAwait(false);
    }

    private async Task<IReadOnlyList<string>> UblkDevicesAsync(string folder, string pid)
    {
        string state = Path.Combine(folder, "state");
        if (!File.Exists("/dev/ublk-control") || !Directory.Exists(state))
        {
            return [];
        }

        try
        {
            using JsonDocument list = JsonDocument.Parse(await program.RunAsync("ublk", "list", "--json", "--state", state).ConfigureAwait(false));
            return
            [
                .. list.RootElement.EnumerateArray()
                    .Where(d => d.TryGetProperty("volume", out JsonElement volume) && volume.GetString()?.EndsWith($"-{pid}", StringComparison.Ordinal) == true && !d.GetProperty("serverAlive").GetBoolean())
                    .Select(d => d.GetProperty("number").GetUInt32().ToString(CultureInfo.InvariantCulture)),
            ];
        }
        catch (Exception e) when (e is MethodException or JsonException)
        {
            _failures.Add($"ublk devices: {e.Message}");
            return [];
        }
    }

    private async Task EachAsync(string what, IEnumerable<string> things, Func<string, Task> remove)
    {
        int done = 0;
        foreach (string thing in things.ToArray())
        {
            try
            {
                await remove(thing).WaitAsync(s_limit).ConfigureAwait(false);
                done++;
            }
            catch (Exception e) when (e is MethodException or IOException or TimeoutException)
            {
                _failures.Add($"{what} {thing}: {e.Message}");
            }
        }

        Count(what, done);
    }

    private void Count(string what, int count)
    {
        if (count > 0)
        {
            _removed.Add($"{count} {what}{(count == 1 ? string.Empty : what.EndsWith('s') ? "es" : "s")}");
        }
    }

    private static bool IsOurs(string commandLine, string below)
    {
        string[] words = commandLine.Split('\0', StringSplitOptions.RemoveEmptyEntries);
        return words.Length > 1 && s_programs.Contains(Path.GetFileName(words[0])) && words.Skip(1).Any(w => w.Contains(below, StringComparison.Ordinal));
    }

    private static bool IsAlive(int pid)
    {
        try
        {
            // A zombie has ended: its new parent has not asked yet.
            string stat = File.ReadAllText($"/proc/{pid}/stat");
            return stat[(stat.LastIndexOf(')') + 2)..][0] != 'Z';
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static IEnumerable<string> Mounts(string below) =>
        File.ReadLines("/proc/self/mounts").Select(l => l.Split(' ')[1].Replace("\\040", " ", StringComparison.Ordinal)).Where(m => m.StartsWith(below, StringComparison.Ordinal)).Reverse().ToArray();

    /// <summary>Arrays that have nothing but these loop devices.</summary>
    private static IEnumerable<string> Arrays(string[] loops) => loops.Length == 0 || !Directory.Exists("/sys/block") ? []
        : Directory.EnumerateDirectories("/sys/block", "md*")
            .Where(md => Directory.Exists($"{md}/slaves") && Directory.EnumerateFileSystemEntries($"{md}/slaves").Select(s => $"/dev/{Path.GetFileName(s)}").ToArray() is { Length: > 0 } slaves && slaves.All(loops.Contains))
            .Select(md => $"/dev/{Path.GetFileName(md)}").ToArray();

    private static IEnumerable<(string Device, string File)> LoopDevices()
    {
        foreach (string loop in Directory.Exists("/sys/block") ? Directory.EnumerateDirectories("/sys/block", "loop*") : [])
        {
            string file = $"{loop}/loop/backing_file";
            if (File.Exists(file))
            {
                yield return ($"/dev/{Path.GetFileName(loop)}", File.ReadAllText(file).Trim());
            }
        }
    }

    private static IEnumerable<(int Id, string CommandLine)> Processes()
    {
        foreach (string folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), CultureInfo.InvariantCulture, out int pid) && pid != Environment.ProcessId && CommandLineOf(pid) is { Length: > 0 } text)
            {
                yield return (pid, text);
            }
        }
    }

    private static string CommandLineOf(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It ended meanwhile, or is none of this user's business.
            return string.Empty;
        }
    }

    [GeneratedRegex(@"/[^\s\0,=:]*/polyblk-compare-[0-9]+(\.[0-9]+)?(?=/)")]
    private static partial Regex FolderPattern();
}
