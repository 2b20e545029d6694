using System.CommandLine;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume …</c>.</summary>
internal sealed class VolumeCommand : ICliCommand
{
    public Command Build()
    {
        var command = new Command("volume", "Make, show and change volumes.");
        ICliCommand[] parts =
        [
            new VolumeCreateCommand(), new VolumeListCommand(), new VolumeShowCommand(), new VolumeStopCommand(),
            new VolumeResizeCommand(), new VolumeReplaceCommand(), new VolumeFailCommand(), new VolumeAddSpareCommand(),
            new VolumeRemoveCommand(), new VolumeReshapeCommand(), new VolumeGrowCommand(), new VolumeScrubCommand(repair: false),
            new VolumeScrubCommand(repair: true), new VolumeSetCommand(), new VolumeDeleteCommand(), new VolumeImportCommand(),
            new VolumeAcknowledgeCommand(), new VolumeStartCommand(), new VolumeAutostartCommand(), new VolumePauseCommand(),
            new VolumeResumeCommand(),
        ];
        foreach (ICliCommand part in parts)
        {
            command.Subcommands.Add(part.Build());
        }

        return command;
    }

    /// <summary>The argument that every command about one volume has.</summary>
    public static Argument<string> NameArgument() => new("NAME") { Description = "Name of the volume." };
}
