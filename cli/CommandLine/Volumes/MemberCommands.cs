// Commands that change who is a member: volume replace, fail, add-spare, remove. A volume that is served is changed by the process
// that serves it; one that is not is opened by the command itself.

using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume replace</c>: another drive takes the place of a member.</summary>
internal sealed class VolumeReplaceCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Argument<string> _old = new("OLD") { Description = "The drive that goes, as it is listed, or the number of the member." };
    private readonly Argument<string> _new = new("NEW") { Description = "The drive that takes its place; the same one where it was plugged in again." };
    private readonly Option<bool> _force = MemberChangeRun.Force();
    private readonly Option<bool> _wait = new("--wait")
    {
        Description = "Show how far the new drive is filled until it is complete. Ctrl-C ends the waiting, not the filling; of a volume that "
            + "is not served the drive is filled by this command, and the rest is left for the next time.",
    };

    private readonly Option<bool> _failFirst = new("--fail-first")
    {
        Description = "Take a drive that works out first, and fill the new one from the other members: for a drive that is slow or not to "
            + "be trusted. The volume is without its redundancy meanwhile.",
    };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command(
            "replace", "Let a drive take the place of a member. One that works serves until the new one holds all that it holds.");
        command.Arguments.Add(_name);
        command.Arguments.Add(_old);
        command.Arguments.Add(_new);
        command.Options.Add(_force);
        command.Options.Add(_failFirst);
        command.Options.Add(_wait);
        command.Options.Add(_json);
        command.SetAction((parsed, _) => MemberChangeRun.RunAsync(
            parsed,
            parsed.GetRequiredValue(_name),
            new MemberChange(
                MemberChangeKind.Replace,
                MemberChangeRun.Absolute(parsed.GetRequiredValue(_old)),
                DriveList.ToAbsolute(parsed.GetRequiredValue(_new)),
                parsed.GetValue(_force),
                parsed.GetValue(_failFirst)),
            parsed.GetValue(_wait),
            parsed.GetValue(_json)));
        HelpWithExamples.Add(
            command,
            "polyblk volume replace data /dev/sdb /dev/sde --wait",
            "# member 1, by the same drive, which was pulled and is plugged in again",
            "polyblk volume replace data 1 /dev/sdb");
        return command;
    }
}

/// <summary><c>polyblk volume fail</c>: a member is given up.</summary>
internal sealed class VolumeFailCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Argument<string> _drive = new("DRIVE") { Description = "The drive, as it is listed, or the number of the member." };
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("fail", "Take a member out of use, to replace it; refused where data would be lost.");
        command.Arguments.Add(_name);
        command.Arguments.Add(_drive);
        command.Options.Add(_json);
        command.SetAction((parsed, _) => MemberChangeRun.RunAsync(
            parsed,
            parsed.GetRequiredValue(_name),
            new MemberChange(MemberChangeKind.Fail, MemberChangeRun.Absolute(parsed.GetRequiredValue(_drive))),
            wait: false,
            parsed.GetValue(_json)));
        HelpWithExamples.Add(command, "polyblk volume fail data /dev/sdb", "polyblk volume fail data 1");
        return command;
    }
}

/// <summary><c>polyblk volume add-spare</c>: a drive waits to take the place of a member that fails.</summary>
internal sealed class VolumeAddSpareCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Argument<string> _drive = new("DRIVE") { Description = "The drive." };
    private readonly Option<bool> _force = MemberChangeRun.Force();
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("add-spare", "Let a drive wait to take the place of a member that fails, or take that of one that has.");
        command.Arguments.Add(_name);
        command.Arguments.Add(_drive);
        command.Options.Add(_force);
        command.Options.Add(_json);
        command.SetAction((parsed, _) => MemberChangeRun.RunAsync(
            parsed,
            parsed.GetRequiredValue(_name),
            new MemberChange(
                MemberChangeKind.AddSpare, DriveList.ToAbsolute(parsed.GetRequiredValue(_drive)), Force: parsed.GetValue(_force)),
            wait: false,
            parsed.GetValue(_json)));
        HelpWithExamples.Add(command, "polyblk volume add-spare data /dev/sdf");
        return command;
    }
}

/// <summary><c>polyblk volume remove</c>: a drive that is not in use leaves the volume.</summary>
internal sealed class VolumeRemoveCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Argument<string> _drive = new("DRIVE") { Description = "The drive, as it is listed, or the number of the member." };
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("remove", "Let go of a spare, of the drive of a failed member, or of one that is not used any more.");
        command.Arguments.Add(_name);
        command.Arguments.Add(_drive);
        command.Options.Add(_json);
        command.SetAction((parsed, _) => MemberChangeRun.RunAsync(
            parsed,
            parsed.GetRequiredValue(_name),
            new MemberChange(MemberChangeKind.Remove, MemberChangeRun.Absolute(parsed.GetRequiredValue(_drive))),
            wait: false,
            parsed.GetValue(_json)));
        HelpWithExamples.Add(command, "polyblk volume remove data /dev/sdf");
        return command;
    }
}
