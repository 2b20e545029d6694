using Microsoft.Extensions.Logging;
using Polyblk.Core.Reactors;
using Polyblk.Host.Events;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Host.Serving;

/// <summary>What the exports of one serve share.</summary>
/// <param name="Plan">Where the reactors run.</param>
/// <param name="Idle">How long they poll without work.</param>
/// <param name="Start">How the volume is opened.</param>
public sealed record ServeOptions(ReactorPlan Plan, IdlePolicy Idle, VolumeStart Start)
{
    /// <summary>
    /// How long the end of an export waits for a drive that hangs already; supervisors wait 90 s before they kill (systemd's
    /// default).
    /// </summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>The reactors that several volumes share, by that plan; null starts some for this one.</summary>
    public ReactorGroup? Reactors { get; init; }

    /// <summary>
    /// Gives what the exports of a predecessor in another process handed over, once the volume is open; null where there was
    /// none.
    /// </summary>
    public Func<Luggage>? TakeLuggage { get; init; }

    /// <summary>
    /// Whether the others are served without an export, by its id, that cannot be made at the start. Without one that can, the
    /// start fails.
    /// </summary>
    public Func<string, bool> MayLack { get; init; } = _ => false;

    /// <summary>Who is told of what happens; null for the log alone.</summary>
    public EventLog? Events { get; init; }

    /// <summary>Opens the volume.</summary>
    public Func<VolumeRecord, ReactorGroup, VolumeStart, ILoggerFactory, CancellationToken, Task<OpenVolume>> Open { get; init; } =
        VolumeOpener.OpenAsync;
}
