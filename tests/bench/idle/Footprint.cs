using System.Diagnostics;
using System.Globalization;

namespace Polyblk.Bench.Idle;

/// <summary>What a process costs.</summary>
/// <param name="Bytes">Memory that is its alone.</param>
/// <param name="Load">Processor time for a time that went by.</param>
internal readonly record struct Footprint(long Bytes, double Load)
{
    /// <summary>Watches a process for a while (proc(5)).</summary>
    public static Footprint Of(int pid, TimeSpan time)
    {
        long began = Stopwatch.GetTimestamp();
        TimeSpan before = ProcessorTime(pid);
        Thread.Sleep(time);
        double load = (ProcessorTime(pid) - before) / Stopwatch.GetElapsedTime(began);
        return new Footprint(PrivateBytes(pid), load);
    }

    private static TimeSpan ProcessorTime(int pid)
    {
        using var process = Process.GetProcessById(pid);
        return process.TotalProcessorTime;
    }

    private static long PrivateBytes(int pid) => File.ReadLines($"/proc/{pid}/smaps_rollup")
        .Where(line => line.StartsWith("Private_", StringComparison.Ordinal))
        .Sum(line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024);
}
