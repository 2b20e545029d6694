using System.Globalization;

namespace Polyblk.Compare.Measurement;

/// <summary>Processor time and context switches of processes, from /proc.</summary>
public static class ProcessCpu
{
    // USER_HZ is 100 on every architecture that .NET runs on (proc(5)).
    internal const long NsPerTick = 10_000_000;

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

    /// <summary>
    /// Processor time of a process since its start in nanoseconds, user and system, with the threads that have ended: a load's threads
    /// end with the load. In steps of 10 ms. A process that is gone reads as zero.
    /// </summary>
    /// <param name="pid">The process.</param>
    /// <param name="withChildren">Whether the children that have ended and were waited for count too.</param>
    public static long ReadTotalNs(int pid, bool withChildren = false)
    {
        try
        {
            // proc(5), /proc/pid/stat: utime, stime, cutime and cstime are fields 14 to 17; the name in parentheses may hold spaces.
            string stat = File.ReadAllText($"/proc/{pid}/stat");
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields.Skip(11).Take(withChildren ? 4 : 2).Sum(f => long.Parse(f, CultureInfo.InvariantCulture)) * NsPerTick;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }
}
