// Commands that change the shape of an array: volume reshape, volume grow. As the commands that change its members, they go to
// the process that serves it, or open it themselves.

using System.CommandLine;
using Polyblk.Host;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume reshape</c>: drives become further members, the level changes, or both.</summary>
internal sealed class VolumeReshapeCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<string[]> _add = new("--add")
    {
        Description = "A drive that becomes a member; more of them, or the option again, for more.",
        AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<string?> _level = new("--level")
    {
        Description = "The level that the volume gets: raid5, raid6, raid7.3 to raid7.8, or N+M (such as 8+3), of a volume that "
            + "has one of these. More parities need as many more drives; with fewer, the volume grows.",
    };

    private readonly Option<bool> _force = MemberChangeRun.Force();
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command(
            "reshape",
            "Add drives to a volume of raid0 or of a level with parity, change how many parities it has, or both. What it "
                + "holds is moved in the background, while it is used; it grows at the end, where the drives give more then.");
        command.Arguments.Add(_name);
        command.Options.Add(_level);
        command.Options.Add(_add);
        command.Options.Add(_force);
        command.Options.Add(_json);
        command.SetAction((parsed, _) =>
        {
            string[] drives = [.. (parsed.GetValue(_add) ?? []).Select(DriveList.ToAbsolute)];
            string? level = parsed.GetValue(_level) is string wish ? VolumeCreation.LevelWord(wish) : null;
            if (drives.Length == 0 && level is null)
            {
                throw RefusalException.Invalid("Say what is to change: drives to add (--add), another level (--level), or both.");
            }

            string first = drives.FirstOrDefault() ?? string.Empty;
            var change = new MemberChange(MemberChangeKind.Reshape, first, Force: parsed.GetValue(_force))
            {
                MoreDrives = [.. drives.Skip(1)],
                Level = level,
            };
            return MemberChangeRun.RunAsync(parsed, parsed.GetRequiredValue(_name), change, wait: false, parsed.GetValue(_json));
        });
        HelpWithExamples.Add(
            command, "polyblk volume reshape data --add /dev/sdf", "polyblk volume reshape data --add /dev/sdf /dev/sdg",
            "polyblk volume reshape data --level raid6 --add /dev/sdf", "polyblk volume reshape data --level raid5");
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
