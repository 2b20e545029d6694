using System.Diagnostics;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host.Events;
using Polyblk.Host.Serving;

namespace Polyblk.Host.Daemon;

/// <summary>What the volumes of a daemon share.</summary>
/// <param name="Plan">Where the reactors run.</param>
/// <param name="Idle">How long they poll without work.</param>
/// <param name="Frontends">The frontends of this program.</param>
public sealed record DaemonOptions(ReactorPlan Plan, IdlePolicy Idle, IReadOnlyList<IFrontend> Frontends)
{
    /// <summary>How long drives that are not there are waited for, before an array starts without them.</summary>
    public TimeSpan WaitForDrives { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long the end takes at most; what has not drained by then is left as it is. Supervisors wait 90 s before they kill
    /// (systemd's default).
    /// </summary>
    public TimeSpan StopWithin { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The only volume, of a process that is one volume's own; null for all of them.</summary>
    public string? Only { get; init; }

    /// <summary>How such a process is started, for a volume; null where none can be.</summary>
    public Func<string, ProcessStartInfo>? Isolated { get; init; }

    /// <summary>Programs that are run for each event; null for none.</summary>
    public HookOptions? Hooks { get; init; }

    /// <summary>How volumes are opened and ended; its plan, reactors and start are the daemon's.</summary>
    public ServeOptions? Serve { get; init; }
}
