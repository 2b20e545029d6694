namespace Polyblk.Core.Reactors;

/// <summary>
/// Something that a reactor polls on every turn: a virtqueue, a set of ublk tags, a socket's ring. All calls are on the reactor's
/// thread.
/// </summary>
public interface IPoller
{
    /// <summary>Does a bounded amount of work (a batch) and returns how much it found: 0 when there was none.</summary>
    int Poll();

    /// <summary>
    /// The reactor is about to sleep: turn notifications on (EVENT_IDX, interrupts), then look once more.
    /// Returns false when there is work after all; the reactor then stays awake.
    /// </summary>
    bool TryArm();

    /// <summary>
    /// The reactor is awake: turn notifications off again. Follows every <see cref="TryArm"/>, also one that returned false; may
    /// be called without it.
    /// </summary>
    void Disarm();

    /// <summary>
    /// The reactor has taken this poller out because it threw, or because something that it started did (<see
    /// cref="Reactor.Drop"/>): it is not polled any more. It tells whoever waits for it, so that no drain and no stop waits for
    /// ever, and touches nothing that may be half done. May be called again; must not throw.
    /// </summary>
    /// <param name="error">What was thrown: a bug of ours.</param>
    void OnDropped(Exception error);
}

/// <summary>Told by the reactor that a watched descriptor became readable. See <see cref="Reactor.Watch"/>.</summary>
public interface IDoorbell
{
    /// <summary>Called on the reactor's thread.</summary>
    void OnRung();
}
