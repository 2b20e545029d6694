using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume stop</c>: ends the process that serves a volume, cleanly.</summary>
internal sealed class VolumeStopCommand : ICliCommand
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _force = new("--force")
    {
        Description = "Stop also when a consumer would lose its disk: a virtual machine or a client that is connected, "
            + "a mounted file system.",
    };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("stop", "Stop serving a volume; its data stays.");
        command.Arguments.Add(_name);
        command.Options.Add(_force);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        StateDirectories directories = CommandSettings.Directories(parsed);
        VolumeRecord record = new VolumeStore(directories).Get(parsed.GetRequiredValue(_name));
        if (VolumeLock.Holder(directories, record.Name) is not int pid)
        {
            Report("is not being served");
            return ExitCode.Ok;
        }

        var request = new ControlRequest { Command = "stop", Force = parsed.GetValue(_force) };
        ControlResponse? response = await ControlClient.AskAsync(directories, record.Name, request, cancellation).ConfigureAwait(false);
        if (response is null)
        {
            throw RefusalException.Refused(
                $"Process {pid} works on volume '{record.Name}' but does not answer: it is still starting, or hangs.",
                VolumeLock.IsDaemon(directories, record.Name, pid)
                    ? "It is the daemon, which serves others too: 'polyblk export list' says what it waits for. Try again."
                    : $"Try again, or end it: kill {pid}");
        }

        await WaitUntilFreeAsync(directories, record.Name, pid, cancellation).ConfigureAwait(false);
        if (response.Unfinished is not { Count: > 0 } unfinished)
        {
            Report("is stopped");
            return ExitCode.Ok;
        }

        Report("is stopped, but not in order", unfinished);
        terminal.Warn(
            $"Drives did not answer until the end ({string.Join("; ", unfinished)}): what was not acknowledged may be lost there, and an array "
            + "is not marked clean. Check the drives and their cables.");
        return ExitCode.Failed;

        void Report(string what, IReadOnlyList<UnfinishedJson>? unfinished = null)
        {
            if (parsed.GetValue(_json))
            {
                terminal.WriteJson(VolumeView.Stopped(record) with { Unfinished = unfinished }, OutputJson.Default.VolumeJson);
            }
            else
            {
                terminal.WriteLine($"Volume '{record.Name}' {what}.");
            }
        }
    }

    private static async Task WaitUntilFreeAsync(StateDirectories directories, string volume, int pid, CancellationToken cancellation)
    {
        DateTime deadline = DateTime.UtcNow + s_patience;
        while (VolumeLock.Holder(directories, volume) is not null)
        {
            if (DateTime.UtcNow > deadline)
            {
                throw VolumeLock.IsDaemon(directories, volume, pid)
                    ? RefusalException.Refused(
                        $"The exports of volume '{volume}' are stopped, but the daemon (process {pid}) does not let it go.",
                        "Its log says more. It can be used again when the daemon has ended, which serves others too.")
                    : RefusalException.Refused($"Process {pid} has stopped its exports but does not end.", $"Its log says more; kill {pid} ends it.");
            }

            await Task.Delay(50, cancellation).ConfigureAwait(false);
        }
    }
}
