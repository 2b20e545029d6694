using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Tests;

/// <summary>
/// What becomes of runs that fail, of methods whose server ends, and of those that a comparison that is broken off does not
/// reach.
/// </summary>
public sealed class FailedRunTests : IDisposable
{
    private readonly string _place = Directory.CreateTempSubdirectory("polyblk-failed-").FullName;
    private readonly CancellationTokenSource _interruption = new();
    private readonly List<string> _asked = [];

    public void Dispose()
    {
        _interruption.Dispose();
        Directory.Delete(_place, recursive: true);
    }

    [Fact]
    public async Task ARunThatFailsIsRecordedAndTheMethodIsAskedAgain()
    {
        ComparisonResults results = await RunAsync(new Played("a"), new Played("b") { OnRun = run => run == 2 ? new MethodException("fio ended with 1: Input/output error") : null });
        FailedRun failed = Assert.Single(results.FailedRuns);
        Assert.Equal(("b", "w", 1, "fio ended with 1: Input/output error"), (failed.Method, failed.Workload, failed.Round, failed.Reason));
        Assert.Equal([3, 2], RunsOf(results, "a", "b"));
        Assert.All(results.Methods, m => Assert.True(m is { Ran: true, Reason: null }));
    }

    [Fact]
    public async Task AServerThatHasEndedIsAskedNoMoreAndItsRowSaysWhy()
    {
        var b = new Played("b");
        b.OnRun = run =>
        {
            b.WhyEnded = run == 2 ? "its server has ended with exit code 134" : null;
            return run == 2 ? new IOException("Connection reset by peer") : null;
        };
        ComparisonResults results = await RunAsync(new Played("a"), b);
        Assert.Equal([3, 1], RunsOf(results, "a", "b"));
        Assert.Equal(2, _asked.Count(n => n == "b"));
        Assert.Equal("Connection reset by peer; its server has ended with exit code 134", Assert.Single(results.FailedRuns).Reason);
        Assert.EndsWith("round 2 failed: Connection reset by peer; its server has ended with exit code 134", results.Methods[1].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AServerThatEndedUnnoticedIsFoundBeforeTheNextRunAndAfterTheLast()
    {
        var b = new Played("b");
        var c = new Played("c");
        b.OnRun = _ =>
        {
            b.WhyEnded = "its server has ended with exit code 1";
            return null;
        };
        c.OnRun = run =>
        {
            c.WhyEnded = run == 3 ? "its server has ended with exit code 2" : null;
            return null;
        };
        ComparisonResults results = await RunAsync(new Played("a"), b, c);
        Assert.Equal([3, 1, 3], RunsOf(results, "a", "b", "c"));
        Assert.Single(_asked, "b");
        Assert.EndsWith("round 2 failed: its server has ended with exit code 1", results.Methods[1].Reason, StringComparison.Ordinal);
        Assert.Equal("after the last round its server has ended with exit code 2", results.Methods[2].Reason);
    }

    [Fact]
    public async Task AFailureOfTheLoadsMachineIsANoteAlone()
    {
        ComparisonResults results = await RunAsync(new Played("a") { OnRun = run => run == 1 ? new MethodException("the emulator broke down") { IsOfTheLoad = true } : null });
        Assert.Empty(results.FailedRuns);
        Assert.Contains(results.Notes, n => n.Contains("the emulator broke down", StringComparison.Ordinal));
    }

    [Fact]
    public async Task WhatEndsBecauseAllIsBrokenOffDidNotFail()
    {
        ComparisonResults results = await RunAsync(new Played("a")
        {
            OnRun = run =>
            {
                _interruption.Cancel();
                return new MethodException("fio ended with 128: interrupted");
            },
        });
        Assert.True(results.Interrupted);
        Assert.Empty(results.FailedRuns);
    }

    [Fact]
    public async Task WhatABrokenOffComparisonDidNotReachHasARowThatSaysSo()
    {
        ComparisonResults results = await RunAsync(new Played("a"), new Played("b") { OnStart = _interruption.Cancel }, new Played("c"));
        Assert.True(results.Interrupted);
        Assert.Equal(["a", "b", "c"], results.Methods.Select(m => m.Name));
        Assert.Equal([true, false, false], results.Methods.Select(m => m.Ran));
        Assert.All(results.Methods.Skip(1), m => Assert.Equal("the comparison was broken off before it was started", m.Reason));
    }

    [Fact]
    public async Task BrokenOffBeforeTheBaselineServesTheResultsStillFitTogether()
    {
        var a = new Played("a") { OnStart = _interruption.Cancel };
        ComparisonResults results = await RunAsync(a);
        EnvironmentFacts environment = SmallComparison.Of([SmallComparison.Method("x")], []).Environment;
        Comparison comparison = results.ToComparison(new Dictionary<string, MethodFacts> { ["a"] = a.Facts }, environment, SmallComparison.Of([SmallComparison.Method("x")], []).Volume, null);
        Assert.True(ComparisonFile.Parse(ComparisonFile.ToJson(comparison)).Interrupted);
        Assert.Equal(comparison.Baseline, Assert.Single(comparison.Methods).Id);
    }

    [Fact]
    public async Task ABuiltInRunThatIsBrokenOffIsNone()
    {
        string path = Path.Combine(_place, "drive.img");
        await ScratchFile.CreateAsync(path, 1 << 20, CancellationToken.None);
        var settings = new LoadSettings(TimeSpan.Zero, TimeSpan.FromMinutes(5), [], 1);
        void BreakOff(bool begins)
        {
            if (begins)
            {
                _interruption.CancelAfter(TimeSpan.FromMilliseconds(20));
            }
        }

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            new DriveLoad().RunAsync(new FileEndpoint(path, 1 << 20), Presets.Quick[0], settings, BreakOff, _interruption.Token));
    }

    private async Task<ComparisonResults> RunAsync(params Played[] methods)
    {
        using ScratchSpace scratch = ScratchSpace.Create(_place, 17 << 20, 1, 1, [0], [0]);
        var plan = new ComparisonPlan
        {
            Methods = methods,
            Loads = [new PlayedLoad(methods, _asked)],
            Workloads = [new Workload("w", IsWrite: false, IsRandom: true, 4096, 1)],
            Baseline = methods[0].Facts.Title,
            Rounds = 3,
        };
        return await new ComparisonRunner(plan, scratch, _ => { }).RunAsync(_interruption.Token);
    }

    private static IEnumerable<int> RunsOf(ComparisonResults results, params string[] names) => names.Select(n => results.Runs.Count(r => r.Method == n));

    private sealed class Played(string name) : IDeliveryMethod, IRunningMethod
    {
        public MethodFacts Facts { get; } = KnownFacts.Bare(name, name, Backing.Drive);

        public string Description => name;

        public LoadEndpoint Endpoint => new FileEndpoint(name, 1 << 20);

        public IReadOnlyList<int> ProcessIds => [];

        public IReadOnlyList<string> Commands => [];

        public string? WhyEnded { get; set; }

        /// <summary>What happens in a run, counted from 1: null lets it succeed.</summary>
        public Func<int, Exception?> OnRun { get; set; } = _ => null;

        public MethodAvailability Check() => MethodAvailability.Yes;

        public Action OnStart { get; init; } = () => { };

        public Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
        {
            OnStart();
            cancellation.ThrowIfCancellationRequested();
            return Task.FromResult<IRunningMethod>(this);
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class PlayedLoad(Played[] methods, List<string> asked) : ILoadGenerator
    {
        public string Name => "played";

        public bool CanDrive(LoadEndpoint endpoint) => true;

        public Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation) => Task.FromResult<string?>(null);

        public Task<LoadResult> RunAsync(LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
        {
            string name = ((FileEndpoint)endpoint).Path;
            asked.Add(name);
            return methods.Single(m => m.Facts.Title == name).OnRun(asked.Count(n => n == name)) is Exception e ? throw e
                : Task.FromResult(new LoadResult { Requests = 1, Bytes = 4096, Seconds = 1, Errors = 0, MeanNs = 1, P50Ns = 1, P99Ns = 1, P999Ns = 1, LoadCpuNs = 1 });
        }
    }
}
