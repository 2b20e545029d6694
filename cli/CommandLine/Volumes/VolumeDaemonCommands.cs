// What is asked of the daemon about one volume.

using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host.Model;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume start</c>: lets the daemon serve a volume that it does not.</summary>
internal sealed class VolumeStartCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _degraded = new(ServeCommand.AllowDegradedName) { Description = ServeCommand.AllowDegradedDescription };
    private readonly Option<bool> _force = ServingOptions.Force();
    private readonly Option<int?> _blockSize = ServingOptions.BlockSize();

    public Command Build()
    {
        var command = new Command("start", "Let the daemon serve a volume that was stopped, or could not start, through its exports.");
        command.Arguments.Add(_name);
        command.Options.Add(_degraded);
        command.Options.Add(_force);
        command.Options.Add(_blockSize);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string name = parsed.GetRequiredValue(_name);
        using HostDoor host = HostDoor.Open(parsed);
        var allowed = new StartPermissions(parsed.GetValue(_degraded), parsed.GetValue(_force), parsed.GetValue(_blockSize));
        await host.StartVolumeAsync(name, allowed, cancellation).ConfigureAwait(false);
        CommandSettings.Terminal(parsed).WriteLine($"Volume '{name}' is served.");
        return ExitCode.Ok;
    }
}

/// <summary><c>polyblk volume autostart</c>: whether the daemon serves a volume from its own start on.</summary>
internal sealed class VolumeAutostartCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Argument<string> _what = new("on|off") { Description = "on, as it is by default, or off." };

    public Command Build()
    {
        var command = new Command("autostart", "Say whether the daemon serves a volume from its own start on.");
        _what.AcceptOnlyFromAmong(OnOff.On, OnOff.Off);
        command.Arguments.Add(_name);
        command.Arguments.Add(_what);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string name = parsed.GetRequiredValue(_name);
        bool starts = parsed.GetRequiredValue(_what) == OnOff.On;
        Terminal terminal = CommandSettings.Terminal(parsed);
        using HostDoor host = HostDoor.Open(parsed);
        await host.ChangeSettingsAsync(name, new SettingsChange { Autostart = starts }, terminal.Warn, cancellation)
            .ConfigureAwait(false);
        terminal.WriteLine(
            starts ? $"Volume '{name}' is served whenever the daemon starts."
            : $"Volume '{name}' is not served when the daemon starts, until 'polyblk volume start {name}'.");
        return ExitCode.Ok;
    }
}
