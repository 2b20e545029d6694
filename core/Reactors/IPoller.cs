namespace Polyblk.Core.Reactors;

/// <summary>
/// Something that a reactor polls on every turn: a virtqueue, a set of ublk tags, a socket's ring. All calls are on the reactor's thread.
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

    /// <summary>The reactor is awake: turn notifications off again. Follows every <see cref="TryArm"/>, also one that returned false; may be called without it.</summary>
    void Disarm();
}

/// <summary>Told by the reactor that a watched descriptor became readable. See <see cref="Reactor.Watch"/>.</summary>
public interface IDoorbell
{
    /// <summary>Called on the reactor's thread.</summary>
    void OnRung();
}
