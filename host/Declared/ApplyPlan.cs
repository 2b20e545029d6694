namespace Polyblk.Host.Declared;

/// <summary>In what order things are done. What may be refused comes early, and what consumers see comes late.</summary>
internal enum ApplyPhase
{
    /// <summary>Nothing is done.</summary>
    Nothing,

    /// <summary>A volume is made.</summary>
    Volume,

    /// <summary>Something that is kept of a volume.</summary>
    Setting,

    /// <summary>A drive comes to a volume.</summary>
    Spare,

    /// <summary>An export ends: its socket may be that of one that is made.</summary>
    Remove,

    /// <summary>An export is made.</summary>
    Export,

    /// <summary>What only who serves the volume can change.</summary>
    Served,
}

/// <summary>Something that is to be done.</summary>
/// <param name="Phase">When.</param>
/// <param name="What">What it is.</param>
/// <param name="DoAsync">Does it; null where nothing is to be done. Returns what it became.</param>
internal sealed record ApplyStep(ApplyPhase Phase, Difference What, Func<CancellationToken, Task<Difference>>? DoAsync);

/// <summary>What an apply does: all of it was looked at.</summary>
public sealed class ApplyPlan
{
    private readonly List<ApplyStep> _steps;

    internal ApplyPlan(IEnumerable<ApplyStep> steps, IReadOnlyList<string> notes) => (_steps, Notes) = ([.. steps], notes);

    /// <summary>What is good to know.</summary>
    public IReadOnlyList<string> Notes { get; }

    /// <summary>Everything that the declaration names, in its order.</summary>
    public IReadOnlyList<Difference> Differences => [.. _steps.Select(s => s.What)];

    /// <summary>Whether anything is to be done.</summary>
    public bool Differs => _steps.Any(s => s.DoAsync is not null);

    /// <summary>What is being done, or was when it failed; null before and afterwards.</summary>
    public Difference? Doing { get; private set; }

    /// <summary>Does it. What was done before something fails stays done: the same declaration goes on from there.</summary>
    /// <param name="tell">Told each thing when it is done.</param>
    /// <param name="cancellation">Gives up between two things.</param>
    /// <exception cref="RefusalException">Something could not be done.</exception>
    public async Task DoAsync(Action<Difference> tell, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(tell);
        foreach (ApplyStep step in _steps.OrderBy(s => s.Phase))
        {
            cancellation.ThrowIfCancellationRequested();
            Doing = step.What;
            tell(step.DoAsync is null ? step.What : await step.DoAsync(cancellation).ConfigureAwait(false));
            Doing = null;
        }
    }
}
