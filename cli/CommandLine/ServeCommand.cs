// polyblk serve: opens a volume, makes its exports, says how to attach them, and runs until it is told to end.

using System.CommandLine;
using Microsoft.Extensions.Logging;
using Polyblk.Cli.CommandLine.Volumes;
using Polyblk.Cli.Output;
using Polyblk.Cli.Serving;
using Polyblk.Cli.State;
using Polyblk.Cli.Volumes;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;
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

    private readonly Option<CpuSet?> _reactors = new("--reactors")
    {
        HelpName = "CPUSET",
        Description = "Processors to poll on, one reactor each, such as 2-5 or 0,2. [default: all but one, at most 8, at most one for each queue]",
        CustomParser = result => ParseOrReport(result, CpuSet.Parse),
    };

    private readonly Option<IdlePolicy?> _idle = new("--idle")
    {
        HelpName = "POLICY",
        Description = "How long a reactor without work polls before it sleeps: latency (for ever), balanced (50us), frugal (not at all), "
            + "or a time such as 20us. [default: balanced]",
        CustomParser = result => ParseOrReport(result, IdlePolicy.Parse),
    };

    private readonly Option<bool> _degraded = new(AllowDegradedName) { Description = AllowDegradedDescription };

    private readonly Option<bool> _force = new("--force-assembly")
    {
        Description = "Start an array that lacks a member and was not stopped cleanly: what was being written then may be "
            + "damaged. Or serve a drive that is a member of an array alone.",
    };

    private readonly Option<bool> _noRebuild = new("--no-rebuild")
    {
        Description = "Do not fill drives that were away, or spares, by yourself: wait for 'polyblk volume replace'. A rebuild that has "
            + "begun goes on.",
    };

    private readonly Option<int> _wait = new("--wait")
    {
        HelpName = "SECONDS",
        Description = "Wait so long for drives that are not there, before the array starts, or is refused, without a member that it had when "
            + "it was last used. For starts at boot, when drives may be late.",
    };

    private readonly Option<int?> _blockSize = new("--block-size")
    {
        HelpName = "BYTES",
        Description = "512 or 4096: what its users saw, for an array made by an older polyblk that lacks a member. Others know "
            + "their own.",
    };

    public Command Build()
    {
        var command = new Command("serve", "Serve a volume through one or more frontends until SIGTERM or Ctrl-C.");
        command.Arguments.Add(_volume);
        command.Options.Add(new Option<string[]>(FrontendGroupParser.FrontendOptionName)
        {
            HelpName = "NAME",
            Description = "A door to the volume; options that follow belong to it, and there may be several. "
                + string.Join(" ", _frontends.Select(f => $"{f.Name}: {f.Description}")),
        });
        foreach (Option option in FrontendOptions())
        {
            command.Options.Add(option);
        }

        command.Options.Add(_reactors);
        command.Options.Add(_idle);
        command.Options.Add(_degraded);
        command.Options.Add(_force);
        command.Options.Add(_noRebuild);
        command.Options.Add(_wait);
        command.Options.Add(_blockSize);
        command.Options.Add(_json);
        _blockSize.AcceptOnlyFromAmong("512", "4096");
        _wait.Validators.Add(result =>
        {
            if (result.Tokens.Count == 1 && !(int.TryParse(result.Tokens[0].Value, out int seconds) && seconds is >= 0 and <= 86400))
            {
                result.AddError($"'{result.Tokens[0].Value}' is no time for --wait: write seconds, 0 to 86400.");
            }
        });
        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command,
            "polyblk serve data --frontend vhost-user",
            "# four queues on processors 2 to 5, and a second, read-only socket for a backup",
            "polyblk serve data --reactors 2-5 --frontend vhost-user --socket /run/vm1.sock --queues 4 \\",
            "                   --frontend vhost-user --socket /run/backup.sock --read-only");
        return command;
    }

    private static T? ParseOrReport<T>(System.CommandLine.Parsing.ArgumentResult result, Func<string, T> parse)
        where T : class
    {
        try
        {
            return parse(result.Tokens[0].Value);
        }
        catch (FormatException e)
        {
            result.AddError(e.Message);
            return null;
        }
    }

    /// <summary>Every option of every frontend once, for the help and the parser.</summary>
    private IEnumerable<Option> FrontendOptions()
    {
        foreach (FrontendOption option in FrontendGroupParser.Common)
        {
            yield return MakeOption(option, option.Description);
        }

        foreach (var same in _frontends.SelectMany(f => f.Options.Select(o => (Frontend: f.Name, Option: o))).GroupBy(p => p.Option.Name))
        {
            string description = string.Join(" ", same.Select(p => $"{p.Frontend}: {p.Option.Description}"));
            yield return MakeOption(same.First().Option, description);
        }
    }

    private static Option MakeOption(FrontendOption option, string description) => option.ValueHint is null
        ? new Option<bool>("--" + option.Name) { Description = description, Arity = ArgumentArity.Zero }
        : new Option<string[]>("--" + option.Name) { Description = description, HelpName = option.ValueHint };

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        Terminal terminal = CommandSettings.Terminal(parsed);
        IReadOnlyList<FrontendGroup> groups = _groups.Parse(parsed.Tokens);
        using VolumeLock held = VolumeLock.TakeRecorded(directories, parsed.GetRequiredValue(_volume), "served", out VolumeRecord record);
        RequireSocketFolders(groups);
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
        var options = new ServeOptions(plan, parsed.GetValue(_idle) ?? IdlePolicy.Balanced, start);

        VolumeServer? running = null;
        using var interruption = new Interruption(onHangup: () => _ = FollowDriveAsync(running, logging));
        await using VolumeServer server = await VolumeServer.StartAsync(
            record, groups, _frontends, options, directories, logging, interruption.Token).ConfigureAwait(false);
        running = server;
        await using ControlServer control = ControlServer.Start(
            directories, record.Name, (request, c) => AnswerAsync(server, request, c), logging.CreateLogger("polyblk.control"));

        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(server.GetLive(), LineJson.Default.LiveJson);
        }
        else
        {
            ServeReport.Write(terminal, record, server.GetLive(), server.VolumeNotes);
        }

        Tell("READY=1");

        // After the start, for which consumers of a target that was killed wait.
        server.Remember(terminal.Warn);
        await Task.WhenAny(interruption.Requested, server.Ended).ConfigureAwait(false);
        Tell("STOPPING=1");

        // Under the volume's lock, but a drive that hangs holds up no end.
        await Task.WhenAny(server.Remembering, Task.Delay(s_rememberLimit, CancellationToken.None)).ConfigureAwait(false);
        return await EndAsync(server, terminal).ConfigureAwait(false);

        void Tell(string state)
        {
            if (SystemdNotifier.Notify(state) is string trouble)
            {
                logging.CreateLogger("polyblk.serve").LogWarning("systemd is not told: {Trouble}", trouble);
            }
        }
    }

    /// <summary>
    /// A folder that is not there is a typing error more often than a wish: none is made, least of all as root.
    /// </summary>
    private static void RequireSocketFolders(IReadOnlyList<FrontendGroup> groups)
    {
        foreach (string path in groups.Select(g => g.SocketPath).OfType<string>())
        {
            string? folder = Path.GetDirectoryName(path);
            if (folder is not null && !Directory.Exists(folder))
            {
                throw CliException.NotFound(
                    $"There is no folder {folder} for the socket {path}: make it, or choose another path.");
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

    internal static async Task<ControlResponse> AnswerAsync(VolumeServer server, ControlRequest request, CancellationToken cancellation)
    {
        if (MemberChange.Parse(request.Command, request.Drive, request.NewDrive, request.Force) is MemberChange change)
        {
            change = change with { FailFirst = request.FailFirst, MoreDrives = request.MoreDrives };
            MemberChangeResult done = await server.ChangeMembersAsync(change, cancellation).ConfigureAwait(false);
            return new ControlResponse { Ok = true, Message = done.Message, Role = done.Role, Live = server.GetLive() };
        }

        switch (request.Command)
        {
            case "show":
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "stop":
                await server.StopAsync(request.Force ? StopMode.Force : StopMode.IfIdle, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Unfinished = server.Unfinished };
            case "resize":
                await server.ResizeAsync(request.SizeBytes, request.Force, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "acknowledge":
                await server.AcknowledgeDamageAsync(cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "check" or "repair":
                await server.StartCheckAsync(repair: request.Command == "repair", cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "stop-check":
                await server.StopCheckAsync(cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "set" when request.MaxRebuildBytesPerSecond is long most:
                await server.LimitRebuildAsync(most, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "set" when request.CheckEverySeconds is long seconds:
                await server.CheckEveryAsync(seconds, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            case "set" when ConsistencyWord.TryParse(request.Consistency, out ArrayConsistency consistency):
                await server.SetConsistencyAsync(consistency, cancellation).ConfigureAwait(false);
                return new ControlResponse { Ok = true, Live = server.GetLive() };
            default:
                return new ControlResponse
                {
                    Ok = false,
                    Error = $"There is no request '{request.Command}': show, stop, resize, acknowledge, fail, replace, add-spare, remove, "
                        + "check, repair, stop-check and set are understood.",
                    ExitCode = ExitCode.Usage,
                };
        }
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
