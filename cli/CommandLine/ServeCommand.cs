// polyblk serve: opens a volume, makes its exports, says how to attach them, and runs until it is told to end.

using System.CommandLine;
using Microsoft.Extensions.Logging;
using Polyblk.Cli.CommandLine.Volumes;
using Polyblk.Cli.Output;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Superblock;
using Serilog.Extensions.Logging;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk serve VOLUME --frontend F …</c></summary>
internal sealed class ServeCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    internal const string AllowDegradedName = "--allow-degraded";
    internal const string AllowDegradedDescription =
        "Start an array without a member that it had when it was last used. Once something is written, that member is stale, and must be filled anew.";

    private static readonly TimeSpan s_rememberLimit = TimeSpan.FromSeconds(1);

    private readonly IFrontend[] _frontends = [.. frontends];
    private readonly FrontendGroupParser _groups = new(frontends);
    private readonly Argument<string> _volume = new("VOLUME") { Description = "Name of the volume (polyblk volume list)." };
    private readonly Option<bool> _json = new("--json")
    {
        Description = "When ready, print one line of JSON (endpoints, attach commands, plan) instead of text.",
    };

    private readonly Option<CpuSet?> _reactors = ServingOptions.Reactors();
    private readonly Option<IdlePolicy?> _idle = ServingOptions.Idle();
    private readonly Option<bool> _degraded = new(AllowDegradedName) { Description = AllowDegradedDescription };

    private readonly Option<bool> _force = ServingOptions.Force();

    private readonly Option<bool> _noRebuild = new("--no-rebuild")
    {
        Description = "Do not fill drives that were away, or spares, by yourself: wait for 'polyblk volume replace'. A rebuild that has "
            + "begun goes on.",
    };

    private readonly Option<int> _wait = ServingOptions.Seconds(
        "--wait",
        "Wait so long for drives that are not there, before the array starts, or is refused, without a member that it had when "
        + "it was last used. For starts at boot, when drives may be late.",
        byDefault: 0);

    private readonly Option<int?> _blockSize = ServingOptions.BlockSize();

    public Command Build()
    {
        var command = new Command("serve", "Serve a volume through one or more frontends until SIGTERM or Ctrl-C.");
        command.Arguments.Add(_volume);
        ServingOptions.AddFrontends(command, _frontends);
        command.Options.Add(_reactors);
        command.Options.Add(_idle);
        command.Options.Add(_degraded);
        command.Options.Add(_force);
        command.Options.Add(_noRebuild);
        command.Options.Add(_wait);
        command.Options.Add(_blockSize);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command,
            "polyblk serve data --frontend vhost-user",
            "# four queues on processors 2 to 5, and a second, read-only socket for a backup",
            "polyblk serve data --reactors 2-5 --frontend vhost-user --socket /srv/vms/vm1.sock --queues 4 \\",
            "                   --frontend vhost-user --socket /srv/vms/backup.sock --read-only");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        Terminal terminal = CommandSettings.Terminal(parsed);
        IReadOnlyList<FrontendGroup> groups = _groups.Parse(parsed.Tokens);
        using VolumeLock held = VolumeLock.TakeRecorded(directories, parsed.GetRequiredValue(_volume), "served", out VolumeRecord record);
        ServingOptions.RequireSocketFolders(groups);
        await using var log = LogSetup.Create(directories, record.Name, CommandSettings.Level(parsed), parsed.GetValue(CommandSettings.Verbose));
        using var logging = new SerilogLoggerFactory(log);
        int? queues = groups.All(g => g.Queues is not null) ? groups.Sum(g => g.Queues) : null;
        ReactorPlan plan = ReactorPlan.Make(parsed.GetValue(_reactors), CpuSet.Allowed(), queues);
        var start = new VolumeStart
        {
            // Where nobody may write, nothing at all is written.
            ReadOnly = groups.All(g => g.ReadOnly),
            AllowDegraded = parsed.GetValue(_degraded),
            Force = parsed.GetValue(_force),
            BlockSize = parsed.GetValue(_blockSize),
            RebuildsByItself = !parsed.GetValue(_noRebuild),
            WaitForDrives = TimeSpan.FromSeconds(parsed.GetValue(_wait)),
        };
        await using var events = new EventLog(new EventStore(directories), logging.CreateLogger("polyblk.events"));
        var options = new ServeOptions(plan, parsed.GetValue(_idle) ?? IdlePolicy.Balanced, start) { Events = events };

        VolumeServer? running = null;
        using var interruption = new Interruption(onHangup: () => _ = FollowDriveAsync(running, logging));
        await using VolumeServer server = await VolumeServer.StartAsync(
            record, groups, _frontends, options, directories, logging, interruption.Token).ConfigureAwait(false);
        running = server;
        StartLines.Write(logging.CreateLogger("polyblk.serve"), plan, groups.Select(g => g.Frontend));
        await using ControlServer control = ControlServer.Start(
            directories, record.Name, (request, c) => VolumeRequests.AnswerAsync(server, request, c), logging.CreateLogger("polyblk.control"));

        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(server.GetLive(), LineJson.Default.LiveJson);
        }
        else
        {
            ServeReport.Write(terminal, record, server.GetLive(), server.VolumeNotes);
        }

        Tell("READY=1");
        server.Events.Tell(new EventJson { Kind = EventKinds.VolumeServed, Volume = record.Name });

        // After the start, for which consumers of a target that was killed wait.
        server.Remember(terminal.Warn);
        await Task.WhenAny(interruption.Requested, server.Ended).ConfigureAwait(false);
        Tell("STOPPING=1");

        // Under the volume's lock, but a drive that hangs holds up no end.
        await Task.WhenAny(server.Remembering, Task.Delay(s_rememberLimit, CancellationToken.None)).ConfigureAwait(false);
        int code = await EndAsync(server, terminal).ConfigureAwait(false);
        server.Events.Tell(new EventJson { Kind = EventKinds.VolumeStopped, Volume = record.Name });
        return code;

        void Tell(string state)
        {
            if (SystemdNotifier.Notify(state) is string trouble)
            {
                logging.CreateLogger("polyblk.serve").LogWarning("systemd is not told: {Trouble}", trouble);
            }
        }
    }

    internal static async Task<int> EndAsync(VolumeServer server, Terminal terminal)
    {
        if (server.Ended.IsCompleted)
        {
            return server.AnyFailed || !server.EndedCleanly ? ExitCode.Failed : ExitCode.Ok;
        }

        foreach (string note in await server.ShutDownAsync().ConfigureAwait(false))
        {
            terminal.Note(note);
        }

        return server.EndedCleanly ? ExitCode.Ok : ExitCode.Failed;
    }

    private static async Task FollowDriveAsync(VolumeServer? server, ILoggerFactory logging)
    {
        try
        {
            await (server?.FollowDriveAsync() ?? Task.CompletedTask).ConfigureAwait(false);
        }
#pragma warning disable CA1031 // Nobody waits for a signal's handler: what goes wrong is said in the log, and the volume is served on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            logging.CreateLogger("polyblk.serve").LogWarning("SIGHUP: {Reason}", e.Message);
        }
    }
}
