// Runs a comparison: start every method, verify its data, then measure in interleaved rounds.
//
// In each round every workload runs on every method before the next round begins, and each round starts with another method: a machine that
// becomes slower or faster meanwhile does so for all. What fails becomes a reason in the results; it never ends the others' runs. A
// cancellation ends the run that is under way; what was measured until then is kept, and everything that was started is taken down.

using System.Runtime.InteropServices;
using Polyblk.Compare.Load;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Running;

/// <summary>How a comparison is to be made.</summary>
public sealed record ComparisonPlan
{
    public required IReadOnlyList<IDeliveryMethod> Methods { get; init; }

    public required IReadOnlyList<ILoadGenerator> Loads { get; init; }

    public required IReadOnlyList<Workload> Workloads { get; init; }

    /// <summary>Name of the method that ratios refer to.</summary>
    public required string Baseline { get; init; }

    public int Rounds { get; init; } = 3;

    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(0.5);

    public TimeSpan WarmUp { get; init; } = TimeSpan.FromSeconds(0.15);

    public ulong Seed { get; init; } = 1;
}

/// <summary>Told how far a comparison is.</summary>
/// <param name="Done">Runs that are done.</param>
/// <param name="Total">Runs in all.</param>
/// <param name="What">What happens now.</param>
public sealed record ComparisonProgress(int Done, int Total, string What);

/// <summary>See the top of the file.</summary>
public sealed class ComparisonRunner(ComparisonPlan plan, ScratchSpace scratch, Action<ComparisonProgress> onProgress)
{
    private const double NoticeableShare = 0.05;

    private readonly List<(IDeliveryMethod Method, IRunningMethod Running, ILoadGenerator Load)> _active = [];
    private readonly List<MethodRecord> _methods = [];
    private readonly List<RunRecord> _runs = [];
    private readonly List<string> _notes = [];

