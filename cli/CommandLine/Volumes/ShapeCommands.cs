// Commands that change the shape of an array: volume reshape, volume grow. As the commands that change its members, they go to
// the process that serves it, or open it themselves.

using System.CommandLine;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume reshape</c>: drives become further members.</summary>
internal sealed class VolumeReshapeCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<string[]> _add = new("--add")
    {
        Description = "A drive that becomes a member; more of them, or the option again, for more.",
        Required = true,
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<bool> _force = MemberChangeRun.Force();
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command(
            "reshape",
            "Add drives to a raid0, raid5 or raid6. The volume is spread over them in the background, while it is used, and grows when that is done.");
        command.Arguments.Add(_name);
        command.Options.Add(_add);
        command.Options.Add(_force);
        command.Options.Add(_json);
        command.SetAction((parsed, _) =>
        {
            string[] drives = [.. parsed.GetRequiredValue(_add).Select(DriveList.ToAbsolute)];
            var change = new MemberChange(MemberChangeKind.Reshape, drives[0], Force: parsed.GetValue(_force)) { MoreDrives = drives[1..] };
            return MemberChangeRun.RunAsync(parsed, parsed.GetRequiredValue(_name), change, wait: false, parsed.GetValue(_json));
        });
        HelpWithExamples.Add(command, "polyblk volume reshape data --add /dev/sdf", "polyblk volume reshape data --add /dev/sdf /dev/sdg");
        return command;
    }
}

/// <summary><c>polyblk volume grow</c>: takes over what all drives have more now.</summary>
internal sealed class VolumeGrowCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command(
            "grow", "Take over what all drives of an array have more than before (they were grown, or replaced by larger ones), and show it to consumers.");
        command.Arguments.Add(_name);
        command.Options.Add(_json);
        command.SetAction((parsed, _) => MemberChangeRun.RunAsync(
            parsed, parsed.GetRequiredValue(_name), new MemberChange(MemberChangeKind.Grow, string.Empty), wait: false, parsed.GetValue(_json)));
        HelpWithExamples.Add(command, "polyblk volume grow data");
        return command;
    }
}
