using System.Diagnostics;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>Has this daemon succeeded by the program as it is installed now.</summary>
/// <param name="server">Where the successor asks for what is served.</param>
/// <param name="program">How it is started: with what makes it take over.</param>
public sealed class Succession(HandOverServer server, Func<ProcessStartInfo> program)
{
    /// <summary>A program that has not begun by then does not begin: opening drives that answer slowly may take its
    /// time.</summary>
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    /// <summary>Starts the successor, and waits until it has everything.</summary>
    /// <returns>Its process.</returns>
    /// <exception cref="RefusalException">It ended before, or does not begin; this daemon goes on.</exception>
    public async Task<int> RunAsync(CancellationToken cancellation)
    {
        using Process successor = ChildProcess.Start(program());
        Task<int> ended = ExitCodeOf(successor, cancellation);
        Task first = await Task.WhenAny(server.Completed, ended, Task.Delay(s_limit, cancellation)).ConfigureAwait(false);
        if (server.Completed.IsCompleted)
        {
            return await server.Completed.ConfigureAwait(false);
        }

        cancellation.ThrowIfCancellationRequested();
        throw RefusalException.Refused(
            first == ended
                ? $"The new program ended with exit code {await ended.ConfigureAwait(false)} and has not taken over: this one goes on."
                : $"The new program (process {successor.Id}) has not taken over within {s_limit.TotalMinutes} minutes: this one goes on.",
            "Its messages are in the daemon's log.");
    }

    private static async Task<int> ExitCodeOf(Process process, CancellationToken cancellation)
    {
        await process.WaitForExitAsync(cancellation).ConfigureAwait(false);
        return process.ExitCode;
    }
}
