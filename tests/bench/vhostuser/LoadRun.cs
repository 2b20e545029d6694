using System.Globalization;
using System.Text.Json;
using Polyblk.Blkio;

namespace Polyblk.Bench;

/// <summary>What one run measured.</summary>
/// <param name="Iops">Requests a second.</param>
/// <param name="MeanUs">Mean latency in microseconds.</param>
/// <param name="P99Us">99th percentile of it.</param>
/// <param name="TargetCpuUs">Processor time of the target for each request, in microseconds.</param>
internal sealed record LoadRun(double Iops, double MeanUs, double P99Us, double TargetCpuUs)
{
    private const string Driver = "virtio-blk-vhost-user";

    /// <summary>Drives a target once, from a process of its own on processors of its own.</summary>
    public static LoadRun Execute(BenchPaths paths, Target target, Workload load, string cpus, double seconds, long spanBytes)
    {
        double cpuBefore = target.CpuSeconds();
        string[] arguments =
        [
            "-c", cpus, paths.Self, "load", target.Socket, load.Pattern, Text(load.BlockBytes), Text(load.QueueDepth), Text(load.Queues), Text(spanBytes),
            seconds.ToString(CultureInfo.InvariantCulture), load.Manner.ToString(),
        ];
        BlkioResult result = JsonSerializer.Deserialize<BlkioResult>(BenchPaths.Run("taskset", arguments))!;
        double cpu = target.CpuSeconds() - cpuBefore;
        if (result.Errors != 0)
        {
            throw new InvalidOperationException($"{target.Label}, {load.Name}: {result.Errors} requests failed.");
        }

        return new LoadRun(result.Iops, result.MeanNs / 1000, result.P99Ns / 1000, result.Requests > 0 ? cpu * 1e6 / result.Requests : 0);
    }

    /// <summary>Writes the whole span once: memory that was never touched is slower than any target.</summary>
    public static void Fill(BenchPaths paths, Target target, string cpus, long spanBytes) =>
        BenchPaths.Run("taskset", ["-c", cpus, paths.Self, "fill", target.Socket, Text(spanBytes)]);

    /// <summary>The other half of <see cref="Fill"/>.</summary>
    public static void RunFill(string[] arguments)
    {
        using var client = new BlkioClient(arguments[0]);
        byte[] data = new byte[1 << 20];
        new Random(1).NextBytes(data);
        long end = Math.Min(client.CapacityBytes, long.Parse(arguments[1], CultureInfo.InvariantCulture));
        for (long at = 0; at + data.Length <= end; at += data.Length)
        {
            if (client.Write(at, data) != 0)
            {
                throw new IOException($"Filling {arguments[0]} failed at {at}.");
            }
        }
    }

    /// <summary>The other half: what the process of its own does with these arguments. Prints the result as JSON.</summary>
    public static void RunLoad(string[] arguments)
    {
        string pattern = arguments[1];
        var load = new BlkioPattern(
            Write: pattern.EndsWith("write", StringComparison.Ordinal),
            Sequential: !pattern.StartsWith("rand", StringComparison.Ordinal),
            BlockBytes: Number(arguments[2]),
            QueueDepth: Number(arguments[3]),
            Queues: Number(arguments[4]),
            SpanBytes: long.Parse(arguments[5], CultureInfo.InvariantCulture),
            Seconds: double.Parse(arguments[6], CultureInfo.InvariantCulture),
            Manner: Enum.Parse<BlkioManner>(arguments[7]));
        Console.WriteLine(JsonSerializer.Serialize(BlkioLoad.Run(Driver, arguments[0], load)));
    }

    private static string Text(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
