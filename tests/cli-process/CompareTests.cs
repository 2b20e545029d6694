using System.Text.Json;
using Polyblk.Compare.Results;

namespace Polyblk.Cli.Process.Tests;

public sealed class CompareTests : IDisposable
{
    private const int SigInt = 2;

    private readonly PolyblkSandbox _sandbox = new();

    public void Dispose() => _sandbox.Dispose();

    [Fact]
    public void EveryMethodHasVerifiedFiguresOrAReasonAndNothingStaysBehind()
    {
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        RunOutput run = _sandbox.Must("compare", "--rounds", "1", "--seconds", "0.1", "--member-size", "32MiB", "--dir", scratch, "--json", file);
        ComparisonResults results = JsonSerializer.Deserialize(File.ReadAllText(file), ComparisonJson.Default.ComparisonResults)!;
        Assert.False(results.Interrupted);
        Assert.All(results.Methods, m => Assert.True(m is { Ran: true, Verified: true } || m.Reason is not null, m.Name));
        MethodRecord[] own = [.. results.Methods.Where(m => m.Name.StartsWith("vhost-user", StringComparison.Ordinal))];
        Assert.Equal(3, own.Length);
        Assert.All(own, m => Assert.True(m.Ran, m.Reason));
        foreach (MethodRecord method in results.Methods.Where(m => m.Ran))
        {
            RunRecord[] runs = [.. results.Runs.Where(r => r.Method == method.Name)];
            Assert.Equal(results.Workloads.Select(w => w.Name), runs.Select(r => r.Workload));
            Assert.All(runs, r => Assert.Equal(0, r.Load.Errors));
            Assert.Contains(method.Name, run.Output, StringComparison.Ordinal);
        }

        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
    }

    [Fact]
    public async Task BrokenOffItLeavesNothingBehindAndKeepsWhatItMeasured()
    {
        string file = _sandbox.PathOf("results.json");
        string scratch = Directory.CreateDirectory(_sandbox.PathOf("scratch")).FullName;
        using System.Diagnostics.Process compare = _sandbox.Start(
            ["compare", "--rounds", "500", "--seconds", "0.1", "--member-size", "32MiB", "--dir", scratch, "--json", file]);
        Task<string> output = compare.StandardOutput.ReadToEndAsync();
        Assert.True(
            SpinWait.SpinUntil(() => Directory.EnumerateFiles(scratch, "*.sock", SearchOption.AllDirectories).Any(), TimeSpan.FromSeconds(60)),
            "no target was started");
        Assert.Equal(0, Polyblk.Cli.Interop.Native.Kill(compare.Id, SigInt));
        Assert.True(compare.WaitForExit(TimeSpan.FromSeconds(60)), "compare did not end");
        Assert.Equal(130, compare.ExitCode);
        Assert.Empty(Directory.EnumerateFileSystemEntries(scratch));
        ComparisonResults results = JsonSerializer.Deserialize(File.ReadAllText(file), ComparisonJson.Default.ComparisonResults)!;
        Assert.True(results.Interrupted);
        Assert.Contains("Broken off", await output, StringComparison.Ordinal);
        Assert.DoesNotContain(Directory.EnumerateDirectories("/proc"), d => CommandLineOf(d).Contains(scratch, StringComparison.Ordinal));
    }

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
