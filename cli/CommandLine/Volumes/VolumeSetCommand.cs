using System.CommandLine;
using System.Globalization;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume set</c>: how a volume behaves, now and at every start.</summary>
internal sealed class VolumeSetCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<long?> _rate = new("--rebuild-rate")
    {
        HelpName = "SIZE",
        Description = "The most that a resync or rebuild does, in bytes a second of every member, such as 100M; 0 sets no bound.",
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (text == "0" || (ByteSize.TryParse(text, out long bytes) && bytes >= 0))
            {
                return text == "0" ? 0 : ByteSize.Parse(text);
            }

            result.AddError($"'{text}' is no rate for --rebuild-rate: write bytes a second with a unit, such as 100M, or 0 for no bound.");
            return null;
        },
    };

    private readonly Option<long?> _check = new("--check-every")
    {
        HelpName = "TIME",
        Description = "After what time members are compared by themselves, such as 30d or 12h; off never does. [default: 30d]",
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (Duration.TryParse(text, out TimeSpan time))
            {
                return (long)time.TotalSeconds;
            }

            result.AddError($"'{text}' is no time for --check-every: write days or hours, such as 30d or 12h, or off.");
            return null;
        },
    };

    private readonly Option<int?> _slowRead = Seconds(
        "--slow-read", least: 1, Patience.MostSlowSeconds,
        "How long a drive may leave a request unanswered, in seconds, before others are read in its place. [default: 10]");

    private readonly Option<int?> _driveTimeout = Seconds(
        "--drive-timeout", least: 0, Patience.MostSeconds,
        "How long, in seconds, before it is out and the others go on without it, where the level allows that; 0 waits for ever. "
        + "[default: 30]");

    private readonly Option<string?> _consistency = ConsistencyOption.Create(
        "How the volume is put right after an unclean stop, while it is served: journal (levels with parity), bitmap or none.");

    private readonly Option<string?> _spareGroup = new("--spare-group")
    {
        HelpName = "GROUP",
        Description = "Volumes of one group that the daemon serves share their spares; off shares none.",
    };

    private readonly Option<string?> _isolate = OnOff.Option(
        "--isolate", "Whether the daemon serves it in a process of its own, from its next start on.");

    private readonly Option<bool> _json = CommandSettings.Json();

    private static Option<int?> Seconds(string name, int least, int most, string description) => new(name)
    {
        HelpName = "SECONDS",
        Description = description,
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int seconds)
                && seconds >= least && seconds <= most)
            {
                return seconds;
            }

            result.AddError($"'{text}' is no time for {name}: write whole seconds, {least} to {most}.");
            return null;
        },
    };

    public Command Build()
    {
        var command = new Command("set", "Change how a volume behaves: at once where it is served, and at every start.");
        command.Arguments.Add(_name);
        command.Options.Add(_rate);
        command.Options.Add(_consistency);
        command.Options.Add(_check);
        command.Options.Add(_slowRead);
        command.Options.Add(_driveTimeout);
        command.Options.Add(_spareGroup);
        command.Options.Add(_isolate);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk volume set data --rebuild-rate 100M", "polyblk volume set data --rebuild-rate 0",
            "polyblk volume set data --consistency journal", "polyblk volume set data --check-every 7d",
            "polyblk volume set data --drive-timeout 60", "polyblk volume set data --isolate on");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        string name = parsed.GetRequiredValue(_name);
        var change = new SettingsChange
        {
            Consistency = parsed.GetValue(_consistency),
            MaxRebuildBytesPerSecond = parsed.GetValue(_rate),
            CheckEverySeconds = parsed.GetValue(_check),
            SlowReadSeconds = parsed.GetValue(_slowRead),
            DriveTimeoutSeconds = parsed.GetValue(_driveTimeout),
            SpareGroup = parsed.GetValue(_spareGroup),
            Isolate = OnOff.Of(parsed.GetValue(_isolate)),
        };
        if (!change.SaysSomething)
        {
            throw RefusalException.Invalid(
                "Say what to set: --rebuild-rate, --consistency, --check-every, --slow-read, --drive-timeout, --spare-group or "
                + "--isolate.");
        }

        using HostDoor host = HostDoor.Open(parsed);
        SettingsChange now = await host.ChangeSettingsAsync(name, change, terminal.Warn, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
        {
            VolumeJson volume = await host.ShowVolumeAsync(name, _ => { }, cancellation).ConfigureAwait(false);
            terminal.WriteJson(volume with { Live = null, History = null }, OutputJson.Default.VolumeJson);
        }
        else
        {
            Tell(terminal, name, change, now);
        }

        return ExitCode.Ok;
    }

    private static void Tell(Terminal terminal, string name, SettingsChange change, SettingsChange now)
    {
        if (change.Consistency is string consistency)
        {
            terminal.WriteLine($"Volume '{name}' after an unclean stop: {ConsistencyWord.Describe(consistency)}.");
        }

        if (change.CheckEverySeconds is long check)
        {
            terminal.WriteLine(check == 0
                ? $"The members of volume '{name}' are compared only when somebody asks for it."
                : $"The members of volume '{name}' are compared every {Duration.Format(TimeSpan.FromSeconds(check))}.");
        }

        if (change.MaxRebuildBytesPerSecond is long rate)
        {
            terminal.WriteLine(rate == 0
                ? $"A resync or rebuild of volume '{name}' goes as fast as it can."
                : $"A resync or rebuild of volume '{name}' does at most {ByteSize.FormatRounded(rate)}/s of every member.");
        }

        if (change.Patience.SaysSomething)
        {
            string end = now.DriveTimeoutSeconds == 0 ? "and is waited for" : $"and is out after {now.DriveTimeoutSeconds} s";
            terminal.WriteLine(
                $"A drive of volume '{name}' that does not answer is not read after {now.SlowReadSeconds} s, {end}.");
        }

        if (change.SpareGroup is not null)
        {
            terminal.WriteLine(now.SpareGroup == VolumeSettings.NoSpareGroup
                ? $"Volume '{name}' shares no spares."
                : $"Volume '{name}' shares spares with the others of the group '{now.SpareGroup}', as long as the daemon "
                    + "serves them.");
        }

        if (change.Isolate is bool alone)
        {
            string where = alone ? "in a process of its own" : "in the daemon's process";
            terminal.WriteLine($"Volume '{name}' is served {where}, from its next start on"
                + $" (polyblk volume stop {name}; polyblk volume start {name}).");
        }
    }
}
