using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Running;

/// <summary>Who has the drives. Methods with drives of their own (turn null) serve beside everybody.</summary>
internal sealed class Turns
{
    private readonly List<(object Turn, IRunningMethod Running)> _methods = [];
    private object? _current;

    /// <summary>Makes room for a method that is about to start.</summary>
    public async Task BeginAsync(object? turn)
    {
        if (turn is not null && !turn.Equals(_current))
        {
            await EndAsync().ConfigureAwait(false);
            _current = turn;
        }
    }

    /// <summary>A method that has started in its turn.</summary>
    public void Add(object? turn, IRunningMethod running)
    {
        if (turn is not null)
        {
            _methods.Add((turn, running));
        }
    }

    /// <summary>Lets a method serve, and with it those of its turn.</summary>
    /// <exception cref="MethodException">One of them does not serve again.</exception>
    public async Task TakeAsync(object? turn, CancellationToken cancellation)
    {
        if (turn is null || turn.Equals(_current))
        {
            return;
        }

        await EndAsync().ConfigureAwait(false);
        _current = turn;
        try
        {
            foreach ((_, IRunningMethod running) in _methods.Where(m => m.Turn.Equals(turn)))
            {
                await running.ResumeAsync(cancellation).ConfigureAwait(false);
            }
        }
        catch
        {
            await EndAsync().ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Nobody has the drives.</summary>
    public async Task EndAsync()
    {
        object? ending = _current;
        _current = null;
        foreach ((_, IRunningMethod running) in _methods.Where(m => m.Turn.Equals(ending)))
        {
            await running.SuspendAsync().ConfigureAwait(false);
        }
    }
}
