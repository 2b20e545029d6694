// The reactors of a process, and the plan that spreads queues over them.
//
// Each queue goes to the reactor with the fewest queues; a session's queues therefore land on different reactors as long as there
// are reactors to spare: one busy VM uses many processors, many small VMs share few.

namespace Polyblk.Core.Reactors;

/// <summary>A fixed set of reactors with a count of the queues on each. Control threads only.</summary>
public sealed class ReactorGroup : IDisposable
{
    private readonly Lock _lock = new();
    private readonly int[] _assigned;

    /// <summary>Starts one reactor for each processor of the set.</summary>
    public ReactorGroup(IReadOnlyList<int> cpus, IdlePolicy idle)
        : this(Options(cpus, idle))
    {
    }

    /// <summary>Starts the given reactors.</summary>
    public ReactorGroup(IReadOnlyList<ReactorOptions> options)
    {
        ArgumentNullException.ThrowIfNull(options);
        var reactors = new List<Reactor>(options.Count);
        try
        {
            foreach (ReactorOptions each in options)
            {
                reactors.Add(new Reactor(each));
            }
        }
        catch
        {
            reactors.ForEach(r => r.Dispose());
            throw;
        }

        Reactors = reactors;
        _assigned = new int[reactors.Count];
    }

    /// <summary>A group of one reactor, which it disposes at its end. For tests that step it.</summary>
    internal ReactorGroup(Reactor reactor)
    {
        Reactors = [reactor];
        _assigned = new int[1];
    }

    /// <summary>The reactors.</summary>
    public IReadOnlyList<Reactor> Reactors { get; }

    /// <summary>Picks a reactor for one more queue: the one with the fewest, the first of equals.</summary>
    public Reactor Assign()
    {
        lock (_lock)
        {
            int best = 0;
            for (int i = 1; i < _assigned.Length; i++)
            {
                if (_assigned[i] < _assigned[best])
                {
                    best = i;
                }
            }

            _assigned[best]++;
            return Reactors[best];
        }
    }

    /// <summary>A queue left the reactor.</summary>
    public void Release(Reactor reactor)
    {
        lock (_lock)
        {
            for (int i = 0; i < _assigned.Length; i++)
            {
                if (ReferenceEquals(Reactors[i], reactor))
                {
                    _assigned[i]--;
                }
            }
        }
    }

    /// <summary>How many queues each reactor has, in the order of <see cref="Reactors"/>: the visible plan.</summary>
    public IReadOnlyList<int> Plan
    {
        get
        {
            lock (_lock)
            {
                return [.. _assigned];
            }
        }
    }

    /// <summary>
    /// Threads that wait in a reactor's place get the processors on which no reactor polls, where there are any.
    /// </summary>
    private static ReactorOptions[] Options(IReadOnlyList<int> cpus, IdlePolicy idle)
    {
        CpuSet helpers = CpuSet.Allowed().Without(cpus);
        return [.. cpus.Select(cpu => new ReactorOptions { Name = $"reactor/{cpu}", Cpu = cpu, Idle = idle, HelperCpus = helpers })];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (Reactor reactor in Reactors)
        {
            reactor.Dispose();
        }
    }
}
