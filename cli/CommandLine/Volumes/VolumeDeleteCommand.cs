using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

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
        StateDirectories directories = CommandSettings.Directories(parsed);
        var store = new VolumeStore(directories);
        using VolumeLock held = VolumeLock.TakeRecorded(directories, parsed.GetRequiredValue(_name), "deleted", out VolumeRecord record);
        bool isArray = record.Level != VolumeOpener.NoLevel && !record.Volatile;
        if (parsed.GetValue(_wipe) && isArray)
        {
            if (!parsed.GetValue(_yes))
            {
                Confirm(terminal, record);
            }

            await VolumeMaker.WipeAsync(record, cancellation).ConfigureAwait(false);
        }

        store.Delete(record.Name);
        string exports = directories.ExportStateOf(record.Name);
        if (Directory.Exists(exports))
        {
            Directory.Delete(exports, recursive: true);
        }

        bool isForgotten = isArray && !parsed.GetValue(_wipe);
        new EventStore(directories).Tell(
            new EventJson
            {
                Kind = EventKinds.VolumeDeleted, Volume = record.Name,
                Reason = isForgotten ? "its drives are as they were" : "it is deleted",
            },
            terminal.Warn);
        if (parsed.GetValue(_json))
        {
            string status = isForgotten ? VolumeView.ForgottenStatus : VolumeView.DeletedStatus;
            terminal.WriteJson(VolumeView.Stopped(record) with { Status = status }, OutputJson.Default.VolumeJson);
            return ExitCode.Ok;
        }

        terminal.WriteLine(isForgotten
            ? $"Volume '{record.Name}' is forgotten; its data is untouched. 'polyblk volume import {string.Join(' ', record.Drives)}' brings it back."
            : $"Volume '{record.Name}' is deleted.");
        return ExitCode.Ok;
    }

    private static void Confirm(Terminal terminal, VolumeRecord record)
    {
        string what = $"--wipe makes the data of volume '{record.Name}' unreachable: "
            + $"the superblocks of {string.Join(", ", record.Drives)} are erased.";
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
