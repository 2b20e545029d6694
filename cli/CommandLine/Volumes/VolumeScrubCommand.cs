using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary>
/// <c>polyblk volume check</c> and <c>polyblk volume repair</c>: members of an array that is served are compared in the background,
/// and with a repair made to agree.
/// </summary>
internal sealed class VolumeScrubCommand(bool repair) : ICliCommand
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(300);

    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _wait = new("--wait") { Description = "Show how far it is until it ends. Ctrl-C ends the waiting, not the work." };
    private readonly Option<bool> _stop = new("--stop") { Description = "End the one that is under way." };
    private readonly Option<bool> _json = CommandSettings.Json();

    private string Word => repair ? "repair" : "check";

    public Command Build()
    {
        var command = new Command(Word, repair
            ? "Compare the members of a served array and make them agree: blocks that cannot be read are written anew; two parities "
                + "and more tell which blocks are wrong, up to half as many; elsewhere data counts as right, of a mirror the first copy."
            : "Compare the members of a served array in the background: copies with each other, parities with data. Changes nothing.");
        command.Arguments.Add(_name);
        command.Options.Add(_wait);
        command.Options.Add(_stop);
        command.Options.Add(_json);
        command.SetAction((parsed, _) => RunAsync(parsed));
        HelpWithExamples.Add(command, $"polyblk volume {Word} data --wait", $"polyblk volume {Word} data --stop");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        Terminal terminal = CommandSettings.Terminal(parsed);
        VolumeRecord record = new VolumeStore(directories).Get(parsed.GetRequiredValue(_name));
        bool stops = parsed.GetValue(_stop);
        bool json = parsed.GetValue(_json);
        using var interruption = new Interruption();
        ArrayJson array = await AskAsync(directories, record, stops ? "stop-check" : Word).ConfigureAwait(false);
        if (!json)
        {
            terminal.WriteLine(stops ? Describe(array.Check) : $"The {Word} of volume '{record.Name}' has started.");
        }

        int code = ExitCode.Ok;
        while (!stops && parsed.GetValue(_wait) && array.Check is { EndedUtc: null } check)
        {
            terminal.Progress($"{Word}: {check.Percent} %", check.Percent);
            try
            {
                await Task.Delay(s_look, interruption.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException)
            {
                terminal.EndProgress($"The {Word} goes on; 'polyblk volume show {record.Name}' follows it.");
                code = ExitCode.Interrupted;
                break;
            }

            array = await AskAsync(directories, record, "show").ConfigureAwait(false);
            if (array.Check is { EndedUtc: not null } ended)
            {
                terminal.EndProgress(Describe(ended));
                code = ended.IsSound ? ExitCode.Ok : ExitCode.Failed;
            }
        }

        if (json)
        {
            terminal.WriteJson(VolumeView.Brief(directories, record) with { Array = array }, OutputJson.Default.VolumeJson);
        }

        return code;
    }

    private static string Describe(CheckJson? check) => check is null ? "Nothing was compared since the volume is served." : check.ToString();

    private static async Task<ArrayJson> AskAsync(StateDirectories directories, VolumeRecord record, string command)
    {
        ControlResponse response =
            await ControlClient.AskAsync(directories, record.Name, new ControlRequest { Command = command }, CancellationToken.None).ConfigureAwait(false)
            ?? throw RefusalException.Refused($"Volume '{record.Name}' is not being served. Serve it first; its members are compared while it is in use.");
        return response.Live?.Array ?? throw RefusalException.Refused($"Volume '{record.Name}' is one drive: there is nothing to compare.");
    }
}
