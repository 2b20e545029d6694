using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;

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
        Terminal terminal = CommandSettings.Terminal(parsed);
        string name = parsed.GetRequiredValue(_name);
        using HostDoor host = HostDoor.Open(parsed);
        bool stops = parsed.GetValue(_stop);
        bool json = parsed.GetValue(_json);
        using var interruption = new Interruption();
        ArrayJson array = await AskAsync(host, name, stops ? "stop-check" : Word).ConfigureAwait(false);
        if (!json)
        {
            terminal.WriteLine(stops ? Describe(array.Check) : $"The {Word} of volume '{name}' has started.");
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
                terminal.EndProgress($"The {Word} goes on; 'polyblk volume show {name}' follows it.");
                code = ExitCode.Interrupted;
                break;
            }

            array = await AskAsync(host, name, "show").ConfigureAwait(false);
            if (array.Check is { EndedUtc: not null } ended)
            {
                terminal.EndProgress(Describe(ended));
                code = ended.IsSound ? ExitCode.Ok : ExitCode.Failed;
            }
        }

        if (json)
        {
            VolumeJson volume = await host.ShowVolumeAsync(name, _ => { }, CancellationToken.None).ConfigureAwait(false);
            terminal.WriteJson(volume with { Array = array, Live = null, History = null }, OutputJson.Default.VolumeJson);
        }

        return code;
    }

    private static string Describe(CheckJson? check) => check is null ? "Nothing was compared since the volume is served." : check.ToString();

    private static async Task<ArrayJson> AskAsync(HostDoor host, string name, string command)
    {
        ControlResponse response =
            await host.AskVolumeAsync(name, new ControlRequest { Command = command }, CancellationToken.None).ConfigureAwait(false)
            ?? throw RefusalException.Refused(
                $"Volume '{name}' is not being served. Serve it first; its members are compared while it is in use.");
        return response.Live?.Array
            ?? throw RefusalException.Refused($"Volume '{name}' is one drive: there is nothing to compare.");
    }
}
