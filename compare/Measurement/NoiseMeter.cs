using System.Diagnostics;

namespace Polyblk.Compare.Measurement;

/// <summary>
/// How much of the machine others use between its making and a reading: everything that is neither idle nor the given processes nor this one
/// with the children that it has seen end (a load).
/// </summary>
public sealed class NoiseMeter
{
    private readonly IReadOnlyList<int> _own;
    private readonly long _ownBefore;
    private readonly Ticks _before;
    private readonly long _started = Stopwatch.GetTimestamp();

    /// <param name="own">Processes whose work is no noise. What they do in the kernel's worker threads counts as noise.</param>
    public NoiseMeter(IReadOnlyList<int> own)
    {
        _own = own;
        _ownBefore = OwnNs();
        _before = Ticks.Read();
    }

    /// <summary>Shares of all processors' time since then, each 0 to 1: what others used, the hypervisor included, and the hypervisor alone.</summary>
    public (double Foreign, double Steal) Shares()
    {
        Ticks now = Ticks.Read();
        long own = OwnNs() - _ownBefore;
        double all = Stopwatch.GetElapsedTime(_started).TotalNanoseconds * Environment.ProcessorCount;
        double foreign = ((now.Busy - _before.Busy) * ProcessCpu.NsPerTick) - own;
        double steal = (now.Steal - _before.Steal) * ProcessCpu.NsPerTick;
        return (Math.Clamp(foreign / all, 0, 1), Math.Clamp(steal / all, 0, 1));
    }

    private long OwnNs() => _own.Sum(p => ProcessCpu.ReadTotalNs(p)) + ProcessCpu.ReadTotalNs(Environment.ProcessId, withChildren: true);

    /// <summary>Ticks of all processors: not idle, and given to others by the hypervisor.</summary>
    internal readonly record struct Ticks(long Busy, long Steal)
    {
        public static Ticks Read() => Parse(File.ReadLines("/proc/stat").First());

        /// <summary>The first line of /proc/stat (proc(5)): user nice system idle iowait irq softirq steal.</summary>
        public static Ticks Parse(string line)
        {
            long[] ticks = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Take(8).Select(long.Parse)];
            return new Ticks(ticks.Sum() - ticks[3] - ticks[4], ticks[7]);
        }
    }
}
