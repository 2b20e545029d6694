using System.Globalization;
using Polyblk.Compare.Results;

namespace Polyblk.Cli.Process.Tests;

public sealed class CompareTests : IDisposable
{
    private const int SigInt = 2;
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int SigCont = 18;
    private const int SigStop = 19;

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void EveryMethodHasVerifiedFiguresOrAReasonAndNothingStaysBehind()
    {
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        RunOutput run = _sandbox.Must("compare", "--rounds", "1", "--seconds", "0.1", "--member-size", "32MiB", "--dir", scratch, "--simulated", "4", "--json", file);
        Comparison results = ComparisonFile.Parse(File.ReadAllText(file));
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
        Comparison results = ComparisonFile.Parse(File.ReadAllText(file));
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

    [Theory]
    [InlineData(SigInt)]
    [InlineData(SigTerm, SigTerm)] // what timeout(1) does: its child, then the child's group
    public async Task BrokenOffItLeavesNothingBehindAndKeepsWhatItMeasured(params int[] signals)
    {
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        using System.Diagnostics.Process compare = _sandbox.Start(
            ["compare", "--rounds", "500", "--seconds", "0.1", "--member-size", "32MiB", "--dir", scratch, "--json", file]);
        Task<string> output = compare.StandardOutput.ReadToEndAsync();
        Assert.True(
            SpinWait.SpinUntil(() => Directory.EnumerateFiles(scratch, "*.sock", SearchOption.AllDirectories).Any(), TimeSpan.FromSeconds(60)),
            "no target was started");
        Assert.All(signals, signal => Assert.Equal(0, Polyblk.Cli.Interop.Native.Kill(compare.Id, signal)));
        Assert.True(compare.WaitForExit(TimeSpan.FromSeconds(60)), "compare did not end");
        Assert.Equal(130, compare.ExitCode);
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
        Comparison results = ComparisonFile.Parse(File.ReadAllText(file));
        Assert.True(results.Interrupted);
        Assert.Contains("Broken off", await output, StringComparison.Ordinal);
        Assert.Empty(UsersOf(scratch));
    }

    [Fact]
    public void ATargetThatEndsWhileItIsMeasuredIsOutAndTheExitCodeSaysSo()
    {
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        using System.Diagnostics.Process compare = _sandbox.Start(
            ["compare", "--methods", "nbd@", "--workloads", "randread-qd32", "--rounds", "6", "--runtime", "1", "--member-size", "32MiB", "--dir", scratch, "--restarts", "false", "--simulated", "0", "--json", file]);
        _ = compare.StandardOutput.ReadToEndAsync();
        Assert.True(SpinWait.SpinUntil(() => UsersOf(scratch).Any(p => IsOf(p, "--runtime=1000ms")), TimeSpan.FromSeconds(60)), "fio was not started");
        Assert.Equal(0, Polyblk.Cli.Interop.Native.Kill(UsersOf(scratch).Single(p => IsOf(p, "serve")), SigKill));
        Assert.True(compare.WaitForExit(TimeSpan.FromSeconds(60)), "compare did not end");
        Assert.Equal(1, compare.ExitCode);
        Comparison results = ComparisonFile.Parse(File.ReadAllText(file));
        MethodFacts nbd = results.Method("nbd@host");
        Assert.Contains("its server has ended with exit code 137", nbd.Reason, StringComparison.Ordinal);
        Assert.Equal("nbd@host", Assert.Single(results.FailedRuns).Method);
        Assert.Equal(6, results.Runs.Count(r => r.Method == "bare-drive@host"));
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
    }

    /// <summary>A target that stands still keeps the orderly end waiting.</summary>
    [Fact]
    public async Task AskedASecondTimeItEndsAtOnceAndItsFilesAreRemovedAllTheSame()
    {
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        using System.Diagnostics.Process compare = _sandbox.Start(
            ["compare", "--methods", "qemu-storage-daemon-drive", "--rounds", "500", "--runtime", "0.1", "--member-size", "32MiB", "--dir", scratch]);
        int daemon = 0;
        Assert.True(SpinWait.SpinUntil(() => (daemon = UsersOf(scratch).FirstOrDefault()) != 0, TimeSpan.FromSeconds(60)), "no target was started");
        try
        {
            Assert.Equal(0, Polyblk.Cli.Interop.Native.Kill(daemon, SigStop));
            Assert.Equal(0, Polyblk.Cli.Interop.Native.Kill(compare.Id, SigTerm));
            await Task.Delay(TimeSpan.FromSeconds(2));
            Assert.False(compare.HasExited);
            Assert.Equal(0, Polyblk.Cli.Interop.Native.Kill(compare.Id, SigTerm));
            Assert.True(compare.WaitForExit(TimeSpan.FromSeconds(5)), "compare did not end");
            Assert.Equal(128 + SigTerm, compare.ExitCode);
            Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
        }
        finally
        {
            Polyblk.Cli.Interop.Native.Kill(daemon, SigCont);
        }

        Assert.True(SpinWait.SpinUntil(() => !UsersOf(scratch).Any(), TimeSpan.FromSeconds(20)), "its target did not end with it");
    }

    [Fact]
    public void AJobFileOfTheUserRunsOnWhatFioDrivesAndOtherMethodsSayWhyNot()
    {
        string file = _sandbox.PathOf("results.json");
        string job = _sandbox.PathOf("mine.fio");
        File.WriteAllText(job, "[global]\nfilename=/dev/null\nbs=8k\n[mixed]\nrw=randrw\niodepth=4\n");
        RunOutput run = _sandbox.Must(
            "compare", "--fio", job, "--methods", "nbd@,array", "--rounds", "1", "--runtime", "0.2", "--member-size", "32MiB", "--restarts", "false", "--simulated", "0", "--json", file);
        Comparison results = ComparisonFile.Parse(File.ReadAllText(file));
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
        Comparison results = ComparisonFile.Parse(File.ReadAllText(file));
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
        Comparison results = ComparisonFile.Parse(File.ReadAllText(file));
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

    /// <summary>Processes that were given a path in a folder, other than the comparison itself.</summary>
    private static IEnumerable<int> UsersOf(string folder) =>
        from process in Directory.EnumerateDirectories("/proc")
        where CommandLineOf(process).Contains(folder + "/", StringComparison.Ordinal)
        select int.Parse(Path.GetFileName(process), CultureInfo.InvariantCulture);

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
