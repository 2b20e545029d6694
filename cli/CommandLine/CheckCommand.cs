// polyblk check: the health of volumes as an exit code, for monitoring.

using System.CommandLine;
using Polyblk.Cli.CommandLine.Volumes;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk check</c>: 0 well, 1 degraded, 2 failed or not known; the worst of the volumes.</summary>
internal sealed class CheckCommand : ICliCommand
{
    private const int Well = 0, Degraded = 1, Bad = 2;

    private readonly Argument<string?> _name = new("VOLUME")
    {
        Description = "One volume. [default: all of this host]", Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command(
            "check", "Tell the health of volumes, by the exit code too: 0 all redundancy is there, 1 degraded, 2 failed or not known.");
        command.Arguments.Add(_name);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk check || mail -s 'a volume needs you' root < /dev/null");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        int code = Well;
        using HostDoor host = HostDoor.Open(parsed);
        IReadOnlyList<VolumeJson> volumes = parsed.GetValue(_name) is string name
            ? [await host.ShowVolumeAsync(name, _ => { }, cancellation).ConfigureAwait(false)]
            : await host.ListVolumesAsync(Unreadable, cancellation).ConfigureAwait(false);
        code = volumes.Select(CodeOf).Append(code).Max();
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson<IReadOnlyList<VolumeJson>>(
                [.. volumes.Select(v => v with { Live = null, History = null })], OutputJson.Default.IReadOnlyListVolumeJson);
            return code;
        }

        if (volumes.Count == 0 && code == Well)
        {
            terminal.WriteLine("There are no volumes.");
        }

        foreach (VolumeJson volume in volumes)
        {
            terminal.WriteLine($"{volume.Name}: {VolumeListCommand.HealthOf(volume)}");
            string?[] reasons = [volume.NotServed, volume.Problem, volume.Array?.Problem, .. volume.Array?.Warnings ?? [], .. FailedExports(volume)];
            foreach (string reason in reasons.OfType<string>().Distinct())
            {
                terminal.WriteLine($"  {reason}");
            }
        }

        return code;

        void Unreadable(string warning)
        {
            terminal.Warn(warning);
            code = Bad;
        }
    }

    private static IEnumerable<string> FailedExports(VolumeJson volume) =>
        (volume.Live?.Exports ?? []).Where(e => e.State == ExportJson.FailedState).Select(e => $"The export {e.Id} has failed: {e.Reason}");

    /// <summary>
    /// The exit code of one volume. What the daemon cannot serve, or may be damaged, is not well whatever its drives say.
    /// </summary>
    internal static int CodeOf(VolumeJson volume) => volume.Health switch
    {
        Health.Failed or Health.Unknown => Bad,
        _ when volume.NotServed is not null && volume.Status != VolumeView.WaitingStatus => Bad,
        Health.Degraded or Health.Rebuilding => Degraded,
        _ when volume.Array is { Warnings.Count: > 0 } || volume.Status == VolumeView.WaitingStatus || FailedExports(volume).Any() => Degraded,
        _ => Well,
    };
}
