using Microsoft.Extensions.Logging;
using Polyblk.Core.Reactors;

namespace Polyblk.Host.Serving;

/// <summary>On which processors the reactors of a served volume run, and why.</summary>
/// <param name="Cpus">One reactor each.</param>
/// <param name="Reason">One sentence for the user.</param>
public sealed record ReactorPlan(IReadOnlyList<int> Cpus, string Reason)
{
    /// <summary>
    /// Most reactors that the automatic plan takes: more are seldom worth their processors unless somebody asks for them.
    /// </summary>
    public const int AutomaticMaximum = 8;

    /// <summary>Chooses the processors.</summary>
    /// <param name="wanted">The value of <c>--reactors</c>, or null for the automatic plan.</param>
    /// <param name="allowed">Where this process may run (its affinity, which cpusets and containers limit).</param>
    /// <param name="queues">How many queues will be served in all, or null when the frontends decide.</param>
    /// <exception cref="RefusalException">None of the wanted processors may be used.</exception>
    public static ReactorPlan Make(CpuSet? wanted, CpuSet allowed, int? queues)
    {
        if (wanted is not null)
        {
            return MakeWanted(wanted, allowed);
        }

        IReadOnlyList<int> cpus = allowed.Cpus;
        bool spare = cpus.Count > 2;
        int[] usable = [.. spare ? cpus.Skip(1) : cpus];
        int count = Math.Min(usable.Length, Math.Min(AutomaticMaximum, queues ?? AutomaticMaximum));
        string rest = spare ? $"CPU {cpus[0]} is left for the rest of the system" : "there are too few CPUs to leave one free";
        string limit = queues is int q && q < Math.Min(usable.Length, AutomaticMaximum) ? $", one reactor for each of {q} queues"
            : usable.Length > AutomaticMaximum ? $", at most {AutomaticMaximum} unless --reactors asks for more"
            : string.Empty;
        return new ReactorPlan([.. usable.TakeLast(Math.Max(1, count))], $"automatic: {rest}{limit}");
    }

    /// <summary>Starts the reactors of a plan; what goes wrong on them is logged.</summary>
    public static ReactorGroup Start(ReactorPlan plan, IdlePolicy idle, ILogger log)
    {
        var reactors = new ReactorGroup(plan.Cpus, idle);
        foreach (Reactor reactor in reactors.Reactors)
        {
            // Raised on the reactor's thread, where logging is not allowed.
            reactor.Faulted += (r, source, e) => ThreadPool.QueueUserWorkItem(
                _ => log.LogError(e, "{Reactor} dropped {Source}: this is a bug", r.Name, source?.GetType().Name ?? "its loop"));
            if (reactor.RingNotice.Length > 0)
            {
                log.LogWarning("{Reactor}: {Notice}", reactor.Name, reactor.RingNotice);
            }
        }

        return reactors;
    }

    private static ReactorPlan MakeWanted(CpuSet wanted, CpuSet allowed)
    {
        int[] usable = [.. wanted.Cpus.Intersect(allowed.Cpus)];
        if (usable.Length == 0)
        {
            throw RefusalException.HostLacks(
                $"None of the processors of --reactors {wanted} may be used here: this process is limited to {allowed}.", "Choose from these.");
        }

        int[] left = [.. wanted.Cpus.Except(usable)];
        return new ReactorPlan(
            usable, left.Length == 0 ? "as --reactors says" : $"as --reactors says, without {string.Join(',', left)}, which this process may not use");
    }
}