    /// <summary>Runs it. Returns what was measured, also when it is cancelled.</summary>
    public async Task<ComparisonResults> RunAsync(CancellationToken cancellation)
    {
        DateTimeOffset started = DateTimeOffset.UtcNow;
        bool interrupted = false;
        try
        {
            await StartAllAsync(cancellation).ConfigureAwait(false);
            await MeasureAsync(cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            interrupted = true;
        }
        finally
        {
            foreach ((_, IRunningMethod running, _) in _active)
            {
                await running.DisposeAsync().ConfigureAwait(false);
            }
        }

        AddNotes();
        return new ComparisonResults
        {
            StartedUtc = started,
            Host = ReadHost(),
            Settings = new RunSettings(
                plan.Rounds, plan.Duration.TotalSeconds, plan.WarmUp.TotalSeconds, scratch.TargetCpus, scratch.LoadCpus, scratch.SpanBytes, scratch.Members),
            Methods = _methods,
            Workloads = plan.Workloads,
            Runs = _runs,
            Baseline = plan.Baseline,
            Notes = _notes,
            Interrupted = interrupted,
        };
    }

    private async Task StartAllAsync(CancellationToken cancellation)
    {
        foreach (IDeliveryMethod method in plan.Methods)
        {
            onProgress(new ComparisonProgress(0, TotalRuns, $"starting and verifying {method.Name}"));
            MethodAvailability availability = method.Check();
            MethodRecord record = new() { Name = method.Name, Description = method.Description, Ran = false };
            if (!availability.CanRun)
            {
                _methods.Add(record with { Reason = availability.Reason, Remedies = availability.Remedies });
                continue;
            }

            _methods.Add(await TryStartAsync(method, record, cancellation).ConfigureAwait(false));
        }
    }

    private async Task<MethodRecord> TryStartAsync(IDeliveryMethod method, MethodRecord record, CancellationToken cancellation)
    {
        IRunningMethod? running = null;
        try
        {
            running = await method.StartAsync(scratch, cancellation).ConfigureAwait(false);
            ILoadGenerator load = plan.Loads.First(l => l.CanDrive(running.Endpoint));
            record = record with { Load = load.Name, Commands = running.Commands };
            string? problem = await DataVerifier.VerifyAsync(running.Endpoint, plan.Seed + (ulong)_methods.Count, cancellation).ConfigureAwait(false);
            if (problem is not null)
            {
                return record with { Reason = $"the data was not kept: {problem}" };
            }

            _active.Add((method, running, load));
            running = null;
            return record with { Ran = true, Verified = true };
        }
        catch (Exception e) when (e is MethodException or IOException)
        {
            return record with { Reason = e.Message };
        }
        finally
        {
            if (running is not null)
            {
                await running.DisposeAsync().ConfigureAwait(false);
            }
        }
    }

    private int TotalRuns => plan.Rounds * plan.Workloads.Count * plan.Methods.Count;

    private async Task MeasureAsync(CancellationToken cancellation)
    {
        int done = 0;
        int total = plan.Rounds * plan.Workloads.Count * _active.Count;
        for (int round = 0; round < plan.Rounds; round++)
        {
            foreach (Workload workload in plan.Workloads)
            {
                for (int i = 0; i < _active.Count; i++)
                {
                    var (method, running, load) = _active[(i + round) % _active.Count];
                    onProgress(new ComparisonProgress(done++, total, $"round {round + 1}: {workload.Title} on {method.Name}"));
                    cancellation.ThrowIfCancellationRequested();
                    await MeasureOneAsync(method, running, load, workload, round, cancellation).ConfigureAwait(false);
                }
            }
        }

        onProgress(new ComparisonProgress(total, total, "done"));
    }

    private async Task MeasureOneAsync(
        IDeliveryMethod method, IRunningMethod running, ILoadGenerator load, Workload workload, int round, CancellationToken cancellation)
    {
        ProcessCpu.Reading before = default;
        ProcessCpu.Reading after = default;
        void OnMeasuring(bool begins)
        {
            ProcessCpu.Reading now = ReadAll(running.ProcessIds);
            (before, after) = begins ? (now, now) : (before, now);
        }

        var noise = new NoiseMeter([.. running.ProcessIds, Environment.ProcessId]);
        var settings = new LoadSettings(plan.WarmUp, plan.Duration, scratch.LoadCpus, plan.Seed + (ulong)round);
        try
        {
            LoadResult result = await load.RunAsync(running.Endpoint, workload, settings, OnMeasuring, cancellation).ConfigureAwait(false);
            _runs.Add(new RunRecord(
                method.Name, workload.Name, round, result, after.CpuNs - before.CpuNs, after.ContextSwitches - before.ContextSwitches)
            {
                ForeignCpuShare = noise.ForeignShare(),
            });
        }
        catch (Exception e) when (e is IOException or TimeoutException or MethodException)
        {
            _notes.Add($"{method.Name}, {workload.Title}, round {round + 1} failed: {e.Message}");
        }
    }

    private static ProcessCpu.Reading ReadAll(IReadOnlyList<int> pids)
    {
        long cpu = 0;
        long switches = 0;
        foreach (int pid in pids)
        {
            ProcessCpu.Reading reading = ProcessCpu.Read(pid);
            cpu += reading.CpuNs;
            switches += reading.ContextSwitches;
        }

        return new ProcessCpu.Reading(cpu, switches);
    }

    private void AddNotes()
    {
        double foreign = _runs.Count == 0 ? 0 : Statistic.Median(_runs.Select(r => r.ForeignCpuShare));
        if (foreign > NoticeableShare)
        {
            _notes.Add($"Other programs and the hypervisor took {foreign:P0} of the processor time during the runs: only ratios count, and those with care.");
        }

        if (scratch.TargetCpus.Intersect(scratch.LoadCpus).Any())
        {
            _notes.Add("Target and load share a processor, because there is only one: latencies are those of two programs taking turns.");
        }

        if (_runs.Any(r => r.Load.Errors > 0))
        {
            _notes.Add("Some requests ended with an error: the rows concerned are worth nothing. See errors in the JSON results.");
        }
    }

    private HostFacts ReadHost()
    {
        string? model = File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal));
        return new HostFacts(
            model?.Split(':')[1].Trim() ?? RuntimeInformation.ProcessArchitecture.ToString(),
            Environment.ProcessorCount,
            Environment.OSVersion.Version.ToString(),
            scratch.Directory,
            scratch.Reason);
    }
}
