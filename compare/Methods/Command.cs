namespace Polyblk.Compare.Methods;

/// <summary>A short program that does one thing and must succeed.</summary>
internal static class Command
{
    /// <summary>Runs it and returns what it printed.</summary>
    /// <exception cref="MethodException">It failed; with its own words.</exception>
    public static async Task<string> RunAsync(IReadOnlyList<string> command, CancellationToken cancellation)
    {
        await using ChildProcess child = ChildProcess.Start(command, []);
        (int exitCode, string output) = await child.FinishAsync(cancellation).ConfigureAwait(false);
        return exitCode == 0 ? output : throw new MethodException($"{child.CommandLine} ended with {exitCode}: {child.LastErrors}");
    }
}
