using System.Globalization;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;

namespace Polyblk.Compare.Guest;

/// <summary>A disk inside a virtual machine, driven by fio in there.</summary>
/// <param name="Machine">Who runs commands in it.</param>
/// <param name="Path">The device in there.</param>
/// <param name="SizeBytes">How much of it is used.</param>
public sealed record GuestEndpoint(IGuestMachine Machine, string Path, long SizeBytes) : LoadEndpoint(SizeBytes)
{
    /// <inheritdoc/>
    public override string Place => Path;
}

/// <summary>A machine with disks to measure: one that a comparison started, or one of the user's.</summary>
public interface IGuestMachine
{
    /// <summary>fio's version in there.</summary>
    string FioVersion { get; }

    /// <summary>The processes on this host that are the machine; none where it runs elsewhere.</summary>
    IReadOnlyList<int> ProcessIds { get; }

    /// <summary>Runs a shell script in the machine. In it, <c>mark</c> tells this side of a moment.</summary>
    /// <param name="script">For sh.</param>
    /// <param name="limit">How long it may take. A request that is never answered would keep it for ever, and nothing in the
    /// machine can end it.</param>
    /// <param name="onMark">Called at the mark, if the script gets there.</param>
    /// <param name="cancellation">Ends the waiting.</param>
    /// <exception cref="MethodException">The machine has gone, or the script took too long; the exception is final
    /// then.</exception>
    Task<GuestCommandResult> RunAsync(string script, TimeSpan limit, Action onMark, CancellationToken cancellation);
}

/// <summary>What a script in a machine did.</summary>
/// <param name="ExitCode">Its status.</param>
/// <param name="Output">Its standard output.</param>
/// <param name="Errors">The end of its standard error.</param>
public sealed record GuestCommandResult(int ExitCode, string Output, string Errors);

/// <summary>A script's limit.</summary>
internal static class ScriptLimit
{
    /// <summary>Does something that ends with a cancellation when the time is over.</summary>
    /// <exception cref="MethodException">The time is over.</exception>
    public static async Task<GuestCommandResult> RunAsync(TimeSpan limit, Func<CancellationToken, Task<GuestCommandResult>> run, CancellationToken cancellation)
    {
        using var within = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        within.CancelAfter(limit);
        try
        {
            return await run(within.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            string time = limit.TotalSeconds.ToString("0.#", CultureInfo.InvariantCulture);
            throw new MethodException($"it stands still in the virtual machine: what was run there had not ended after {time} s") { IsFinal = true };
        }
    }
}
