using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Host;
using Polyblk.Host.Model;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume resize</c>: a new size for a volume that is being served; its consumers are told.</summary>
internal sealed class VolumeResizeCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<long?> _size = CommandSettings.Size("--size", "The new size. [default: all that the drives give]");
    private readonly Option<bool> _force = new("--force") { Description = "Also to a smaller size: what lies beyond it cannot be reached any more." };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command(
            "resize",
            "Grow a volume while it is served: an array up to what its drives gave when it was made, a volume of level none to "
            + "the size that its drive has now (lvextend, truncate).");
        command.Arguments.Add(_name);
        command.Options.Add(_size);
        command.Options.Add(_force);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk volume resize data --size 2TiB", "polyblk volume resize data");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        string name = parsed.GetRequiredValue(_name);
        using HostDoor host = HostDoor.Open(parsed);
        var request = new ControlRequest { Command = "resize", SizeBytes = parsed.GetValue(_size), Force = parsed.GetValue(_force) };
        ControlResponse? response = await host.AskVolumeAsync(name, request, cancellation).ConfigureAwait(false);
        if (response?.Live is not LiveJson live)
        {
            throw RefusalException.Refused(
                $"Volume '{name}' is not being served. Serve it first; resizing works while it is in use.");
        }

        if (parsed.GetValue(_json))
        {
            VolumeJson volume = await host.ShowVolumeAsync(name, _ => { }, cancellation).ConfigureAwait(false);
            terminal.WriteJson(volume with { Live = null, History = null }, OutputJson.Default.VolumeJson);
            return ExitCode.Ok;
        }

        terminal.WriteLine($"Volume '{name}' has {ByteSize.FormatRounded(live.SizeBytes)} now.");
        return ExitCode.Ok;
    }
}
