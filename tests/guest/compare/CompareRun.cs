using System.Diagnostics;
using System.Globalization;
using System.Text;
using Polyblk.Compare.Results;
using Polyblk.GuestRig;

namespace Polyblk.CompareGuest.Tests;

/// <summary>One run of the real command, as a user would type it, with its files.</summary>
internal sealed class CompareRun : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(25);

    /// <summary>Options of a comparison that is as short as can be.</summary>
    public static IReadOnlyList<string> Short { get; } = ShortWith(simulatedDrives: 0);

    private readonly string _folder = Directory.CreateTempSubdirectory("polyblk-compare-test-").FullName;

    /// <summary>The same, with RAID efficiency on so many simulated drives.</summary>
    public static IReadOnlyList<string> ShortWith(int simulatedDrives) =>
        ["--rounds", "1", "--runtime", "0.3", "--restarts", "false", "--simulated", simulatedDrives.ToString(CultureInfo.InvariantCulture), "--member-size", "16MiB"];

    /// <summary>What it printed, both streams.</summary>
    public string Text { get; private set; } = "";

    /// <summary>Its exit status.</summary>
    public int ExitCode { get; private set; }

    /// <summary>A file of the run.</summary>
    public string PathOf(string name) => Path.Combine(_folder, name);

    /// <summary>A folder that is looked through for programs before all others; null for none.</summary>
    public string? ProgramFolder { get; init; }

    /// <summary>Where it makes temporary files; null for the usual place.</summary>
    public string? TemporaryFolder { get; init; }

    /// <summary>Words of its output at which it gets SIGTERM; null for never.</summary>
    public string? TerminateAt { get; init; }

    /// <summary>Runs <c>polyblk compare</c> with these arguments.</summary>
    public Task StartAsync(params string[] arguments) => RunAsync(["compare", "--out", _folder, .. arguments]);

    /// <summary>Runs any command.</summary>
    public async Task RunAsync(params string[] arguments)
    {
        var start = new ProcessStartInfo(RigPaths.PolyblkWords[0], [.. RigPaths.PolyblkWords.Skip(1), .. arguments])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder,
        };
        // They are handed on to machines in which a whole comparison runs.
        foreach ((string variable, string value) in EmulatedRuntime.Settings)
        {
            start.Environment[variable] = value;
        }

        if (ProgramFolder is not null)
        {
            start.Environment["PATH"] = $"{ProgramFolder}:{Environment.GetEnvironmentVariable("PATH")}";
        }

        if (TemporaryFolder is not null)
        {
            start.Environment["TMPDIR"] = TemporaryFolder;
        }

        using Process process = Process.Start(start)!;
        Task<string> output = ReadAsync(process);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(s_patience);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
        finally
        {
            Text = await output + await errors;
        }

        ExitCode = process.ExitCode;
    }

    private async Task<string> ReadAsync(Process process)
    {
        var text = new StringBuilder();
        bool isTold = TerminateAt is null;
        while (await process.StandardOutput.ReadLineAsync() is string line)
        {
            text.AppendLine(line);
            if (!isTold && line.Contains(TerminateAt!, StringComparison.Ordinal))
            {
                isTold = true;
                string pid = process.Id.ToString(CultureInfo.InvariantCulture);
                TestPrograms.Run("kill", "-TERM", pid);
            }
        }

        return text.ToString();
    }

    /// <summary>The recorded results, read as any reader would, with all checks.</summary>
    public Task<Comparison> ReadAsync() => ComparisonFile.ReadAsync(PathOf("results.json"));

    /// <summary>Each method has sound figures of every workload.</summary>
    public void AssertMeasured(Comparison comparison, params string[] ids)
    {
        foreach (string id in ids)
        {
            MethodFacts method = comparison.Method(id);
            Assert.True(method is { Available: true, Verification: Verification.Passed }, $"{id}: {method.Reason ?? method.VerificationDetail}\n{Text}");
            foreach (WorkloadFacts workload in comparison.Workloads)
            {
                MeasuredRun measured = Assert.Single(comparison.Runs, r => r.Method == id && r.Workload == workload.Name);
                Assert.True(measured is { Iops: > 0, Errors: 0 }, $"{id}, {workload.Name}: {measured}");
            }
        }
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
