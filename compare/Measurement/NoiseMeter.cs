using System.Diagnostics;
using System.Globalization;
using Polyblk.Core.Reactors;

namespace Polyblk.Compare.Measurement;

/// <summary>
/// How much of the processors that this program may use others take between its making and a reading: everything that is neither
/// idle nor the given processes nor this one with the children that it has seen end (a load). On processors that others have to
/// themselves (taskset, a cpuset) nothing counts.
/// </summary>
public sealed class NoiseMeter
{
    // Asked of the first thread that comes, and once: those that serve or load are pinned to some of them.
    private static readonly Lazy<IReadOnlyList<int>> s_cpus = new(() => CpuSet.Allowed().Cpus);

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

    /// <summary>
    /// Shares of these processors' time since then, each 0 to 1: what others used, the hypervisor included, and the hypervisor
    /// alone.
    /// </summary>
    public (double Foreign, double Steal) Shares()
    {
        Ticks now = Ticks.Read();
        long own = OwnNs() - _ownBefore;
        double all = Stopwatch.GetElapsedTime(_started).TotalNanoseconds * s_cpus.Value.Count;
        double foreign = ((now.Busy - _before.Busy) * ProcessCpu.NsPerTick) - own;
        double steal = (now.Steal - _before.Steal) * ProcessCpu.NsPerTick;
        return (Math.Clamp(foreign / all, 0, 1), Math.Clamp(steal / all, 0, 1));
    }

    private long OwnNs() => _own.Sum(p => ProcessCpu.ReadTotalNs(p)) + ProcessCpu.ReadTotalNs(Environment.ProcessId, withChildren: true);

    /// <summary>Ticks of processors: not idle, and given to others by the hypervisor.</summary>
    internal readonly record struct Ticks(long Busy, long Steal)
    {
        public static Ticks Read() => Of(File.ReadLines("/proc/stat"), s_cpus.Value);

        /// <summary>
        /// The sum over some processors, which have a line each (proc(5), /proc/stat: <c>cpu0 user nice ...</c>).
        /// </summary>
        public static Ticks Of(IEnumerable<string> lines, IReadOnlyList<int> cpus)
        {
            HashSet<string> names = [.. cpus.Select(c => string.Create(CultureInfo.InvariantCulture, $"cpu{c}"))];
            var sum = default(Ticks);
            foreach (string line in lines.TakeWhile(l => l.StartsWith("cpu", StringComparison.Ordinal)))
            {
                if (names.Contains(line[..line.IndexOf(' ', StringComparison.Ordinal)]))
                {
                    Ticks one = Parse(line);
                    sum = new Ticks(sum.Busy + one.Busy, sum.Steal + one.Steal);
                }
            }

            return sum;
        }

        /// <summary>One line: user nice system idle iowait irq softirq steal; what guests used is in user already.</summary>
        public static Ticks Parse(string line)
        {
            long[] ticks = [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Take(8).Select(long.Parse)];
            return new Ticks(ticks.Sum() - ticks[3] - ticks[4], ticks[7]);
        }
    }
}
