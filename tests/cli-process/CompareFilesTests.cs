using System.Globalization;
using Polyblk.Compare.Results;
using Polyblk.Host;

namespace Polyblk.Cli.Process.Tests;

public sealed class CompareFilesTests : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(4);

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    /// <summary>
    /// Two at once, in one folder and with one state directory, do not meet: each ends well, with its own results, and nothing
    /// stays. What the terminal printed as ratios comes out of each results.csv again, by hand.
    /// </summary>
    [Fact]
    public async Task TwoComparisonsAtOnceDoNotMeetAndTheRatiosComeOutOfTheirFilesAgain()
    {
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        string[] places = [_sandbox.PathOf("first"), _sandbox.PathOf("second")];
        System.Diagnostics.Process[] both = [.. places.Select(p => _sandbox.Start(
            ["compare", "--methods", "vhost-user-1q,nbd@,loop,mdadm", "--workloads", "randread", "--rounds", "3", "--runtime", "0.1", "--member-size", "32MiB", "--dir", scratch, "--restarts", "false",
                "--simulated", "0", "--out", p]))];
        string[] said = await Task.WhenAll(both.Select(p => p.StandardOutput.ReadToEndAsync()));
        foreach ((System.Diagnostics.Process process, string place, string output) in both.Zip(places, said))
        {
            Assert.True(process.WaitForExit(s_patience), "compare did not end");
            Assert.True(process.ExitCode == 0, $"it ended with {process.ExitCode}: {output}{await process.StandardError.ReadToEndAsync()}");
            Check(ResultFiles.ReadValid(Path.Combine(place, "results.json")), Path.Combine(place, "results.csv"), output);
            process.Dispose();
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
        Assert.DoesNotContain(Directory.EnumerateFileSystemEntries("/sys/block").Select(d => Path.Combine(d, "loop", "backing_file")).Where(File.Exists), f => File.ReadAllText(f).StartsWith(scratch, StringComparison.Ordinal));
    }

    /// <summary>The example of docs/compare.md is what a sceptic would run: it has to run.</summary>
    [Fact]
    public async Task TheDocumentedWayByHandGivesARatioForEachRound()
    {
        string page = await File.ReadAllTextAsync(Path.Combine(ResultFiles.Root, "docs", "compare.md"));
        string script = page.Split("**By hand**")[1].Split("```sh\n")[1].Split("```")[0];
        Assert.Contains("--runtime=2 --ramp_time=0.5", script, StringComparison.Ordinal);
        script = script.Replace("--runtime=2 --ramp_time=0.5", "--runtime=100ms --ramp_time=10ms", StringComparison.Ordinal);
        string program = Path.Combine(_sandbox.Directory, "polyblk");
        await File.WriteAllTextAsync(program, $"#!/bin/sh\nexec {PolyblkSandbox.ShellWords} \"$@\"\n");
        File.SetUnixFileMode(program, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var start = new System.Diagnostics.ProcessStartInfo("bash", ["-c", script]) { RedirectStandardOutput = true, WorkingDirectory = _sandbox.Directory };
        start.Environment["PATH"] = $"{_sandbox.Directory}:{Environment.GetEnvironmentVariable("PATH")}";
        using System.Diagnostics.Process bash = System.Diagnostics.Process.Start(start)!;
        string said = await bash.StandardOutput.ReadToEndAsync();
        Assert.True(bash.WaitForExit(s_patience), "it did not end");
        Assert.Equal(3, System.Text.RegularExpressions.Regex.Count(said, "(?m)^round [123]: nbd [1-9][0-9]*, bare [1-9][0-9]*, ratio [0-9]+[.][0-9]{2}$"));
        Assert.Empty(Directory.EnumerateFileSystemEntries("/dev/shm", "byhand-*"));
    }

    private static void Check(Comparison results, string csv, string output)
    {
        Dictionary<(string Method, string Workload), double> ratios = ResultFiles.RatiosOf(csv, "bare-drive@host");
        foreach (string id in (string[])["vhost-user-1q@host", "nbd@host"])
        {
            Assert.True(results.Method(id) is { Available: true, Verification: Verification.Passed, Reason: null }, results.Method(id).Reason);
            foreach (WorkloadFacts workload in results.Workloads)
            {
                Assert.Equal(3, results.Runs.Count(r => r.Method == id && r.Workload == workload.Name));
                string table = output.Split($"\n{workload.Title}\n")[1];
                string row = table.Split('\n').First(l => l.StartsWith(results.Method(id).Title, StringComparison.Ordinal));
                string[] cells = row[results.Method(id).Title.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
                Assert.Equal(ratios[(id, workload.Name)].ToString("0.00", CultureInfo.InvariantCulture), cells[1]); // behind the result
            }
        }
    }
}
