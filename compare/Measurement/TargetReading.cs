// What a method's target uses between two moments. The server is asked for its notifications outside of the time in which its
// processor time is read (before the first reading, after the second), because answering costs it processor time and context
// switches of its own.

using System.Diagnostics;
using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Measurement;

/// <summary>What a target used in the counted time.</summary>
/// <param name="CpuNs">Nanoseconds on a processor.</param>
/// <param name="ContextSwitches">Voluntary and involuntary ones.</param>
/// <param name="Notifications">That it sent; null where it does not tell.</param>
internal readonly record struct TargetUse(long CpuNs, long ContextSwitches, long? Notifications);

/// <summary>What a method's target has used until a moment. See the top of the file.</summary>
/// <param name="Timestamp">The moment (<see cref="Stopwatch"/>).</param>
/// <param name="Threads">Its threads then.</param>
/// <param name="NotifiedAt">The moment at which it was asked for its notifications.</param>
/// <param name="Notifications">That it had sent then; null where it does not tell or was not asked.</param>
internal readonly record struct TargetReading(long Timestamp, ThreadReading Threads, long NotifiedAt, long? Notifications)
{
    /// <summary>At the beginning of the counted time.</summary>
    /// <param name="method">Whose target.</param>
    /// <param name="asks">Whether it is asked for its notifications; not where the load counts them.</param>
    public static TargetReading AtBegin(IRunningMethod method, bool asks)
    {
        (long notifiedAt, long? notifications) = Ask(method, asks);
        ThreadReading threads = ProcessCpu.Read(method.ProcessIds);
        return new TargetReading(Stopwatch.GetTimestamp(), threads, notifiedAt, notifications);
    }

    /// <summary>At its end.</summary>
    /// <inheritdoc cref="AtBegin"/>
    public static TargetReading AtEnd(IRunningMethod method, bool asks)
    {
        long timestamp = Stopwatch.GetTimestamp();
        ThreadReading threads = ProcessCpu.Read(method.ProcessIds);
        (long notifiedAt, long? notifications) = Ask(method, asks);
        return new TargetReading(timestamp, threads, notifiedAt, notifications);
    }

    /// <summary>
    /// What was used since an earlier reading, brought to the length of the counted time: a load that is another program is read
    /// in a part of it. Null where that part is too small.
    /// </summary>
    public TargetUse? Since(TargetReading before, double countedSeconds)
    {
        if (PartOfTime.Scale(Stopwatch.GetElapsedTime(before.Timestamp, Timestamp), countedSeconds) is not double scale)
        {
            return null;
        }

        ThreadUse used = Threads.Since(before.Threads);

        // Fewer than before: the server was started again meanwhile, and counts from zero.
        long? sent = Notifications >= before.Notifications ? Notifications - before.Notifications : null;
        return new TargetUse((long)(used.CpuNs * scale), (long)(used.ContextSwitches * scale), (long?)(sent * PartOfTime.Scale(Stopwatch.GetElapsedTime(before.NotifiedAt, NotifiedAt), countedSeconds)));
    }

    private static (long At, long? Count) Ask(IRunningMethod method, bool asks)
    {
        long? count = asks ? method.ReadNotifications() : null;
        return (Stopwatch.GetTimestamp(), count);
    }
}
