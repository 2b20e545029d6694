using Microsoft.Extensions.Logging;
using Polyblk.Host;
using Polyblk.Host.Serving;

namespace Polyblk.Cli.Output;

/// <summary>What a log begins with: whoever reads it later knows which program, on what, by which doors.</summary>
internal static class StartLines
{
    /// <summary>
    /// Writes them: a line each for the version, the reactors and the frontends. Drives have theirs with their volume.
    /// </summary>
    public static void Write(ILogger log, ReactorPlan plan, IEnumerable<string> frontends)
    {
        log.LogInformation("polyblk {Version}, process {Process}", ProgramVersion.Text, Environment.ProcessId);
        log.LogInformation("Reactors: {Plan}", plan.Reason);
        log.LogInformation("Frontends: {Frontends}", string.Join(", ", frontends.Distinct()));
    }
}
