// A comparison that gets SIGKILL: its children end with it, and the next comparison removes what stayed.

using Polyblk.Core.Interop;
using System.Globalization;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

/// <summary>Tests beside which no other runs.</summary>
[CollectionDefinition(Name, DisableParallelization = true)]
public static class Alone
{
    public const string Name = "alone";
}

/// <summary>Any other comparison that runs meanwhile would remove what the killed one left.</summary>
[Collection(Alone.Name)]
public sealed class CompareKilledTests : IDisposable
{
    private const int SigKill = 9;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly PolyblkSandbox _sandbox = new();
    private readonly string _scratch;

    public CompareKilledTests() => _scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void ItsChildrenEndAndTheNextOneRemovesWhatItLeftAndNothingElse()
    {
        int pid = KillUnderWay();
        string left = Path.Combine(_scratch, string.Create(CultureInfo.InvariantCulture, $"polyblk-compare-{pid}"));
        Assert.True(SpinWait.SpinUntil(() => !Users(left).Any(), s_patience), $"still there: {string.Join('\n', Users(left))}");
        Assert.True(Directory.Exists(left));
        bool hasLoop = Loops(left).Any();

        // One that clung to life, one that lives, and something that only looks like it.
        using SystemProcess clinging = SystemProcess.Start("timeout", ["300", "tail", "-f", Path.Combine(left, "lock")]);
        string alive = Directory.CreateDirectory(Path.Combine(_scratch, "polyblk-compare-1")).FullName;
        using var held = new FileStream(Path.Combine(alive, "lock"), FileMode.Create, FileAccess.ReadWrite, FileShare.None);
        string foreign = Directory.CreateDirectory(Path.Combine(_scratch, "polyblk-compare-notes")).FullName;

        RunOutput next = _sandbox.Must("compare", "--methods", "array", "--rounds", "1", "--runtime", "0.05", "--simulated", "0", "--member-size", "32MiB", "--dir", _scratch);
        string line = Assert.Single(next.Errors.Split('\n'), l => l.Contains("Removed what a comparison that was killed had left", StringComparison.Ordinal));
        Assert.Contains($"(process {pid})", line, StringComparison.Ordinal);
        Assert.Contains("1 process,", line, StringComparison.Ordinal);
        Assert.Equal(hasLoop, line.Contains("1 loop device,", StringComparison.Ordinal));
        Assert.DoesNotContain("remain", line, StringComparison.Ordinal);
        Assert.True(clinging.WaitForExit(s_patience));
        Assert.Equal([alive, foreign], Directory.EnumerateFileSystemEntries(_scratch).Order(StringComparer.Ordinal));
        Assert.Empty(Loops(left));
    }

    /// <summary>Kills a comparison while its methods serve. Returns its process id.</summary>
    private int KillUnderWay()
    {
        using SystemProcess compare = _sandbox.Start(
            ["compare", "--methods", "vhost-user-1q,nbd,qemu,loop", "--rounds", "500", "--runtime", "0.1", "--member-size", "32MiB", "--dir", _scratch]);
        Task<string> output = compare.StandardOutput.ReadToEndAsync();
        Task<string> errors = compare.StandardError.ReadToEndAsync();
        string folder = Path.Combine(_scratch, string.Create(CultureInfo.InvariantCulture, $"polyblk-compare-{compare.Id}"));

        // A fio without the file by which its start is timed, that is, in a round: everything that can serve does.
        Assert.True(
            SpinWait.SpinUntil(() => compare.HasExited || Users(folder).Any(u => u.Contains("--ramp_time", StringComparison.Ordinal)), s_patience), "no round began");
        Assert.False(compare.HasExited, compare.HasExited ? output.Result + errors.Result : string.Empty);
        Assert.Equal(0, Libc.kill(compare.Id, SigKill));
        compare.WaitForExit();
        return compare.Id;
    }

    /// <summary>Command lines of processes that name something in a folder.</summary>
    private static IEnumerable<string> Users(string folder)
    {
        foreach (string process in Directory.EnumerateDirectories("/proc").Where(d => int.TryParse(Path.GetFileName(d), out _)))
        {
            string text = Read(Path.Combine(process, "cmdline")).Replace('\0', ' ');
            if (text.Contains(folder + "/", StringComparison.Ordinal))
            {
                yield return text;
            }
        }
    }

    private static IEnumerable<string> Loops(string folder) => !Directory.Exists("/sys/block") ? []
        : Directory.EnumerateDirectories("/sys/block", "loop*").Where(l => Read(Path.Combine(l, "loop", "backing_file")).StartsWith(folder + "/", StringComparison.Ordinal));

    private static string Read(string file)
    {
        try
        {
            return File.Exists(file) ? File.ReadAllText(file) : string.Empty;
        }
        catch (IOException)
        {
            // The process ended meanwhile.
            return string.Empty;
        }
    }
}
