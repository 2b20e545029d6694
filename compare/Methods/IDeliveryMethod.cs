using Polyblk.Compare.Load;
using Polyblk.Compare.Results;
using Polyblk.Core.Interop;
using Polyblk.Frontends;

namespace Polyblk.Compare.Methods;

/// <summary>Whether a method can run here.</summary>
/// <param name="CanRun">Whether it can.</param>
/// <param name="Reason">Why not; empty when it can.</param>
/// <param name="Remedies">What would make it run.</param>
public sealed record MethodAvailability(bool CanRun, string Reason, IReadOnlyList<string> Remedies)
{
    public static MethodAvailability Yes { get; } = new(true, string.Empty, []);

    /// <summary>Block devices and NBD exports are driven by fio.</summary>
    public static MethodAvailability NeedsFio { get; } = new(false, "fio, which drives it, is not installed", ["apt-get install fio"]) { LacksClient = true };

    /// <summary>Whether it could serve, and only a program that drives it is missing.</summary>
    public bool LacksClient { get; init; }

    /// <summary>Whether fio is installed.</summary>
    public static MethodAvailability OfFio() => ProgramPath.TryFind("fio") is null ? NeedsFio : Yes;

    /// <summary>The same of one among those that were probed.</summary>
    public static MethodAvailability OfFrontend(IReadOnlyDictionary<string, FrontendProbe> probes, string frontend, bool byFio)
    {
        ArgumentNullException.ThrowIfNull(probes);
        return probes.TryGetValue(frontend, out FrontendProbe? probe) ? OfFrontend(probe, byFio) : new MethodAvailability(false, $"this program was built without {frontend}", []);
    }

    /// <summary>Whether a frontend of this program can be served here, and fio is there to drive it.</summary>
    public static MethodAvailability OfFrontend(FrontendProbe probe, bool byFio)
    {
        ArgumentNullException.ThrowIfNull(probe);
        return !probe.Available ? new MethodAvailability(false, probe.Summary, [.. probe.Remedies])
            : byFio ? OfFio() : Yes;
    }
}

/// <summary>
/// A way of bringing a volume to its consumer that can be measured: one of this program's, a peer's, or the bare drive; from the
/// host or from inside a virtual machine.
/// </summary>
public interface IDeliveryMethod
{
    /// <summary>
    /// What is known of it before it runs: id, title, role, vantage, backing, whom it reaches, features, needs.
    /// </summary>
    MethodFacts Facts { get; }

    /// <summary>What it is called in tables; unique in a comparison.</summary>
    string Name => Facts.Title;

    /// <summary>What is measured, in one line.</summary>
    string Description { get; }

    /// <summary>What the drives belong to that it makes: methods of one server have the same.</summary>
    object Drives => this;

    /// <summary>Looks, without changing anything.</summary>
    MethodAvailability Check();

    /// <summary>
    /// Methods that cannot serve at the same time, because they work on the same drives, have different turns; those that one
    /// process serves have the same. Null: it has drives of its own and serves always.
    /// </summary>
    object? TurnIn(ScratchSpace scratch) => null;

    /// <summary>
    /// Begins what takes long before it can serve, while others are verified. Asked only of methods without turns.
    /// </summary>
    /// <exception cref="MethodException">It does not start; <see cref="StartAsync"/> will say so again.</exception>
    Task StartAheadAsync(ScratchSpace scratch, CancellationToken cancellation) => Task.CompletedTask;

    /// <summary>Ends what was begun ahead and never started.</summary>
    Task AbandonAsync(ScratchSpace scratch) => Task.CompletedTask;

    /// <summary>Starts it; it has the turn then.</summary>
    /// <exception cref="MethodException">It does not start; the message says why.</exception>
    Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation);
}

/// <summary>A method that serves. Disposal ends everything that was started for it; nothing stays behind.</summary>
public interface IRunningMethod : IAsyncDisposable
{
    /// <summary>Where the load goes.</summary>
    LoadEndpoint Endpoint { get; }

    /// <summary>The processes that serve, whose processor time counts as the target's.</summary>
    IReadOnlyList<int> ProcessIds { get; }

    /// <summary>
    /// Processes that belong to the load's side beside the load itself: a virtual machine. Their work is no noise.
    /// </summary>
    IReadOnlyList<int> LoadProcessIds => [];

    /// <summary>The commands that were run, so that a reader can repeat them.</summary>
    IReadOnlyList<string> Commands { get; }

    /// <summary>Notifications that the target has sent since its start; null where it does not tell.</summary>
    long? ReadNotifications() => null;

    /// <summary>Why the process that serves has ended by itself; null while it lives, rests, or where there is none.</summary>
    string? WhyEnded => null;

    /// <summary>Gives the drives free for another turn.</summary>
    Task SuspendAsync() => Task.CompletedTask;

    /// <summary>Takes them again. The endpoint may be another one afterwards.</summary>
    /// <exception cref="MethodException">It does not serve again.</exception>
    Task ResumeAsync(CancellationToken cancellation) => Task.CompletedTask;
}

/// <summary>A running method whose target can be killed under load and started again by the same command.</summary>
public interface IRestartable
{
    /// <summary>Kills the target (SIGKILL) and waits until it is gone.</summary>
    Task KillAsync();

    /// <summary>Starts it again and returns when it says that it is ready.</summary>
    /// <exception cref="MethodException">It does not start.</exception>
    Task StartAgainAsync(CancellationToken cancellation);
}

/// <summary>A method could not be run; the message is for the user.</summary>
public sealed class MethodException : Exception
{
    public MethodException()
    {
    }

    public MethodException(string message)
        : base(message)
    {
    }

    public MethodException(string message, Exception innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Whether the method serves no more, so that it is not asked again.</summary>
    public bool IsFinal { get; init; }

    /// <summary>
    /// Whether what measures failed, such as the emulator of a virtual machine: it says nothing about the method.
    /// </summary>
    public bool IsOfTheLoad { get; init; }
}
