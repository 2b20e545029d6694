using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Cli.Serving;
using Polyblk.Cli.State;
using Polyblk.Cli.Volumes;
using Polyblk.Core.Block;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume set</c>: how a volume behaves, now and at every start.</summary>
internal sealed class VolumeSetCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<long?> _rate = new("--rebuild-rate")
    {
        HelpName = "SIZE",
        Description = "The most that a resync or rebuild does, in bytes a second of every member, such as 100M; 0 sets no bound.",
        Required = true,
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

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("set", "Change how a volume behaves: at once where it is served, and at every start.");
        command.Arguments.Add(_name);
        command.Options.Add(_rate);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk volume set data --rebuild-rate 100M", "polyblk volume set data --rebuild-rate 0");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        StateDirectories directories = CommandSettings.Directories(parsed);
        var store = new VolumeStore(directories);
        VolumeRecord record = store.Get(parsed.GetRequiredValue(_name));
        if (record.Level == VolumeOpener.NoLevel)
        {
            throw CliException.Refused($"Volume '{record.Name}' is one drive as it is (level none): nothing is ever rebuilt.");
        }

        long rate = parsed.GetRequiredValue(_rate) ?? 0;
        var request = new ControlRequest { Command = "set", MaxRebuildBytesPerSecond = rate };
        if (await ControlClient.AskAsync(directories, record.Name, request, cancellation).ConfigureAwait(false) is null)
        {
            using VolumeLock held = VolumeLock.TakeRecorded(directories, record.Name, "changed", out _);
            store.Change(record.Name, now => now.WithRebuildLimit(rate));
        }

        record = store.Get(record.Name);
        if (parsed.GetValue(_json))
        {
            VolumeJson volume = await VolumeView.FullAsync(directories, record, _ => { }, cancellation).ConfigureAwait(false);
            terminal.WriteJson(volume with { Live = null }, OutputJson.Default.VolumeJson);
            return ExitCode.Ok;
        }

        terminal.WriteLine(rate == 0
            ? $"A resync or rebuild of volume '{record.Name}' goes as fast as it can."
            : $"A resync or rebuild of volume '{record.Name}' does at most {ByteSize.FormatRounded(rate)}/s of every member.");
        return ExitCode.Ok;
    }
}
