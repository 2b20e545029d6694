using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume delete</c>: forgets a volume, and on demand erases what marks its drives as members.</summary>
internal sealed class VolumeDeleteCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _wipe = new("--wipe")
    {
        Description = "Erase the superblocks too: the drives are free for other use, and the data cannot be reached any more.",
    };

    private readonly Option<bool> _yes = new("--yes", "-y") { Description = "With --wipe: do not ask." };
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("delete", "Forget a volume. Its drives keep their data unless --wipe is given.");
        command.Arguments.Add(_name);
        command.Options.Add(_wipe);
        command.Options.Add(_yes);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        using HostDoor host = HostDoor.Open(parsed);
        VolumeJson deleted = await host.DeleteVolumeAsync(
            parsed.GetRequiredValue(_name), parsed.GetValue(_wipe), Confirm, terminal.Warn, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(deleted, OutputJson.Default.VolumeJson);
        }
        else
        {
            terminal.WriteLine(deleted.Message!);
        }

        return ExitCode.Ok;

        void Confirm(string volume, IReadOnlyList<string> drives)
        {
            if (!parsed.GetValue(_yes))
            {
                Ask(terminal, volume, drives);
            }
        }
    }

    private static void Ask(Terminal terminal, string volume, IReadOnlyList<string> drives)
    {
        string what = $"--wipe makes the data of volume '{volume}' unreachable: "
            + $"the superblocks of {string.Join(", ", drives)} are erased.";
        if (!Terminal.CanAsk)
        {
            throw RefusalException.Refused($"{what} Nothing was changed; confirm it with --yes.");
        }

        if (!terminal.Ask($"{what} Erase them?"))
        {
            throw RefusalException.Refused("Nothing was changed.");
        }
    }
}
