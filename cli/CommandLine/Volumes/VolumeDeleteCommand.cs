using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Cli.State;
using Polyblk.Cli.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume delete</c>: forgets a volume, and on demand erases what marks its drives as members.</summary>
internal sealed class VolumeDeleteCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _wipe = new("--wipe")
    {
        Description = "Erase the superblocks too: the drives are free for other use, and the data cannot be reached any more.",
    };

    public Command Build()
    {
        var command = new Command("delete", "Forget a volume. Its drives keep their data unless --wipe is given.");
        command.Arguments.Add(_name);
        command.Options.Add(_wipe);
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
            await VolumeMaker.WipeAsync(record, cancellation).ConfigureAwait(false);
        }

        store.Delete(record.Name);
        string exports = directories.ExportStateOf(record.Name);
        if (Directory.Exists(exports))
        {
            Directory.Delete(exports, recursive: true);
        }

        terminal.WriteLine(isArray && !parsed.GetValue(_wipe)
            ? $"Volume '{record.Name}' is forgotten; its data is untouched. 'polyblk volume import {string.Join(' ', record.Drives)}' brings it back."
            : $"Volume '{record.Name}' is deleted.");
        return ExitCode.Ok;
    }
}
