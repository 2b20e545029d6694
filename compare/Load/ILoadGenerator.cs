using System.Globalization;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load;

/// <summary>How a load runs.</summary>
/// <param name="WarmUp">Not counted.</param>
/// <param name="Duration">Counted.</param>
/// <param name="Cpus">Processors that the load may use; threads are pinned to them.</param>
/// <param name="Seed">Of the random offsets.</param>
public sealed record LoadSettings(TimeSpan WarmUp, TimeSpan Duration, IReadOnlyList<int> Cpus, ulong Seed);

/// <summary>What one run of a load gave.</summary>
public sealed record LoadResult
{
    /// <summary>Requests completed in the counted time.</summary>
    public required long Requests { get; init; }

    /// <summary>Bytes moved in the counted time.</summary>
    public required long Bytes { get; init; }

    /// <summary>Length of the counted time in seconds.</summary>
    public required double Seconds { get; init; }

    /// <summary>Requests that ended with an error. Any makes the run worthless.</summary>
    public required long Errors { get; init; }

    /// <summary>Latencies in nanoseconds.</summary>
    public required double MeanNs { get; init; }

    /// <inheritdoc cref="MeanNs"/>
    public required double P50Ns { get; init; }

    /// <inheritdoc cref="MeanNs"/>
    public required double P99Ns { get; init; }

    /// <inheritdoc cref="MeanNs"/>
    public required double P999Ns { get; init; }

    /// <inheritdoc cref="MeanNs"/>
    public double P90Ns { get; init; }

    /// <inheritdoc cref="MeanNs"/>
    public double P9999Ns { get; init; }

    /// <summary>Processor time of the load itself in the counted time, in nanoseconds; null where it was not read.</summary>
    public required long? LoadCpuNs { get; init; }

    /// <summary>Context switches of the load in the counted time; null where it does not tell.</summary>
    public long? LoadContextSwitches { get; init; }

    /// <summary>Notifications that the load sent and received in the counted time; null where it does not tell.</summary>
    public long? Notifications { get; init; }

    /// <summary>From a histogram.</summary>
    public static LoadResult From(LatencyHistogram latencies, int blockBytes, double seconds, long errors, long loadCpuNs)
    {
        ArgumentNullException.ThrowIfNull(latencies);
        return new LoadResult
        {
            Requests = latencies.Count,
            Bytes = latencies.Count * blockBytes,
            Seconds = seconds,
            Errors = errors,
            MeanNs = latencies.MeanNs,
            P50Ns = latencies.Percentile(0.5),
            P99Ns = latencies.Percentile(0.99),
            P90Ns = latencies.Percentile(0.9),
            P999Ns = latencies.Percentile(0.999),
            P9999Ns = latencies.Percentile(0.9999),
            LoadCpuNs = loadCpuNs,
        };
    }
}

/// <summary>Something that drives an endpoint: the built-in loads, fio on the host, fio in a virtual machine.</summary>
public interface ILoadGenerator
{
    /// <summary>For the report.</summary>
    string Name { get; }

    /// <summary>The same with what an endpoint adds: its own version of the program.</summary>
    string NameFor(LoadEndpoint endpoint) => Name;

    /// <summary>Whether its results have notifications, so that the target need not be asked.</summary>
    bool CountsNotifications => false;

    /// <summary>Whether it can drive such an endpoint.</summary>
    bool CanDrive(LoadEndpoint endpoint);

    /// <summary>Why this workload must not run on an endpoint; null when it may.</summary>
    static string? WhyProtected(LoadEndpoint endpoint, Workload workload)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        ArgumentNullException.ThrowIfNull(workload);
        return workload.Overwrites ? endpoint.Kept?.WhyNoWrites : null;
    }

    /// <summary>Why it cannot run this workload on such an endpoint; null when it can.</summary>
    string? WhyNot(LoadEndpoint endpoint, Workload workload) => workload switch
    {
        { FioJobText: not null } => "only fio runs a fio job file, and the fio that is installed has no engine that drives this",
        { FileSystem: not null } => "a file system needs a block device",
        _ => null,
    };

    /// <summary>
    /// Writes the whole span, flushes, reads it back and compares, before anything is timed; it also fills what would read as
    /// holes. What must keep its content is read and compared only.
    /// </summary>
    /// <returns>Null when every byte came back, or what is wrong.</returns>
    Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation);

    /// <summary>
    /// The commands that the verification is, a line each, as they can be typed; a comment that says what is done instead where
    /// there is none.
    /// </summary>
    string VerifyCommands(LoadEndpoint endpoint, ulong seed) => OwnVerification(endpoint, seed);

    /// <summary>The comment for a verification by this program itself.</summary>
    static string OwnVerification(LoadEndpoint endpoint, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        return ShellLine.NoCommand(endpoint.Kept is null
            ? $"this program writes {endpoint.SizeBytes} bytes to {endpoint.Place}, flushes, reads them back and compares (seed {seed})"
            : $"this program reads a sample of {endpoint.Place} and compares it with what the drives hold");
    }

    /// <summary>The same for a run: from what it prepares for itself to what it cleans up.</summary>
    string Commands(LoadEndpoint endpoint, Workload workload, LoadSettings settings)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(settings);
        return ShellLine.NoCommand(string.Create(
            CultureInfo.InvariantCulture,
            $"{Name} drives {endpoint.Place}: {workload.Title}, {workload.TotalDepth} requests in flight on CPU {string.Join(',', settings.Cpus)}, "
            + $"{settings.WarmUp.TotalSeconds:0.###} s not counted and {settings.Duration.TotalSeconds:0.###} s counted, seed {settings.Seed}"));
    }

    /// <summary>Runs a workload.</summary>
    /// <param name="onMeasuring">
    /// Called with true when the counted time begins and with false when it ends: processor times of the target are read then. A
    /// load that cannot tell the moments calls it within the counted time: what is read is scaled from the time between the
    /// calls.
    /// </param>
    Task<LoadResult> RunAsync(
        LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation);
}
