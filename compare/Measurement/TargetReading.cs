using System.Diagnostics;
using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Measurement;

/// <summary>What a method's target has used until a moment.</summary>
/// <param name="Timestamp">The moment (<see cref="Stopwatch"/>).</param>
/// <param name="CpuNs">Nanoseconds on a processor.</param>
/// <param name="ContextSwitches">Voluntary and involuntary ones.</param>
/// <param name="Notifications">That it sent; null where it does not tell.</param>
internal readonly record struct TargetReading(long Timestamp, long CpuNs, long ContextSwitches, long? Notifications)
{
    /// <summary>Now.</summary>
    public static TargetReading Of(IRunningMethod method)
    {
        long cpu = 0;
        long switches = 0;
        foreach (int pid in method.ProcessIds)
        {
            ProcessCpu.Reading reading = ProcessCpu.Read(pid);
            cpu += reading.CpuNs;
            switches += reading.ContextSwitches;
        }

        return new TargetReading(Stopwatch.GetTimestamp(), cpu, switches, method.ReadNotifications());
    }

    /// <summary>
    /// What was used since an earlier reading, brought to the length of the counted time: a load that is another program is read in a part of it.
    /// </summary>
    public TargetReading Since(TargetReading before, double countedSeconds)
    {
        double seconds = Stopwatch.GetElapsedTime(before.Timestamp, Timestamp).TotalSeconds;
        double scale = seconds > 0 ? countedSeconds / seconds : 0;
        return new TargetReading(
            Timestamp,
            (long)((CpuNs - before.CpuNs) * scale),
            (long)((ContextSwitches - before.ContextSwitches) * scale),
            (long?)((Notifications - before.Notifications) * scale));
    }
}
