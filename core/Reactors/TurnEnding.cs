namespace Polyblk.Core.Reactors;

/// <summary>
/// Something that is done when a turn has ended, and the time is known. It is its own list entry, so that asking for it allocates
/// nothing. See <see cref="Reactor.AtTurnEnd"/>.
/// </summary>
public abstract class TurnEnding
{
    internal TurnEnding? NextEnding;

    internal bool IsAskedFor;

    /// <summary>The answers of a turn are out. On the reactor's thread; must not block, throw or allocate.</summary>
    /// <param name="nowNs">The time, on <see cref="Reactor.TurnNs"/>' clock.</param>
    protected internal abstract void OnTurnEnded(long nowNs);
}
