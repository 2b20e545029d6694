using System.Globalization;

namespace Polyblk.Compare.Measurement;

/// <summary>What a thread has used since its start, or in a time.</summary>
/// <param name="CpuNs">Nanoseconds on a processor, user and system.</param>
/// <param name="ContextSwitches">Voluntary and involuntary ones.</param>
public readonly record struct ThreadUse(long CpuNs, long ContextSwitches);

/// <summary>The threads that live at a moment, by their ids.</summary>
public sealed record ThreadReading(IReadOnlyDictionary<int, ThreadUse> Threads)
{
    /// <summary>Nothing: what is read of no process.</summary>
    public static ThreadReading Empty { get; } = new(new Dictionary<int, ThreadUse>());

    /// <summary>
    /// What was used since an earlier reading, thread by thread; never negative. Of a thread that has begun since then all
    /// counts. Of one that has ended nothing is known and nothing counts: taken from a sum, it would take its whole life away.
    /// One that has less than before is a new one with an old id.
    /// </summary>
    public ThreadUse Since(ThreadReading before)
    {
        ArgumentNullException.ThrowIfNull(before);
        long cpu = 0;
        long switches = 0;
        foreach ((int id, ThreadUse now) in Threads)
        {
            ThreadUse then = before.Threads.TryGetValue(id, out ThreadUse known) && known.CpuNs <= now.CpuNs && known.ContextSwitches <= now.ContextSwitches ? known : default;
            cpu += now.CpuNs - then.CpuNs;
            switches += now.ContextSwitches - then.ContextSwitches;
        }

        return new ThreadUse(cpu, switches);
    }
}

/// <summary>Processor time and context switches of processes, from /proc.</summary>
public static class ProcessCpu
{
    // USER_HZ is 100 on every architecture that .NET runs on (proc(5)).
    internal const long NsPerTick = 10_000_000;

    /// <summary>
    /// Reads every thread of processes. A process that is gone has none, and neither has a thread that ends while it is read.
    /// </summary>
    public static ThreadReading Read(params IEnumerable<int> pids)
    {
        ArgumentNullException.ThrowIfNull(pids);
        var threads = new Dictionary<int, ThreadUse>();
        foreach (string task in pids.Select(pid => $"/proc/{pid}/task").Where(Directory.Exists).SelectMany(TasksIn))
        {
            if (TryRead(task) is ThreadUse use)
            {
                threads[int.Parse(Path.GetFileName(task), CultureInfo.InvariantCulture)] = use;
            }
        }

        return new ThreadReading(threads);
    }

    private static string[] TasksIn(string folder)
    {
        try
        {
            return Directory.GetDirectories(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The process ended meanwhile.
            return [];
        }
    }

    private static ThreadUse? TryRead(string task)
    {
        try
        {
            // proc(5), /proc/pid/schedstat: time spent on the cpu in ns, time waiting, timeslices.
            long cpu = long.Parse(File.ReadAllText(Path.Combine(task, "schedstat")).Split(' ')[0], CultureInfo.InvariantCulture);
            long switches = File.ReadLines(Path.Combine(task, "status"))
                .Where(line => line.Contains("ctxt_switches", StringComparison.Ordinal))
                .Sum(line => long.Parse(line.Split(':')[1].Trim(), CultureInfo.InvariantCulture));
            return new ThreadUse(cpu, switches);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>
    /// Processor time of a process since its start in nanoseconds, user and system, with the threads that have ended: a load's
    /// threads end with the load. In steps of 10 ms. A process that is gone reads as zero.
    /// </summary>
    /// <param name="pid">The process.</param>
    /// <param name="withChildren">Whether the children that have ended and were waited for count too.</param>
    public static long ReadTotalNs(int pid, bool withChildren = false)
    {
        try
        {
            // proc(5), /proc/pid/stat: utime, stime, cutime and cstime are fields 14 to 17; the name in parentheses may hold
            // spaces.
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
