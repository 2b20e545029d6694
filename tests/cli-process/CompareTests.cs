using System.Diagnostics;
using System.Globalization;
using Polyblk.Compare.Results;
using Polyblk.Core.Interop;
using Polyblk.Host;

namespace Polyblk.Cli.Process.Tests;

public sealed class CompareTests : IDisposable
{
    private const int SigInt = 2;
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int SigCont = 18;
    private const int SigStop = 19;
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(4);

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void EveryMethodHasVerifiedFiguresOrAReasonAndNothingStaysBehind()
    {
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        RunOutput run = _sandbox.Must("compare", "--rounds", "1", "--seconds", "0.1", "--member-size", "32MiB", "--dir", scratch, "--simulated", "4", "--json", file);
        Comparison results = ResultFiles.ReadValid(file);
        Assert.False(results.Interrupted);
        Assert.All(results.Methods, m => Assert.True((m.Available && m.Verification == Verification.Passed) || m.Reason is not null, m.Id));
        foreach (string id in (string[])["bare-drive@host", "array@host", "vhost-user-drive@host", "vhost-user-1q@host", "vhost-user-2q@host", "nbd@host"])
        {
            Assert.True(results.Method(id).Available, results.Method(id).Reason);
        }

        string[] frontends = ["vhost-user", "nbd", "ublk", "vduse", "virtio-iothread", "qemu-storage-daemon", "md", "loop"];
        Assert.All(frontends, f => Assert.Contains(results.Methods, m => m.Frontend.StartsWith(f, StringComparison.Ordinal)));
        foreach (MethodFacts method in results.Methods.Where(m => m.Available))
        {
            MeasuredRun[] runs = [.. results.Runs.Where(r => r.Method == method.Id)];
            Assert.Equal(results.Workloads.Select(w => w.Name), runs.Select(r => r.Workload));
            Assert.All(runs, r => Assert.Equal(0, r.Errors));
            Assert.Contains(method.Title, run.Output, StringComparison.Ordinal);
        }

        CheckRestarts(results);
        Assert.Equal(8, results.Efficiency.Count);
        Assert.Equal(4, results.Efficiency.Count(e => e.Simulated && e.Members == 4));
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
    }

    /// <summary>Both serve one file of the same size on a Unix socket, to the same client.</summary>
    [Fact]
    public void AnNbdExportOfOneFileIsMeasuredBesideThePeers()
    {
        string[] ids = ["nbd-drive@host", "qemu-storage-daemon-nbd-drive@host"];
        string file = _sandbox.PathOf("results.json");
        _sandbox.Must(
            "compare", "--methods", "nbd-drive", "--workloads", "randread-qd32,randwrite", "--rounds", "1", "--runtime", "0.3", "--member-size", "32MiB", "--simulated", "0", "--json", file);
        Comparison results = ResultFiles.ReadValid(file);
        Assert.Equal(["bare-drive@host", .. ids], results.Methods.Where(m => m.Available).Select(m => m.Id));
        Assert.All(ids, id =>
        {
            MethodFacts method = results.Method(id);
            Assert.True(method is { Available: true, Verification: Verification.Passed, Backing: Backing.Drive }, $"{id}: {method.Reason ?? method.VerificationDetail}");
            Assert.Equal(results.Workloads.Select(w => w.Name), results.Runs.Where(r => r is { Iops: > 0, Errors: 0 } && r.Method == id).Select(r => r.Workload));
            CheckRestart(results, id);
        });
        Assert.Equal(results.Method(ids[0]).Load, results.Method(ids[1]).Load);
        Assert.Equal(["qemu-storage-daemon"], results.Method(ids[1]).Needs.Programs);
    }

    /// <summary>
    /// Two requests at once are what timeout(1) makes: to its child, then to the child's group. A machine that stood still for a
    /// second between them has them heard as two, and is asked again.
    /// </summary>
    [Theory]
    [InlineData(SigInt)]
    [InlineData(SigTerm, SigTerm)]
    public async Task BrokenOffItLeavesNothingBehindAndKeepsWhatItMeasured(params int[] signals)
    {
        const int attempts = 5;
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        int exitCode = 128 + SigTerm;
        string said = string.Empty;
        for (int i = 0; i < attempts && exitCode == 128 + SigTerm; i++)
        {
            (exitCode, said) = await BreakOffAsync(signals, scratch, file);
        }

        Assert.Equal(130, exitCode);
        Comparison results = ResultFiles.ReadValid(file);
        Assert.True(results.Interrupted);
        Assert.Contains("Broken off", said, StringComparison.Ordinal);
    }

