// What a door must be. A frontend is a plugin: its folder, and one line of the composition that registers it by name.
//
// Life of an export: Probe (can this host do it at all?), CreateAsync (make it, or take over what a killed process left behind
// under the same id: recovery is the ordinary way of creating), then resize, drain and resume, statistics, and StopAsync. An
// export holds the volume's device but does not own it; several exports, of any frontends, hold the same device at once and see
// coherent data.

namespace Polyblk.Frontends;

/// <summary>A kind of door to a volume: vhost-user, VDUSE, ublk, ...</summary>
public interface IFrontend
{
    /// <summary>The name on the command line, for example <c>vhost-user</c>.</summary>
    string Name { get; }

    /// <summary>One sentence: who attaches how.</summary>
    string Description { get; }

    /// <summary>The options of its own that it understands, beyond the common ones of <see cref="ExportSpec"/>.</summary>
    IReadOnlyList<FrontendOption> Options { get; }

    /// <summary>Whether each export is a device, whose node is udev's, and no socket that somebody could be let in to.</summary>
    bool IsDevice => false;

    /// <summary>Looks, without changing anything, whether this host can serve this way.</summary>
    FrontendProbe Probe();

    /// <summary>
    /// Makes the export and starts serving. Where an export with the same id was left behind by a process that died, takes it
    /// over: requests that were in flight are completed once.
    /// </summary>
    /// <exception cref="FrontendException">It cannot be made; the message says why and what to do.</exception>
    Task<IExport> CreateAsync(ExportSpec spec, ExportContext context, CancellationToken cancellation);
}

/// <summary>A volume that is being served by one door.</summary>
public interface IExport : IAsyncDisposable
{
    /// <summary>The id of <see cref="ExportSpec.Id"/>.</summary>
    string Id { get; }

    /// <summary>The name of its frontend.</summary>
    string Frontend { get; }

    /// <summary>Where it is reached.</summary>
    ExportEndpoint Endpoint { get; }

    /// <summary>The exact commands that attach it, with the endpoint filled in.</summary>
    IReadOnlyList<AttachCommand> AttachCommands { get; }

    /// <summary>
    /// Things that the user should know about this export: the copy mode and why, a feature that the kernel lacks.
    /// </summary>
    IReadOnlyList<string> Notes { get; }

    /// <summary>
    /// Finishes when the export ended by itself: normally never, with an exception after a failure that it cannot survive.
    /// </summary>
    Task Completion { get; }

    /// <summary>Counters since the start.</summary>
    ExportStatistics GetStatistics();

    /// <summary>
    /// Tells the consumers that the device's size has changed: who changes it calls this once, and exports tell of no change by
    /// themselves.
    /// </summary>
    Task ResizeAsync(CancellationToken cancellation);

    /// <summary>Stops taking requests and returns when none is in flight. Consumers wait meanwhile.</summary>
    Task DrainAsync(CancellationToken cancellation);

    /// <summary>How long its consumers can be kept waiting by <see cref="DrainAsync"/>; null for any time.</summary>
    TimeSpan? LongestPause => null;

    /// <summary>
    /// Whether another process can have its endpoint only when this process has ended, however the export is stopped.
    /// </summary>
    bool IsHeldByProcess => false;

    /// <summary>Takes requests again after <see cref="DrainAsync"/>.</summary>
    Task ResumeAsync(CancellationToken cancellation);

    /// <summary>Ends the export: stops taking requests, finishes those in flight, takes the endpoint away.</summary>
    /// <exception cref="FrontendException">It is in use and the mode is <see cref="StopMode.IfIdle"/>.</exception>
    Task StopAsync(StopMode mode, CancellationToken cancellation);
}

/// <summary>How an export is stopped.</summary>
public enum StopMode
{
    /// <summary>
    /// Refuse while somebody uses it in a way that stopping would break (a mounted file system on a kernel device).
    /// </summary>
    IfIdle,

    /// <summary>Stop in any case; requests that come later fail.</summary>
    Force,

    /// <summary>
    /// Leave the endpoint's state behind for a successor (a daemon that is being restarted): consumers wait instead of failing,
    /// where the kind of door allows that.
    /// </summary>
    HandOver,
}

/// <summary>Something about an export failed; the message is for the user and says what to do.</summary>
public class FrontendException : Exception
{
    /// <summary>Makes one.</summary>
    public FrontendException(string message)
        : base(message)
    {
    }

    /// <summary>Makes one with its cause.</summary>
    public FrontendException(string message, Exception inner)
        : base(message, inner)
    {
    }
}

/// <summary>An option of a frontend has a value that is not possible; the message says which are.</summary>
public sealed class FrontendOptionException : FrontendException
{
    /// <summary>Makes one.</summary>
    public FrontendOptionException(string message)
        : base(message)
    {
    }

    /// <summary>Makes one with its cause.</summary>
    public FrontendOptionException(string message, Exception inner)
        : base(message, inner)
    {
    }
}
