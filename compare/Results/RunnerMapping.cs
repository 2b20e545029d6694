// From what the runner collected to the recorded form.

using Polyblk.Compare.Load;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Results;

/// <summary>Turns a runner's results into a <see cref="Comparison"/>.</summary>
public static class RunnerMapping
{
    private const double NsPerUs = 1000;

    /// <summary>Maps results.</summary>
    /// <param name="results">What the runner collected.</param>
    /// <param name="known">
    /// For each method what is known without running it: id, title, role, vantage, backing, whom it reaches, features, needs.
    /// What the runner found out (availability, verification, load, commands) replaces what these say.
    /// </param>
    /// <param name="environment">The machine. The noise that the runner saw is added.</param>
    /// <param name="volume">The volume.</param>
    /// <param name="commandLine">What was typed.</param>
    /// <exception cref="ComparisonFormatException">A method of the results is not known.</exception>
    public static Comparison ToComparison(
        this ComparisonResults results, IReadOnlyDictionary<string, MethodFacts> known, EnvironmentFacts environment, VolumeFacts volume, string? commandLine)
    {
        ArgumentNullException.ThrowIfNull(results);
        ArgumentNullException.ThrowIfNull(known);
        ArgumentNullException.ThrowIfNull(environment);
        RunSettings settings = results.Settings;
        MeasuredRun[] runs = [.. results.Runs.Select(r => MapRun(r, Known(known, r.Method).Id))];
        string baseline = Known(known, results.Baseline).Id;
        return new Comparison
        {
            StartedUtc = results.StartedUtc,
            ElapsedSeconds = Math.Max(0, (DateTimeOffset.UtcNow - results.StartedUtc).TotalSeconds),
            Interrupted = results.Interrupted,
            Environment = environment with { Noise = Noise(results, runs, baseline) },
            Volume = volume,
            Settings = new MeasurementSettings
            {
                Rounds = settings.Rounds,
                RuntimeSeconds = settings.SecondsPerRun,
                WarmUpSeconds = settings.WarmUpSeconds,
                TargetCpus = settings.TargetCpus,
                LoadCpus = settings.LoadCpus,
                SpanBytes = settings.SpanBytes,
                Seed = settings.Seed,
                CommandLine = commandLine,
            },
            Baseline = baseline,
            Methods = [.. results.Methods.Select(m => MapMethod(m, Known(known, m.Name)))],
            Workloads = [.. results.Workloads.Select(MapWorkload)],
            Runs = runs,
            FailedRuns = [.. results.FailedRuns.Select(r => r with { Method = Known(known, r.Method).Id })],
            Restarts = [.. results.Restarts.Select(r => r with { Method = Known(known, r.Method).Id })],
            Efficiency = results.Efficiency,
            Notes = results.Notes,
        };
    }

    /// <summary>
    /// How far the baseline wandered: the largest distance of a round's result (geometric mean of the workloads) from the median,
    /// in percent.
    /// </summary>
    public static double? Drift(IReadOnlyList<MeasuredRun> runs, string baseline)
    {
        MeasuredRun[] own = [.. runs.Where(r => r.Method == baseline && r.Iops > 0)];
        int workloads = own.Select(r => r.Workload).Distinct().Count();
        double[] rounds = [.. own.GroupBy(r => r.Round).Where(g => g.Count() == workloads).Select(g => Math.Exp(g.Average(r => Math.Log(r.Iops))))];
        return rounds.Length < 2 || Sample.Of(rounds.Select(r => (double?)r)) is not { Median: > 0 } sample ? null
            : 100 * Math.Max(sample.Maximum - sample.Median, sample.Median - sample.Minimum) / sample.Median;
    }

    private static MethodFacts Known(IReadOnlyDictionary<string, MethodFacts> known, string name) =>
        known.TryGetValue(name, out MethodFacts? facts) ? facts : throw new ComparisonFormatException($"Nothing is known of the method '{name}'.");

    private static NoiseReadings Noise(ComparisonResults results, IReadOnlyList<MeasuredRun> runs, string baseline) => new()
    {
        StealPercent = Sample.Of(results.Runs.Select(r => (double?)(100 * r.StealShare)))?.Median,
        OtherLoadPercent = Sample.Of(results.Runs.Select(r => (double?)OtherLoad(r)))?.Median,
        StealPercentBefore = results.LoadBefore?.StealPercent,
        OtherLoadPercentBefore = results.LoadBefore?.OtherPercent,
        LoadAverageAtStart = results.LoadBefore?.LoadAverage,
        ReferenceDriftPercent = Drift(runs, baseline),
    };

