using System.Globalization;

namespace Polyblk.Compare.Measurement;

/// <summary>Processor time and context switches of processes, from /proc.</summary>
public static class ProcessCpu
{
    /// <summary>A reading.</summary>
    /// <param name="CpuNs">Nanoseconds on a processor, user and system, of all threads that live.</param>
    /// <param name="ContextSwitches">Voluntary and involuntary switches of all threads that live.</param>
    public readonly record struct Reading(long CpuNs, long ContextSwitches);

    /// <summary>Reads a process and, for threads of the kernel that work for it, nothing more. A process that is gone reads as zero.</summary>
    public static Reading Read(int pid)
    {
        long cpu = 0;
        long switches = 0;
        string tasks = $"/proc/{pid}/task";
        if (!Directory.Exists(tasks))
        {
            return default;
        }

        foreach (string task in Directory.EnumerateDirectories(tasks))
        {
            try
            {
                // proc(5), /proc/pid/schedstat: time spent on the cpu in ns, time waiting, timeslices.
                cpu += long.Parse(File.ReadAllText(Path.Combine(task, "schedstat")).Split(' ')[0], CultureInfo.InvariantCulture);
                switches += File.ReadLines(Path.Combine(task, "status"))
                    .Where(line => line.Contains("ctxt_switches", StringComparison.Ordinal))
                    .Sum(line => long.Parse(line.Split(':')[1].Trim(), CultureInfo.InvariantCulture));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // The thread ended between the listing and the reading: it is not counted.
                continue;
            }
        }

        return new Reading(cpu, switches);
    }
}
