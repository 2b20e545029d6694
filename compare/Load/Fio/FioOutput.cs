using System.Text.Json;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load.Fio;

/// <summary>Reads what fio says at the end (--output-format=json).</summary>
public static class FioOutput
{
    private const double NsPerSecond = 1e9;

    /// <summary>The result of a run.</summary>
    /// <exception cref="MethodException">It holds no result.</exception>
    public static LoadResult Parse(string output, Workload workload)
    {
        ArgumentNullException.ThrowIfNull(output);
        ArgumentNullException.ThrowIfNull(workload);
        try
        {
            using JsonDocument document = JsonDocument.Parse(Json(output));
            string side = workload.FioJobText is not null ? "mixed" : workload.IsWrite ? "write" : "read";
            return Combine([.. document.RootElement.GetProperty("jobs").EnumerateArray().Select(j => ReadJob(j, side))]);
        }
        catch (Exception e) when (e is JsonException or KeyNotFoundException)
        {
            throw new MethodException($"fio did not say what it measured: {e.Message}", e);
        }
    }

    /// <summary>Errors that fio counted, over all jobs; for a verification, which has no figures.</summary>
    public static long Errors(string output)
    {
        using JsonDocument document = JsonDocument.Parse(Json(output));
        return document.RootElement.GetProperty("jobs").EnumerateArray().Sum(j => j.GetProperty("error").GetInt64());
    }

    /// <summary>Messages may precede the document.</summary>
    private static string Json(string output) => output[Math.Max(0, output.IndexOf('{', StringComparison.Ordinal))..];

    private static LoadResult ReadJob(JsonElement job, string sideName)
    {
        JsonElement side = job.GetProperty(sideName);
        JsonElement latency = side.GetProperty("clat_ns");
        double seconds = side.GetProperty("runtime").GetDouble() / 1000;
        double busy = (job.GetProperty("usr_cpu").GetDouble() + job.GetProperty("sys_cpu").GetDouble()) / 100;

        // usr_cpu and sys_cpu are percentages of job_runtime, which sums over the jobs of a group.
        double jobSeconds = job.TryGetProperty("job_runtime", out JsonElement runtime) ? runtime.GetDouble() / 1000 : seconds;
        return new LoadResult
        {
            Requests = side.GetProperty("total_ios").GetInt64(),
            Bytes = side.GetProperty("io_bytes").GetInt64(),
            Seconds = seconds,
            Errors = job.GetProperty("error").GetInt64() == 0 ? 0 : Math.Max(1, job.TryGetProperty("total_err", out JsonElement errors) ? errors.GetInt64() : 1),
            MeanNs = latency.GetProperty("mean").GetDouble(),
            P50Ns = Percentile(latency, "50.000000"),
            P90Ns = Percentile(latency, "90.000000"),
            P99Ns = Percentile(latency, "99.000000"),
            P999Ns = Percentile(latency, "99.900000"),
            P9999Ns = Percentile(latency, "99.990000"),
            LoadCpuNs = (long)(busy * jobSeconds * NsPerSecond),
            LoadContextSwitches = job.TryGetProperty("ctx", out JsonElement switches) ? switches.GetInt64() : null,
        };
    }

    /// <summary>
    /// Several groups of a user's job file: sums; percentiles of different groups cannot be combined and are left out.
    /// </summary>
    private static LoadResult Combine(LoadResult[] groups)
    {
        if (groups.Length == 1)
        {
            return groups[0];
        }

        long requests = groups.Sum(g => g.Requests);
        return new LoadResult
        {
            Requests = requests,
            Bytes = groups.Sum(g => g.Bytes),
            Seconds = groups.Max(g => g.Seconds),
            Errors = groups.Sum(g => g.Errors),
            MeanNs = requests == 0 ? 0 : groups.Sum(g => g.MeanNs * g.Requests) / requests,
            P50Ns = 0,
            P99Ns = 0,
            P999Ns = 0,
            LoadCpuNs = groups.Sum(g => g.LoadCpuNs),
            LoadContextSwitches = groups.Sum(g => g.LoadContextSwitches),
        };
    }

    private static double Percentile(JsonElement latency, string name) =>
        latency.TryGetProperty("percentile", out JsonElement all) && all.TryGetProperty(name, out JsonElement value) ? value.GetDouble() : 0;
}
