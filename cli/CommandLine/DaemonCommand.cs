// polyblk daemon: serves every volume that has exports, until it is told to end.

using System.CommandLine;
using System.Globalization;
using System.Net;
using Microsoft.Extensions.Logging;
using Polyblk.Api;
using Polyblk.Cli.Output;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Daemon;
using Polyblk.Host.Daemon.HandOver;
using Polyblk.Host.Daemon.Standby;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Serilog.Extensions.Logging;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk daemon</c>.</summary>
internal sealed class DaemonCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    /// <summary>Makes it the process of one volume; the daemon gives it to those that it starts.</summary>
    internal const string OnlyName = "--only";

    private const int WaitSeconds = 30;
    private const int StopSeconds = 60;

    /// <summary>Beyond the wait for drives: what opening takes.</summary>
    private static readonly TimeSpan s_startMargin = TimeSpan.FromSeconds(15);

    /// <summary>How often it is looked whether systemd's line of status is still right.</summary>
    private static readonly TimeSpan s_statusEvery = TimeSpan.FromSeconds(3);

    /// <summary>How long a predecessor may keep the port for metrics: it lets it go when everything is handed over.</summary>
    private static readonly TimeSpan s_portPatience = TimeSpan.FromSeconds(10);

    private readonly IFrontend[] _frontends = [.. frontends];
    private readonly Option<CpuSet?> _reactors = ServingOptions.Reactors();
    private readonly Option<IdlePolicy?> _idle = ServingOptions.Idle();
    private readonly Option<int> _wait = ServingOptions.Seconds(
        "--wait",
        "How long drives that are not there are waited for at the start, before an array starts degraded.",
        WaitSeconds);

    private readonly Option<int> _stopWithin = ServingOptions.Seconds(
        "--stop-within",
        "How long the end takes at most: what has not drained by then is left as it is, and an array is not marked clean.",
        StopSeconds);

    private readonly Option<bool> _takeOver = new("--take-over")
    {
        Description = "Take over from the daemon that works: its virtual machines do not notice. Where none works, an ordinary start.",
    };

    private readonly Option<bool> _standby = new("--standby")
    {
        Description = "Have a process stand by that goes on within milliseconds where the one that serves dies.",
    };

    private readonly Option<string?> _hooks = new("--hooks")
    {
        HelpName = "DIR",
        Description = "Run the executable files of this folder for each event (docs/events.md). "
            + $"[default: POLYBLK_HOOKS, or for root {HookOptions.DefaultFolder}]",
    };

    private readonly Option<string?> _apiGroup = new("--api-group")
    {
        HelpName = "GROUP",
        Description = "Let a group, by name or number, use the API: its members may do with every volume what the daemon may. [default: the daemon's user alone]",
    };

    private readonly Option<string?> _only = new(OnlyName) { Hidden = true };

    private readonly Option<IPEndPoint?> _metrics = new("--metrics")
    {
        HelpName = "ADDRESS:PORT",
        Description = "Serve metrics for Prometheus here, too: GET /metrics of 127.0.0.1:9777 or [::1]:9777, for everybody on "
            + "this host.",
        CustomParser = result =>
        {
            try
            {
                return MetricsPort.Parse(result.Tokens[0].Value);
            }
            catch (FormatException e)
            {
                result.AddError(e.Message);
                return null;
            }
        },
    };

    public Command Build()
    {
        var command = new Command("daemon", "Serve every volume that has exports (polyblk export add), until SIGTERM or Ctrl-C.");
        command.Options.Add(_reactors);
        command.Options.Add(_idle);
        command.Options.Add(_wait);
        command.Options.Add(_stopWithin);
        command.Options.Add(_takeOver);
        command.Options.Add(_standby);
        command.Subcommands.Add(DaemonRestartCommand.Build());
        command.Options.Add(_hooks);
        command.Options.Add(_apiGroup);
        command.Options.Add(_only);
        command.Options.Add(_metrics);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk daemon", "# on processors 2 to 5", "polyblk daemon --reactors 2-5");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        if (parsed.GetValue(_standby) && DaemonProcesses.Role == DaemonRole.None)
        {
            return await SuperviseAsync(parsed).ConfigureAwait(false);
        }

        Supervision? supervision = DaemonProcesses.IsSupervised ? new Supervision(Console.In, Console.Out) : null;
        int code = await ServeAsync(parsed, supervision).ConfigureAwait(false);
        supervision?.TellEnd(code);
        return code;
    }

    /// <summary>Keeps a daemon working.</summary>
    private async Task<int> SuperviseAsync(ParseResult parsed)
    {
        await using var log = LogSetup.CreateWithoutFile(CommandSettings.Level(parsed), parsed.GetValue(CommandSettings.Verbose));
        using var logging = new SerilogLoggerFactory(log);
        ILogger own = logging.CreateLogger("polyblk.standby");
        var supervisor = new DaemonSupervisor(
            DaemonProcesses.WorkerOf, parsed.GetValue(_takeOver), state => Tell(state, own), own, Console.Error.WriteLine);
        using var interruption = new Interruption(onHangup: supervisor.Reload);
        return await supervisor.RunAsync(interruption.Token).ConfigureAwait(false);
    }

    private async Task<int> ServeAsync(ParseResult parsed, Supervision? supervision)
    {
        string? only = parsed.GetValue(_only);
        StateDirectories directories = CommandSettings.Directories(parsed);
        directories = only is null ? directories : directories.OfIsolated(only);
        string? apiGroup = parsed.GetValue(_apiGroup);
        if (apiGroup is not null)
        {
            _ = SocketAccess.FindGroup(apiGroup, "--api-group");
        }

        bool takesOver = DaemonProcesses.Role is DaemonRole.Successor or DaemonRole.SupervisedSuccessor
            || (DaemonProcesses.Role == DaemonRole.None && parsed.GetValue(_takeOver));

        // A predecessor writes to the file as long as it works.
        var isAlone = new TaskCompletionSource();
        await using var log = LogSetup.Create(
            directories, only ?? StateDirectories.Daemon, CommandSettings.Level(parsed), parsed.GetValue(CommandSettings.Verbose),
            takesOver ? isAlone.Task : Task.CompletedTask);
        using var logging = new SerilogLoggerFactory(log);
        ILogger own = logging.CreateLogger("polyblk.daemon");
        ReactorPlan plan = ReactorPlan.Make(parsed.GetValue(_reactors), CpuSet.Allowed(), QueuesOf(directories, only));
        var options = new DaemonOptions(plan, parsed.GetValue(_idle) ?? IdlePolicy.Balanced, _frontends)
        {
            WaitForDrives = TimeSpan.FromSeconds(parsed.GetValue(_wait)),
            StopWithin = TimeSpan.FromSeconds(parsed.GetValue(_stopWithin)),
            Hooks = Hooks(parsed.GetValue(_hooks)),
            Only = only,
            Isolated = only is null ? DaemonProcesses.Isolated : null,
        };

        Action<string> tell = supervision is null ? state => Tell(state, own) : supervision.Notify;
        VolumeDaemon? running = null;
        using var interruption = new Interruption(
            onHangup: () => _ = FollowDrivesAsync(running, own), onForcedExit: code => supervision?.TellEnd(code));
        if (supervision is not null && !takesOver)
        {
            VolumeDaemon.WarmUp(directories);
            if (!await supervision.WaitForWordAsync(interruption.Token).ConfigureAwait(false))
            {
                return ExitCode.Ok;
            }
        }

        await using VolumeDaemon daemon = takesOver
            ? await VolumeDaemon.TakeOverAsync(options, directories, logging, interruption.Token).ConfigureAwait(false)
            : VolumeDaemon.Start(options, directories, logging, supervision?.Death);
        isAlone.SetResult();
        supervision?.TellServing();
        StartLines.Write(own, plan, _frontends.Select(f => f.Name));
        running = daemon;
        await using HandOverServer handOver = HandOverServer.Start(
            daemon, directories, own, onGiving: supervision is null ? null : supervision.TellGiving);
        var succession = new Succession(handOver, DaemonProcesses.Successor);
        await using ControlServer control = ControlServer.Start(
            directories, directories.DaemonName, (request, c) => DaemonRequests.AnswerAsync(daemon, succession, request, c),
            logging.CreateLogger("polyblk.control"));

        // A drive that hangs keeps its own volume starting, and nothing else.
        await Task.WhenAny(daemon.Tried, interruption.Requested, Task.Delay(options.WaitForDrives + s_startMargin, CancellationToken.None))
            .ConfigureAwait(false);
        string summary = Summary(daemon.GetStatus());
        tell("READY=1\nSTATUS=" + summary);
        own.LogInformation("The daemon is ready: {Summary}", summary);

        // After the exports, for which consumers of a daemon that was killed wait.
        await using ApiServer? api = only is not null ? null : await StartApiAsync(daemon, directories, own, apiGroup)
            .ConfigureAwait(false);
        using var ending = CancellationTokenSource.CreateLinkedTokenSource(interruption.Token);
        Task status = KeepStatusAsync(daemon, tell, summary, ending.Token);
        Task<MetricsPort?> metrics = only is not null ? Task.FromResult<MetricsPort?>(null)
            : StartMetricsAsync(parsed, daemon, takesOver, own, ending.Token);
        await Task.WhenAny(interruption.Requested, handOver.Completed).ConfigureAwait(false);

        // First of all: a successor waits for the port.
        await ending.CancelAsync().ConfigureAwait(false);
        await status.ConfigureAwait(false);
        if (await metrics.ConfigureAwait(false) is { } port)
        {
            await port.DisposeAsync().ConfigureAwait(false);
        }

        await (api?.EndChangesAsync(options.StopWithin) ?? Task.CompletedTask).ConfigureAwait(false);
        await handOver.DisposeAsync().ConfigureAwait(false);
        if (handOver.Completed.IsCompletedSuccessfully)
        {
            // The supervisor, or systemd, follows the successor from here on.
            int successor = await handOver.Completed.ConfigureAwait(false);
            if (supervision is null)
            {
                tell(string.Create(CultureInfo.InvariantCulture, $"MAINPID={successor}"));
            }
            else
            {
                supervision.TellSuccessor(successor);
            }

            own.LogInformation("Process {Pid} has taken over", successor);
        }
        else
        {
            tell("STOPPING=1");
        }

        bool isClean = await daemon.ShutDownAsync(isSucceeded: handOver.Completed.IsCompletedSuccessfully).ConfigureAwait(false);
        if (daemon.IsAbandoned)
        {
            // Whoever asked for something of it is kept waiting with it, and so would be who waits for them here.
            await log.DisposeAsync().ConfigureAwait(false);
            supervision?.TellEnd(ExitCode.Failed);
            Environment.Exit(ExitCode.Failed);
        }

        return isClean ? ExitCode.Ok : ExitCode.Failed;
    }

    /// <summary>
    /// Tells systemd when something else is served, waits or has failed than was told last. Until the end begins.
    /// </summary>
    private static async Task KeepStatusAsync(VolumeDaemon daemon, Action<string> tell, string told, CancellationToken ending)
    {
        using var timer = new PeriodicTimer(s_statusEvery);
        try
        {
            while (await timer.WaitForNextTickAsync(ending).ConfigureAwait(false))
            {
                string summary = Summary(daemon.GetStatus());
                if (summary != told)
                {
                    tell("STATUS=" + summary);
                    told = summary;
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The end has begun, of which systemd is told otherwise.
        }
    }

    private static void Tell(string state, ILogger log)
    {
        if (SystemdNotifier.Notify(state) is string trouble)
        {
            log.LogWarning("systemd is not told: {Trouble}", trouble);
        }
    }

    /// <summary>The queues of the exports of one volume; null where they are not said, or for all volumes.</summary>
    private static int? QueuesOf(StateDirectories directories, string? volume)
    {
        IReadOnlyList<ExportRecord> exports = (volume is null ? null : new VolumeStore(directories).TryGet(volume))?.Exports
            ?? [];
        return exports.Count > 0 && exports.All(e => e.Queues is not null) ? exports.Sum(e => e.Queues) : null;
    }

    /// <summary>Where hooks are; null for nowhere.</summary>
    private static HookOptions? Hooks(string? folder)
    {
        folder ??= Environment.GetEnvironmentVariable("POLYBLK_HOOKS");
        folder ??= Environment.IsPrivilegedProcess ? HookOptions.DefaultFolder : null;
        return string.IsNullOrEmpty(folder) ? null : new HookOptions(Path.GetFullPath(folder));
    }

    /// <summary>The API; null where it cannot be had, which is no reason not to serve.</summary>
    private static async Task<ApiServer?> StartApiAsync(
        VolumeDaemon daemon, StateDirectories directories, ILogger log, string? group)
    {
        try
        {
            return await ApiServer.StartAsync(daemon, directories, log, group).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Whatever keeps it from being there, volumes are served without it.
        catch (Exception e)
#pragma warning restore CA1031
        {
            log.LogError("There is no API: {Reason}", Refusals.Of(e)?.Message ?? e.ToString());
            return null;
        }
    }

    /// <summary>
    /// The port for metrics; null where none is asked for, or it cannot be had, which is no reason not to serve.
    /// </summary>
    private async Task<MetricsPort?> StartMetricsAsync(
        ParseResult parsed, VolumeDaemon daemon, bool takesOver, ILogger log, CancellationToken cancellation)
    {
        if (parsed.GetValue(_metrics) is not IPEndPoint address)
        {
            return null;
        }

        try
        {
            TimeSpan patience = takesOver ? s_portPatience : TimeSpan.Zero;
            return await MetricsPort.StartAsync(daemon, address, patience, cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return null; // It is to end.
        }
#pragma warning disable CA1031 // As with the API.
        catch (Exception e)
#pragma warning restore CA1031
        {
            log.LogError("There is no port for metrics: {Reason}", Refusals.Of(e)?.Message ?? e.ToString());
            return null;
        }
    }

    /// <summary>What it does, in a line.</summary>
    private static string Summary(DaemonJson status)
    {
        int served = status.Volumes.Count(v => v.State == DaemonState.Served);
        string[] waiting = [.. status.Volumes.Where(v => v.WaitsFor.Count > 0).Select(v => $"{v.Name} waits for {string.Join(", ", v.WaitsFor)}")];
        string[] starting = [.. status.Volumes.Where(v => v.State == DaemonState.Starting).Select(v => v.Name)];
        string[] failed = [.. status.Volumes.Where(v => v.State == DaemonState.Failed).Select(v => v.Name)];
        return $"serves {served} of {status.Volumes.Count} volumes"
            + (starting.Length > 0 ? $"; starting: {string.Join(", ", starting)}" : string.Empty)
            + (failed.Length > 0 ? $"; failed: {string.Join(", ", failed)}" : string.Empty)
            + (waiting.Length > 0 ? $"; {string.Join("; ", waiting)}" : string.Empty);
    }

    private static async Task FollowDrivesAsync(VolumeDaemon? daemon, ILogger log)
    {
        try
        {
            await (daemon?.FollowDrivesAsync() ?? Task.CompletedTask).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Nobody waits for a signal's handler: what goes wrong is said in the log, and the volumes are served on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            log.LogWarning("SIGHUP: {Reason}", e.Message);
        }
    }
}
