namespace Polyblk.Core.Reactors;

/// <summary>A one-shot timer of a reactor. Made once and scheduled many times; scheduling allocates nothing.</summary>
public abstract class ReactorTimer
{
    internal const int NotScheduled = -1;

    /// <summary>Position in the reactor's heap.</summary>
    internal int HeapIndex = NotScheduled;

    /// <summary>When it fires, on <see cref="Reactor.NowNs"/>'s clock.</summary>
    public long DueNs { get; internal set; }

    /// <summary>Whether it is waiting to fire.</summary>
    public bool IsScheduled => HeapIndex != NotScheduled;

    /// <summary>Called on the reactor's thread when the time has come. May schedule the timer again.</summary>
    protected internal abstract void OnDue();
}
