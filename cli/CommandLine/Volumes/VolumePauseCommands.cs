using System.CommandLine;
using System.Globalization;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume pause</c>: consumers of a served volume wait for a while.</summary>
internal sealed class VolumePauseCommand : ICliCommand
{
    private const int UsualSeconds = 30;

    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<int> _for = ServingOptions.Seconds(
        "--for", "After what time it goes on by itself; an hour at most.", UsualSeconds);

    public Command Build()
    {
        var command = new Command(
            "pause", "Have the consumers of a served volume wait, with nothing in flight and all that they wrote flushed: for a cable, a switch, a "
            + "firmware. The array's own work goes on.");
        command.Arguments.Add(_name);
        command.Options.Add(_for);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk volume pause data --for 60", "polyblk volume resume data");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string name = parsed.GetRequiredValue(_name);
        var request = new ControlRequest { Command = "pause", Seconds = parsed.GetValue(_for) };
        ControlResponse response = await PauseRequest.AskAsync(parsed, name, request, cancellation).ConfigureAwait(false);
        CommandSettings.Terminal(parsed).WriteLine(response.Live?.PausedUntilUtc is DateTimeOffset until
            ? string.Create(CultureInfo.InvariantCulture,
                $"Volume '{name}' is paused until {until.LocalDateTime:HH:mm:ss}; 'polyblk volume resume {name}' ends it before.")
            : $"Volume '{name}' was paused, and goes on already.");
        return ExitCode.Ok;
    }
}

/// <summary><c>polyblk volume resume</c>: ends the pause.</summary>
internal sealed class VolumeResumeCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();

    public Command Build()
    {
        var command = new Command("resume", "Let the consumers of a paused volume go on.");
        command.Arguments.Add(_name);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string name = parsed.GetRequiredValue(_name);
        await PauseRequest.AskAsync(parsed, name, new ControlRequest { Command = "resume" }, cancellation).ConfigureAwait(false);
        CommandSettings.Terminal(parsed).WriteLine($"Volume '{name}' goes on.");
        return ExitCode.Ok;
    }
}

/// <summary>What the two ask.</summary>
internal static class PauseRequest
{
    /// <exception cref="RefusalException">It is not served, or cannot.</exception>
    public static async Task<ControlResponse> AskAsync(
        ParseResult parsed, string name, ControlRequest request, CancellationToken cancellation)
    {
        using HostDoor host = HostDoor.Open(parsed);
        return await host.AskVolumeAsync(name, request, cancellation).ConfigureAwait(false)
            ?? throw RefusalException.Refused($"Volume '{name}' is not being served: nobody waits for it.");
    }
}
