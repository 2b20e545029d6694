using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;

namespace Polyblk.Cli.CommandLine;

/// <summary>How long the runs of a comparison are.</summary>
internal static class CompareTimes
{
    /// <summary>
    /// What the runs of a quick comparison may take together; starting, verifying, restarts and efficiency take the rest of a
    /// minute.
    /// </summary>
    private const double QuickRunsSeconds = 28;

    private const double DefaultSeconds = 3;
    private const double LeastSeconds = 0.15;
    private const double MostQuickSeconds = 0.5;

    /// <summary>Time beside the counted one: warm-up as a part of it, a process that is started.</summary>
    private const double WarmUpShare = 0.3;
    private const double StartOfBuiltInSeconds = 0.03;
    private const double StartOfFioSeconds = 0.5;

    /// <summary>The counted time of a run and the warm-up before it.</summary>
    public static (TimeSpan Duration, TimeSpan WarmUp) Fit(CompareRequest request, IReadOnlyList<IDeliveryMethod> methods)
    {
        double seconds = request.RuntimeSeconds ?? (request.IsQuick ? QuickSeconds(request, methods) : DefaultSeconds);
        return (TimeSpan.FromSeconds(seconds), TimeSpan.FromSeconds(Math.Clamp(seconds * WarmUpShare, 0.05, 2)));
    }

    /// <summary>About how long all runs take.</summary>
    public static TimeSpan Estimate(int methods, int workloads, int rounds, TimeSpan duration, TimeSpan warmUp) =>
        methods * workloads * rounds * (duration + warmUp + TimeSpan.FromSeconds(StartOfFioSeconds));

    private static double QuickSeconds(CompareRequest request, IReadOnlyList<IDeliveryMethod> methods)
    {
        IDeliveryMethod[] running = [.. methods.Where(m => m.Check().CanRun)];
        int byFio = running.Count(m => m.Facts.Role != MethodRole.Bare && !m.Facts.Needs.SharedMemory);
        double runs = request.Rounds * Math.Max(1, request.Workloads.Count(w => w.LeftOut is null));
        double starts = runs * ((byFio * StartOfFioSeconds) + ((running.Length - byFio) * StartOfBuiltInSeconds));
        return Math.Clamp((QuickRunsSeconds - starts) / (runs * running.Length * (1 + WarmUpShare)), LeastSeconds, MostQuickSeconds);
    }
}
