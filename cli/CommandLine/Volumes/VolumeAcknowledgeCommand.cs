using System.CommandLine;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary>
/// <c>polyblk volume acknowledge</c>: the user has checked what a start without a member may have damaged; the warning goes.
/// </summary>
internal sealed class VolumeAcknowledgeCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();

    public Command Build()
    {
        var command = new Command(
            "acknowledge", "Let the warning go that blocks may be damaged, while the volume is served: its file systems were "
            + "checked.");
        command.Arguments.Add(_name);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string name = parsed.GetRequiredValue(_name);
        using HostDoor host = HostDoor.Open(parsed);
        var request = new ControlRequest { Command = "acknowledge" };
        if (await host.AskVolumeAsync(name, request, cancellation).ConfigureAwait(false) is null)
        {
            throw RefusalException.Refused(
                $"Volume '{name}' is not being served. Serve it first; what it warns of is kept in its drives.");
        }

        CommandSettings.Terminal(parsed).WriteLine($"Volume '{name}' does not warn of damaged blocks any more.");
        return ExitCode.Ok;
    }
}
