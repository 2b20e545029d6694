using System.Text.Json;

namespace Polyblk.Bench;

/// <summary>What one fio run measured.</summary>
/// <param name="Iops">Requests a second.</param>
/// <param name="MeanUs">Mean completion latency in microseconds.</param>
/// <param name="P99Us">99th percentile of it.</param>
/// <param name="TargetCpuUs">Processor time of the target for each request, in microseconds.</param>
internal sealed record FioRun(double Iops, double MeanUs, double P99Us, double TargetCpuUs)
{
    /// <summary>Drives a target once with fio's libblkio engine, polling.</summary>
    public static FioRun Execute(BenchPaths paths, Target target, Workload load, string cpus, double seconds, long sizeBytes)
    {
        double cpuBefore = target.CpuSeconds();
        string json = BenchPaths.Run("taskset", ["-c", cpus, paths.Fio, .. Arguments(target, load, seconds, sizeBytes)]);
        double cpu = target.CpuSeconds() - cpuBefore;
        using JsonDocument document = JsonDocument.Parse(json[json.IndexOf('{', StringComparison.Ordinal)..]);
        JsonElement side = document.RootElement.GetProperty("jobs")[0].GetProperty(load.Writes ? "write" : "read");
        JsonElement latency = side.GetProperty("clat_ns");
        double iops = side.GetProperty("iops").GetDouble();
        double requests = side.GetProperty("total_ios").GetDouble();
        double p99 = latency.TryGetProperty("percentile", out JsonElement p) ? p.GetProperty("99.000000").GetDouble() / 1000 : 0;
        return new FioRun(iops, latency.GetProperty("mean").GetDouble() / 1000, p99, requests > 0 ? cpu * 1e6 / requests : 0);
    }

    /// <summary>fio's arguments; the report shows them.</summary>
    public static IReadOnlyList<string> Arguments(Target target, Workload load, double seconds, long sizeBytes)
    {
        var list = new List<string>
        {
            "--name=bench", "--ioengine=libblkio", "--libblkio_driver=virtio-blk-vhost-user", $"--libblkio_path={target.Socket}",
            "--libblkio_wait_mode=loop", $"--rw={load.Pattern}", $"--bs={load.BlockBytes}", $"--iodepth={load.QueueDepth}", "--thread=1",
            $"--numjobs={load.Queues}", "--group_reporting=1", "--time_based=1", $"--runtime={seconds}s", $"--size={sizeBytes}",
            "--norandommap=1", "--randrepeat=0", "--gtod_reduce=0", "--output-format=json",
        };
        if (load.AlignBytes != 0)
        {
            list.Add($"--blockalign={load.AlignBytes}");
        }

        return list;
    }
}
