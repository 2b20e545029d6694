using Polyblk.Compare.Load;

namespace Polyblk.Compare.Methods;

/// <summary>Whether a method can run here.</summary>
/// <param name="CanRun">Whether it can.</param>
/// <param name="Reason">Why not; empty when it can.</param>
/// <param name="Remedies">What would make it run.</param>
public sealed record MethodAvailability(bool CanRun, string Reason, IReadOnlyList<string> Remedies)
{
    public static MethodAvailability Yes { get; } = new(true, string.Empty, []);
}

/// <summary>A way of bringing a volume to its consumer that can be measured: one of this program's, a peer's, or the bare drive.</summary>
public interface IDeliveryMethod
{
    /// <summary>Stable name, for results: <c>vhost-user/2q</c>.</summary>
    string Name { get; }

    /// <summary>What is measured, in one line.</summary>
    string Description { get; }

    /// <summary>Looks, without changing anything.</summary>
    MethodAvailability Check();

    /// <summary>Starts it.</summary>
    /// <exception cref="MethodException">It does not start; the message says why.</exception>
    Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation);
}

/// <summary>A method that serves.</summary>
public interface IRunningMethod : IAsyncDisposable
{
    /// <summary>Where the load goes.</summary>
    LoadEndpoint Endpoint { get; }

    /// <summary>The processes that serve, whose processor time counts as the target's.</summary>
    IReadOnlyList<int> ProcessIds { get; }

    /// <summary>The commands that were run, so that a reader can repeat them.</summary>
    IReadOnlyList<string> Commands { get; }
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
}