    /// <summary>Sends signals to a comparison in its first round. Returns its exit status and what it said after that.</summary>
    private async Task<(int ExitCode, string Said)> BreakOffAsync(int[] signals, string scratch, string file)
    {
        using System.Diagnostics.Process compare = _sandbox.Start(
            ["compare", "--methods", "vhost-user-1q,nbd,loop", "--rounds", "500", "--seconds", "0.1", "--member-size", "32MiB", "--dir", scratch, "--json", file, "--progress-lines"]);
        await ReadUntilAsync(compare, " round 1: ");
        Assert.NotEmpty(Directory.EnumerateFiles(scratch, "*.sock", SearchOption.AllDirectories));
        Task<string> output = compare.StandardOutput.ReadToEndAsync();
        Assert.All(signals, signal => Assert.Equal(0, Libc.kill(compare.Id, signal)));
        Assert.True(compare.WaitForExit(s_patience), "compare did not end");
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
        WaitUntil(() => compare.ExitCode == 130 || !UsersOf(scratch).Any(), "its children end with it");
        Assert.Empty(UsersOf(scratch));
        return (compare.ExitCode, await output);
    }

    [Fact]
    public void ATargetThatEndsWhileItIsMeasuredIsOutAndTheExitCodeSaysSo()
    {
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        using System.Diagnostics.Process compare = _sandbox.Start(
            ["compare", "--methods", "nbd@", "--workloads", "randread-qd32", "--rounds", "6", "--runtime", "1", "--member-size", "32MiB", "--dir", scratch, "--restarts", "false", "--simulated", "0", "--json", file]);
        _ = compare.StandardOutput.ReadToEndAsync();
        Assert.True(SpinWait.SpinUntil(() => UsersOf(scratch).Any(p => IsOf(p, "--runtime=1000ms")), s_patience), "fio was not started");
        Assert.Equal(0, Libc.kill(UsersOf(scratch).Single(p => IsOf(p, "serve")), SigKill));
        Assert.True(compare.WaitForExit(s_patience), "compare did not end");
        Assert.Equal(1, compare.ExitCode);
        Comparison results = ResultFiles.ReadValid(file);
        MethodFacts nbd = results.Method("nbd@host");
        Assert.Contains("its server has ended with exit code 137", nbd.Reason, StringComparison.Ordinal);
        Assert.Equal("nbd@host", Assert.Single(results.FailedRuns).Method);
        Assert.Equal(6, results.Runs.Count(r => r.Method == "bare-drive@host"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
    }

    /// <summary>
    /// A target that stands still keeps the orderly end waiting: ten seconds, then it is killed. A machine that stood still for
    /// so long itself did not let the second request come in time, and is asked again.
    /// </summary>
    [Fact]
    public async Task AskedASecondTimeItEndsAtOnceAndItsFilesAreRemovedAllTheSame()
    {
        const int attempts = 5;
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        var asked = new Stopwatch();
        int exitCode = 130;
        for (int i = 0; i < attempts && exitCode == 130; i++)
        {
            exitCode = await AskTwiceAsync(scratch, asked);
            Assert.True(exitCode != 130 || asked.Elapsed > TimeSpan.FromSeconds(8), "the second request ended nothing");
        }

        Assert.Equal(128 + SigTerm, exitCode);
    }

    /// <summary>Stops a comparison's target, and asks the comparison to end, twice. Returns its exit status.</summary>
    private async Task<int> AskTwiceAsync(string scratch, Stopwatch asked)
    {
        using System.Diagnostics.Process compare = _sandbox.Start(
            ["compare", "--methods", "qemu-storage-daemon-drive", "--rounds", "500", "--runtime", "0.1", "--member-size", "32MiB", "--dir", scratch, "--progress-lines"]);
        await ReadUntilAsync(compare, " round 1: ");
        Task<string> rest = compare.StandardOutput.ReadToEndAsync();
        int daemon = Assert.Single(UsersOf(scratch, "qemu-storage-daemon", "--blockdev"));
        try
        {
            Assert.Equal(0, Libc.kill(daemon, SigStop));
            WaitUntil(() => StateOf(daemon) == 'T', "the target stands still");
            Assert.Equal(0, Libc.kill(compare.Id, SigTerm));
            WaitUntil(() => compare.HasExited || IsPending(daemon, SigTerm), "the target is asked to end: the first request was heard");
            asked.Restart();

            // Requests less than a second apart are one.
            await Task.Delay(TimeSpan.FromSeconds(1.2));
            if (!compare.HasExited)
            {
                Assert.Equal(0, Libc.kill(compare.Id, SigTerm));
            }

            Assert.True(compare.WaitForExit(s_patience), "compare did not end");
            asked.Stop();
            Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
        }
        finally
        {
            Libc.kill(daemon, SigCont);
        }

        WaitUntil(() => !UsersOf(scratch).Any(), "its target ends with it");
        await rest;
        return compare.ExitCode;
    }

    [Fact]
    public void AJobFileOfTheUserRunsOnWhatFioDrivesAndOtherMethodsSayWhyNot()
    {
        string file = _sandbox.PathOf("results.json");
        string job = _sandbox.PathOf("mine.fio");
        File.WriteAllText(job, "[global]\nfilename=/dev/null\nbs=8k\n[mixed]\nrw=randrw\niodepth=4\n");
        RunOutput run = _sandbox.Must(
            "compare", "--fio", job, "--methods", "nbd@,array", "--rounds", "1", "--runtime", "0.2", "--member-size", "32MiB", "--restarts", "false", "--simulated", "0", "--json", file);
        Comparison results = ResultFiles.ReadValid(file);
        Assert.Equal("bare-drive-fio@host", results.Baseline);
        Assert.Equal(["bare-drive-fio@host", "nbd@host"], results.Runs.Select(r => r.Method));
        MeasuredRun only = results.Runs[1];
        Assert.Equal(("mine", 0), (only.Workload, only.Errors));
        Assert.True(only.Iops > 0);
        Assert.InRange(only.BytesPerSecond / only.Iops, 8192 * 0.95, 8192 * 1.05); // fio counts requests and bytes at different moments
        Assert.Contains(results.Notes, n => n.Contains("array, no frontend", StringComparison.Ordinal) && n.Contains("only fio", StringComparison.Ordinal));
        Assert.Contains("fio job mine", run.Output, StringComparison.Ordinal);
    }

    /// <summary>Every published workload once, as short as can be, on a method of each kind of load.</summary>
    [Fact]
    public void EveryPublishedWorkloadRunsOnEachKindOfLoad()
    {
        string file = _sandbox.PathOf("results.json");
        RunOutput run = _sandbox.Must(
            "compare", "--full", "--methods", "vhost-user-2q,nbd@", "--rounds", "1", "--runtime", "0.05", "--jobs", "2", "--member-size", "32MiB", "--restarts", "false", "--simulated", "0",
            "--json", file);
        Comparison results = ResultFiles.ReadValid(file);
        Assert.Equal(40, results.Workloads.Count);
        Assert.Contains("jobs 32 → 2; jobs 8 → 2", run.Output, StringComparison.Ordinal);
        foreach (string id in (string[])["bare-drive@host", "vhost-user-2q@host", "nbd@host"])
        {
            Assert.Equal(results.Workloads.Select(w => w.Name), results.Runs.Where(r => r.Method == id).Select(r => r.Workload));
        }

        Assert.All(results.Runs, r => Assert.Equal(0, r.Errors));
    }

    [Fact]
    public void AFileSystemIsMadeForEachRunWhereThereIsABlockDevice()
    {
        string file = _sandbox.PathOf("results.json");
        _sandbox.Must(
            "compare", "--preset", "filesystem", "--workloads", "qd8-", "--methods", "loop,nbd@", "--rounds", "1", "--runtime", "0.1", "--member-size", "64MiB", "--restarts", "false",
            "--simulated", "0", "--json", file);
        Comparison results = ResultFiles.ReadValid(file);
        Assert.Equal(["fs-4k-randread-qd8-j16", "fs-4k-randwrite-qd8-j16"], results.Workloads.Select(w => w.Name));
        Assert.Contains("nbd, RAID 5 has no figures of 2 workloads: a file system needs a block device.", results.Notes);
        Assert.DoesNotContain(results.Runs, r => r.Method == "nbd@host");
        MethodFacts loop = results.Method("loop@host");
        Assert.Equal(loop.Available ? loop.Id : "bare-drive@host", results.Baseline);
        Assert.Equal(loop.Available ? 2 : 0, results.Runs.Count(r => r is { Method: "loop@host", Iops: > 0, Errors: 0 }));
        Assert.True(loop.Available || loop.Reason is not null);
        Assert.DoesNotContain("polyblk-compare", File.ReadAllText("/proc/self/mounts"), StringComparison.Ordinal);
    }

    [Fact]
    public void WhatCannotBeMeantIsRefusedWithWhatCan()
    {
        Assert.Contains("quick, random", _sandbox.Run("compare", "--preset", "slow").Errors, StringComparison.Ordinal);
        Assert.Contains("vhost-user-1q@host", _sandbox.Run("compare", "--methods", "iscsi").Errors, StringComparison.Ordinal);
        Assert.Contains("from 4", _sandbox.Run("compare", "--level", "raid6").Errors, StringComparison.Ordinal);
        Assert.Contains("--simulated-speed", _sandbox.Run("compare", "--simulated-speed", "fast").Errors, StringComparison.Ordinal);
        Assert.Equal(2, _sandbox.Run("compare", "--runtime", "0").ExitCode);
    }

    /// <summary>Killed under load, nothing of this program fails a request or loses a block.</summary>
    private static void CheckRestarts(Comparison results)
    {
        string[] killed = [.. results.Methods.Where(m => m is { Role: MethodRole.Frontend, Available: true, Frontend: "vhost-user" or "nbd" }).Select(m => m.Id)];
        Assert.True(killed.Length >= 4, string.Join(", ", killed));
        Assert.All(killed, id => CheckRestart(results, id));
    }

    private static void CheckRestart(Comparison results, string id)
    {
        RestartTest test = Assert.Single(results.Restarts, r => r.Method == id);
        Assert.True(test is { GapMs: > 0, IoErrors: 0, Verification: Verification.Passed }, $"{id}: {test.Detail}");
    }

    private static void WaitUntil(Func<bool> condition, string what) => Assert.True(SpinWait.SpinUntil(condition, s_patience), $"waited in vain: {what}");

    /// <summary>Reads what a comparison says until a line has these words.</summary>
    private static async Task ReadUntilAsync(System.Diagnostics.Process compare, string words)
    {
        var said = new System.Text.StringBuilder();
        using var patience = new CancellationTokenSource(s_patience);
        while (await compare.StandardOutput.ReadLineAsync(patience.Token) is string line)
        {
            if (line.Contains(words, StringComparison.Ordinal))
            {
                return;
            }

            said.AppendLine(line);
        }

        Assert.Fail($"compare ended before '{words}': {said}{await compare.StandardError.ReadToEndAsync()}");
    }

    /// <summary>Processes that were given a path in a folder, and have all the words in their command line.</summary>
    private static IEnumerable<int> UsersOf(string folder, params string[] words) =>
        from process in Directory.EnumerateDirectories("/proc")
        let line = CommandLineOf(process)
        where line.Contains(folder + "/", StringComparison.Ordinal) && words.All(word => line.Contains(word, StringComparison.Ordinal))
        select int.Parse(Path.GetFileName(process), CultureInfo.InvariantCulture);

    /// <summary>The state of a process as in /proc/PID/stat, after its name in parentheses.</summary>
    private static char StateOf(int process)
    {
        string stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/stat"));
        return stat[stat.LastIndexOf(')') + 2];
    }

    /// <summary>Whether a signal waits for a process that stands still.</summary>
    private static bool IsPending(int process, int signal)
    {
        const string field = "ShdPnd:";
        string line = File.ReadLines(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/status")).Single(l => l.StartsWith(field, StringComparison.Ordinal));
        ulong pending = ulong.Parse(line.AsSpan(field.Length).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        return (pending & (1UL << (signal - 1))) != 0;
    }

    private static bool IsOf(int process, string word) => CommandLineOf($"/proc/{process}").Split('\0').Contains(word);

    private static string CommandLineOf(string process)
    {
        string file = Path.Combine(process, "cmdline");
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