    private static double OtherLoad(RunRecord run) => 100 * Math.Max(0, run.ForeignCpuShare - run.StealShare);

    private static MethodFacts MapMethod(MethodRecord record, MethodFacts facts)
    {
        // The runner begins the verification when it has a load; a method that ends there was started, and its data did not come
        // back.
        bool wasDriven = record is { Ran: false, Load: not null };
        return facts with
        {
            Description = record.Description,
            Available = record.Ran || wasDriven,
            Reason = wasDriven ? facts.Reason : record.Ran ? record.Reason : record.Reason ?? "it did not start",
            Remedies = record.Remedies,
            Undriven = record.Undriven,
            Load = record.Load,
            Verification = record.Verified ? Verification.Passed : wasDriven ? Verification.Failed : Verification.NotRun,
            VerificationDetail = wasDriven ? record.Reason : record.Verified ? record.VerifiedBy : null,
            Commands = record.Commands,
        };
    }

    private static WorkloadFacts MapWorkload(Workload workload) => new()
    {
        Name = workload.Name,
        Title = workload.Title,
        Preset = workload.Preset,
        Pattern = workload.FioJobText is not null ? AccessPattern.Custom : PatternOf(workload),
        BlockBytes = workload.BlockBytes,
        QueueDepth = workload.Depth,
        Jobs = workload.Jobs,
        Engine = workload.FioJobText is not null ? "as the fio job file says" : workload.Engine switch
        {
            BlockEngine.Libaio => "block devices: libaio",
            BlockEngine.IoUringFixed => "block devices: io_uring, fixed buffers, registered files, polled where the device can be",
            _ => "block devices: io_uring",
        },
        FileSystem = workload.FileSystem,
        Scaling = workload.Scaling,
        LeftOut = workload.LeftOut,
    };

    /// <summary>Order and direction of a workload.</summary>
    internal static AccessPattern PatternOf(Workload workload) => (workload.IsRandom, workload.IsWrite) switch
    {
        (true, false) => AccessPattern.RandomRead,
        (true, true) => AccessPattern.RandomWrite,
        (false, false) => AccessPattern.SequentialRead,
        (false, true) => AccessPattern.SequentialWrite,
    };

    private static MeasuredRun MapRun(RunRecord run, string method)
    {
        bool hasProcess = run.TargetCpuNs > 0;
        double requests = run.Load.Requests;
        return new MeasuredRun
        {
            Method = method,
            Workload = run.Workload,
            Round = run.Round,
            Seconds = run.Load.Seconds,
            Iops = run.Load.Seconds > 0 ? run.Iops : 0,
            BytesPerSecond = run.Load.Seconds > 0 ? run.BytesPerSecond : 0,
            Latency = requests == 0 ? new LatencyNs() : MapLatency(run.Load),
            TargetCpuUsPerRequest = hasProcess && requests > 0 ? run.TargetCpuNs / requests / NsPerUs : null,
            LoadCpuUsPerRequest = requests > 0 ? run.Load.LoadCpuNs / requests / NsPerUs : null,
            ContextSwitchesPerRequest = hasProcess && requests > 0 ? run.TargetContextSwitches / requests : null,
            LoadContextSwitchesPerRequest = requests > 0 ? run.Load.LoadContextSwitches / requests : null,
            NotificationsPerRequest = requests > 0 ? run.Notifications / requests : null,
            Errors = run.Load.Errors,
            StealPercent = 100 * run.StealShare,
            OtherLoadPercent = OtherLoad(run),
        };
    }

    private static LatencyNs MapLatency(LoadResult load) => new()
    {
        Mean = load.MeanNs,
        P50 = Known(load, load.P50Ns, 2),
        P90 = Known(load, load.P90Ns, 10),
        P99 = Known(load, load.P99Ns, 100),
        P999 = Known(load, load.P999Ns, 1000),
        P9999 = Known(load, load.P9999Ns, 10_000),
    };

    /// <summary>
    /// A percentile beyond which one in so many requests lies. A load that does not tell it leaves it at 0; and where too few
    /// requests lie beyond it, it would be the time of one of them, not a property of the method.
    /// </summary>
    private static double? Known(LoadResult load, double ns, long oneIn) => ns > 0 && load.Requests >= LatencyNs.LeastBeyond * oneIn ? ns : null;
}
