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

    /// <summary>Processor time of the load itself in the counted time, in nanoseconds.</summary>
    public required long LoadCpuNs { get; init; }

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
            P999Ns = latencies.Percentile(0.999),
            LoadCpuNs = loadCpuNs,
        };
    }
}

/// <summary>Something that drives an endpoint: the built-in client, or fio.</summary>
public interface ILoadGenerator
{
    /// <summary>For the report.</summary>
    string Name { get; }

    /// <summary>Whether it can drive such an endpoint.</summary>
    bool CanDrive(LoadEndpoint endpoint);

    /// <summary>Runs a workload.</summary>
    /// <param name="onMeasuring">Called when the counted time begins and (true) when it ends: the runner reads processor times then.</param>
    Task<LoadResult> RunAsync(
        LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation);
}
