// fio with its libblkio engine: a load and a virtio driver that are not this program's. Used for sockets where fio was built with it.
//
// fio measures by itself and tells at the end; the warm-up is cut off by its ramp time. Processor times of the target are read around the
// whole run, so that with this load they include the warm-up and fio's start.

using System.Globalization;
using System.Text.Json;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load;

/// <summary>Drives vhost-user-blk with fio and libblkio.</summary>
public sealed class FioLoad : ILoadGenerator
{
    private FioLoad()
    {
    }

    /// <inheritdoc/>
    public string Name => "fio with libblkio";

    /// <summary>The load, when fio is installed and has the engine; null otherwise.</summary>
    public static FioLoad? TryFind()
    {
        if (ChildProcess.FindProgram("fio") is null)
        {
            return null;
        }

        using var fio = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("fio", "--enghelp")
        {
            RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
        })!;
        string engines = fio.StandardOutput.ReadToEnd();
        fio.WaitForExit();
        return engines.Contains("libblkio", StringComparison.Ordinal) ? new FioLoad() : null;
    }

    /// <inheritdoc/>
    public bool CanDrive(LoadEndpoint endpoint) => endpoint is VhostUserEndpoint;

    /// <inheritdoc/>
    public async Task<LoadResult> RunAsync(
        LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(settings);
        ArgumentNullException.ThrowIfNull(onMeasuring);
        var target = (VhostUserEndpoint)endpoint;
        onMeasuring(true);
        await using ChildProcess fio = ChildProcess.Start(Command(target, workload, settings), settings.Cpus);
        (int exitCode, string output) = await fio.FinishAsync(cancellation).ConfigureAwait(false);
        onMeasuring(false);
        return exitCode == 0 ? Parse(output, workload) : throw new MethodException($"fio ended with {exitCode}: {fio.LastErrors}");
    }

    internal static LoadResult Parse(string output, Workload workload)
    {
        // Messages may precede the document.
        using JsonDocument document = JsonDocument.Parse(output[output.IndexOf('{', StringComparison.Ordinal)..]);
        JsonElement job = document.RootElement.GetProperty("jobs")[0];
        JsonElement side = job.GetProperty(workload.IsWrite ? "write" : "read");
        JsonElement latency = side.GetProperty("clat_ns");
        long requests = side.GetProperty("total_ios").GetInt64();
        double seconds = side.GetProperty("runtime").GetDouble() / 1000;
        double busy = (job.GetProperty("usr_cpu").GetDouble() + job.GetProperty("sys_cpu").GetDouble()) / 100;
        return new LoadResult
        {
            Requests = requests,
            Bytes = side.GetProperty("io_bytes").GetInt64(),
            Seconds = seconds,
            Errors = job.GetProperty("error").GetInt64(),
            MeanNs = latency.GetProperty("mean").GetDouble(),
            P50Ns = Percentile(latency, "50.000000"),
            P99Ns = Percentile(latency, "99.000000"),
            P999Ns = Percentile(latency, "99.900000"),
            LoadCpuNs = (long)(busy * seconds * 1e9),
        };
    }

    private static double Percentile(JsonElement latency, string name) =>
        latency.TryGetProperty("percentile", out JsonElement all) && all.TryGetProperty(name, out JsonElement value) ? value.GetDouble() : 0;

    private static string[] Command(VhostUserEndpoint endpoint, Workload workload, LoadSettings settings)
    {
        int queues = Math.Min(endpoint.Queues, workload.Depth);
        string pattern = (workload.IsRandom ? "rand" : string.Empty) + (workload.IsWrite ? "write" : "read");
        return
        [
            "fio", "--output-format=json", "--name=compare", "--ioengine=libblkio", "--libblkio_driver=virtio-blk-vhost-user",
            $"--libblkio_path={endpoint.SocketPath}", "--hipri=1", "--thread=1", $"--numjobs={queues}", "--group_reporting=1",
            $"--rw={pattern}", $"--bs={workload.BlockBytes}", $"--iodepth={(workload.Depth + queues - 1) / queues}", $"--size={endpoint.SizeBytes}",
            "--time_based=1", string.Create(CultureInfo.InvariantCulture, $"--runtime={settings.Duration.TotalMilliseconds:0}ms"),
            string.Create(CultureInfo.InvariantCulture, $"--ramp_time={settings.WarmUp.TotalMilliseconds:0}ms"),
            $"--randseed={settings.Seed}", "--norandommap=1", "--percentile_list=50:99:99.9",
        ];
    }
}
