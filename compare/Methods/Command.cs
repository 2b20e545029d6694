namespace Polyblk.Compare.Methods;

/// <summary>A short program that does one thing and must succeed.</summary>
internal static class Command
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    /// <summary>Runs it and returns what it printed.</summary>
    /// <exception cref="MethodException">It failed, with its own words; or it did not end, as where a device waits for a server
    /// that has gone.</exception>
    public static async Task<string> RunAsync(IReadOnlyList<string> command, CancellationToken cancellation)
    {
        await using ChildProcess child = ChildProcess.Start(command, []);
        try
        {
            (int exitCode, string output) = await child.FinishAsync(s_limit, cancellation).ConfigureAwait(false);
            return exitCode == 0 ? output : throw new MethodException($"{child.CommandLine} ended with {exitCode}: {child.LastErrors}");
        }
        catch (TimeoutException e)
        {
            throw new MethodException($"{child.CommandLine}: {e.Message}", e) { IsFinal = true };
        }
    }
}
