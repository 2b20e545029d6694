using System.Diagnostics;

namespace Polyblk.Compare.Measurement;

/// <summary>How much of the machine others use between its making and a reading: everything that is neither idle nor the given processes.</summary>
public sealed class NoiseMeter
{
    private readonly IReadOnlyList<int> _own;
    private readonly long _busyBefore;
    private readonly long _ownBefore;
    private readonly long _started = Stopwatch.GetTimestamp();

    /// <param name="own">Processes whose work is no noise. What they do in the kernel's worker threads counts as noise.</param>
    public NoiseMeter(IReadOnlyList<int> own)
    {
        _own = own;
        _ownBefore = OwnNs();
        _busyBefore = ReadBusyTicks(File.ReadLines("/proc/stat").First()) * ProcessCpu.NsPerTick;
    }

    /// <summary>The share of all processors' time since then, 0 to 1.</summary>
    public double ForeignShare()
    {
        long busy = (ReadBusyTicks(File.ReadLines("/proc/stat").First()) * ProcessCpu.NsPerTick) - _busyBefore;
        long own = OwnNs() - _ownBefore;
        double all = Stopwatch.GetElapsedTime(_started).TotalNanoseconds * Environment.ProcessorCount;
        return Math.Clamp((busy - own) / all, 0, 1);
    }

    /// <summary>
    /// Ticks of all processors that were not idle, from the first line of /proc/stat: user nice system idle iowait irq softirq steal.
    /// </summary>
    internal static long ReadBusyTicks(string line)
    {
        long[] ticks = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Take(8).Select(long.Parse)];
        return ticks.Sum() - ticks[3] - ticks[4];
    }

    private long OwnNs() => _own.Sum(ProcessCpu.ReadTotalNs);
}
