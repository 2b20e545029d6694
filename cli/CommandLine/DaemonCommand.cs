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
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Serilog.Extensions.Logging;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk daemon</c>.</summary>
internal sealed class DaemonCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    private const int WaitSeconds = 30;
    private const int StopSeconds = 60;

    /// <summary>Beyond the wait for drives: what opening takes.</summary>
    private static readonly TimeSpan s_startMargin = TimeSpan.FromSeconds(15);

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

    private readonly Option<string?> _hooks = new("--hooks")
    {
        HelpName = "DIR",
        Description = "Run the executable files of this folder for each event (docs/events.md). "
            + $"[default: POLYBLK_HOOKS, or for root {HookOptions.DefaultFolder}]",
    };

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
        command.Subcommands.Add(DaemonRestartCommand.Build());
        command.Options.Add(_hooks);
        command.Options.Add(_metrics);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk daemon", "# on processors 2 to 5", "polyblk daemon --reactors 2-5");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        // A predecessor writes to the file as long as it works.
        var isAlone = new TaskCompletionSource();
        await using var log = LogSetup.Create(
            directories, StateDirectories.Daemon, CommandSettings.Level(parsed), parsed.GetValue(CommandSettings.Verbose),
            parsed.GetValue(_takeOver) ? isAlone.Task : Task.CompletedTask);
        using var logging = new SerilogLoggerFactory(log);
        ILogger own = logging.CreateLogger("polyblk.daemon");
        ReactorPlan plan = ReactorPlan.Make(parsed.GetValue(_reactors), CpuSet.Allowed(), queues: null);
        var options = new DaemonOptions(plan, parsed.GetValue(_idle) ?? IdlePolicy.Balanced, _frontends)
        {
            WaitForDrives = TimeSpan.FromSeconds(parsed.GetValue(_wait)),
            StopWithin = TimeSpan.FromSeconds(parsed.GetValue(_stopWithin)),
            Hooks = Hooks(parsed.GetValue(_hooks)),
        };

        VolumeDaemon? running = null;
        using var interruption = new Interruption(onHangup: () => _ = FollowDrivesAsync(running, own));
        await using VolumeDaemon daemon = parsed.GetValue(_takeOver)
            ? await VolumeDaemon.TakeOverAsync(options, directories, logging, interruption.Token).ConfigureAwait(false)
            : VolumeDaemon.Start(options, directories, logging);
        isAlone.SetResult();
        running = daemon;
        await using HandOverServer handOver = HandOverServer.Start(daemon, directories, own);
        var succession = new Succession(handOver, DaemonRestartCommand.Successor);
        await using ControlServer control = ControlServer.Start(
            directories, StateDirectories.Daemon, (request, c) => DaemonRequests.AnswerAsync(daemon, succession, request, c),
            logging.CreateLogger("polyblk.control"));

        // A drive that hangs keeps its own volume starting, and nothing else.
        await Task.WhenAny(daemon.Tried, interruption.Requested, Task.Delay(options.WaitForDrives + s_startMargin, CancellationToken.None))
            .ConfigureAwait(false);
        Tell("READY=1\nSTATUS=" + Summary(daemon.GetStatus()));
        own.LogInformation("The daemon is ready: {Summary}", Summary(daemon.GetStatus()));
        _ = daemon.Settled.ContinueWith(_ => Tell("STATUS=" + Summary(daemon.GetStatus())), TaskScheduler.Default);

        // After the exports, for which consumers of a daemon that was killed wait.
        await using ApiServer? api = await StartApiAsync(daemon, directories, own).ConfigureAwait(false);
        using var portEnd = CancellationTokenSource.CreateLinkedTokenSource(interruption.Token);
        Task<MetricsPort?> metrics = StartMetricsAsync(parsed, daemon, own, portEnd.Token);
        await Task.WhenAny(interruption.Requested, handOver.Completed).ConfigureAwait(false);

        // First of all: a successor waits for the port.
        await portEnd.CancelAsync().ConfigureAwait(false);
        if (await metrics.ConfigureAwait(false) is { } port)
        {
            await port.DisposeAsync().ConfigureAwait(false);
        }

        await handOver.DisposeAsync().ConfigureAwait(false);
        if (handOver.Completed.IsCompletedSuccessfully)
        {
            // systemd follows the successor from here on.
            int successor = await handOver.Completed.ConfigureAwait(false);
            Tell(string.Create(CultureInfo.InvariantCulture, $"MAINPID={successor}"));
            own.LogInformation("Process {Pid} has taken over", successor);
        }
        else
        {
            Tell("STOPPING=1");
        }

        bool isClean = await daemon.ShutDownAsync().ConfigureAwait(false);
        if (daemon.IsAbandoned)
        {
            // Whoever asked for something of it is kept waiting with it, and so would be who waits for them here.
            await log.DisposeAsync().ConfigureAwait(false);
            Environment.Exit(ExitCode.Failed);
        }

        return isClean ? ExitCode.Ok : ExitCode.Failed;

        void Tell(string state)
        {
            if (SystemdNotifier.Notify(state) is string trouble)
            {
                own.LogWarning("systemd is not told: {Trouble}", trouble);
            }
        }
    }

    /// <summary>Where hooks are; null for nowhere.</summary>
    private static HookOptions? Hooks(string? folder)
    {
        folder ??= Environment.GetEnvironmentVariable("POLYBLK_HOOKS");
        folder ??= Environment.IsPrivilegedProcess ? HookOptions.DefaultFolder : null;
        return string.IsNullOrEmpty(folder) ? null : new HookOptions(Path.GetFullPath(folder));
    }

    /// <summary>The API; null where it cannot be had, which is no reason not to serve.</summary>
    private static async Task<ApiServer?> StartApiAsync(VolumeDaemon daemon, StateDirectories directories, ILogger log)
    {
        try
        {
            return await ApiServer.StartAsync(daemon, directories, log).ConfigureAwait(false);
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
        ParseResult parsed, VolumeDaemon daemon, ILogger log, CancellationToken cancellation)
    {
        if (parsed.GetValue(_metrics) is not IPEndPoint address)
        {
            return null;
        }

        try
        {
            TimeSpan patience = parsed.GetValue(_takeOver) ? s_portPatience : TimeSpan.Zero;
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
