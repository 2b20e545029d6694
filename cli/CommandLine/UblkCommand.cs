// polyblk ublk: the ublk devices of this host, and what to do with those whose server died.

using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Frontends;
using Polyblk.Frontends.Ublk;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk ublk list|recover|delete</c>.</summary>
internal sealed class UblkCommand : ICliCommand
{
    private readonly Option<bool> _json = CommandSettings.Json();
    private readonly Option<bool> _force = new("--force")
    {
        Description = "Also when it is used, its server lives, or polyblk did not make it: its users then see I/O errors.",
    };

    private readonly Argument<uint> _number = new("N") { Description = "Number of the device: /dev/ublkbN." };
    private readonly Argument<uint?> _optionalNumber = new("N")
    {
        Description = "Number of the device: /dev/ublkbN. May be left out when there is one orphan.",
        Arity = ArgumentArity.ZeroOrOne,
    };

    private readonly Option<bool> _degraded = new(ServeCommand.AllowDegradedName) { Description = ServeCommand.AllowDegradedDescription };

    public Command Build()
    {
        var command = new Command("ublk", "Show ublk devices; take over or delete those whose server died.");
        var list = new Command("list", "Show every ublk device of this host, its server and its users.");
        list.Options.Add(_json);
        list.SetAction(ListAsync);
        var recover = new Command("recover", "Serve an orphan's volume again: its users go on where they wait. Runs until SIGTERM, as serve does.");
        recover.Arguments.Add(_optionalNumber);
        recover.Options.Add(_degraded);
        recover.SetAction(RecoverAsync);
        var delete = new Command("delete", "Delete a device whose server died. Requests that wait in it fail.");
        delete.Arguments.Add(_number);
        delete.Options.Add(_force);
        delete.SetAction(DeleteAsync);
        command.Subcommands.Add(list);
        command.Subcommands.Add(recover);
        command.Subcommands.Add(delete);
        return command;
    }

    private static UblkReaper MakeReaper(ParseResult parsed)
    {
        string exports = Path.GetDirectoryName(CommandSettings.Directories(parsed).ExportStateOf("any"))!;
        return new UblkReaper(Directory.Exists(exports) ? Directory.EnumerateDirectories(exports) : []);
    }

    private static string Describe(UblkDeviceInfo device) => device switch
    {
        { ServerAlive: true } => $"served by process {device.ServerPid}",
        { IsOurs: true, State: not "dead" } when IsWholeVolume(device) => $"orphan: polyblk ublk recover {device.Number}",
        { IsOurs: true, State: not "dead" } =>
            $"orphan without a record that tells how to serve it: run its 'polyblk serve' command again, or polyblk ublk delete {device.Number}",
        { IsOurs: true } => $"left over: polyblk ublk delete {device.Number}",
        _ => "no server; not made by polyblk",
    };

    /// <summary>Whether its record says all that 'serve' has to know: it was its volume's only export.</summary>
    private static bool IsWholeVolume(UblkDeviceInfo device) =>
        device.VolumeName is string volume && device.ExportId == $"{volume}/{UblkFrontend.FrontendName}/0";

    private static UblkDeviceInfo Choose(IReadOnlyList<UblkDeviceInfo> orphans, uint? number)
    {
        if (number is uint wanted)
        {
            return orphans.FirstOrDefault(d => d.Number == wanted)
                ?? throw new RefusalException(RefusalKind.NotFound, $"{wanted} is no orphan that can be recovered; see polyblk ublk list.");
        }

        return orphans.Count switch
        {
            1 => orphans[0],
            0 => throw new RefusalException(RefusalKind.NotFound, "There is no orphan to recover."),
            _ => throw RefusalException.Invalid($"There are several orphans: name one of {string.Join(", ", orphans.Select(o => o.Number))}."),
        };
    }

    private async Task<int> ListAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        IReadOnlyList<UblkDeviceInfo> devices = await MakeReaper(parsed).ListAsync().ConfigureAwait(false);
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson([.. devices.Select(ToJson)], OutputJson.Default.IReadOnlyListUblkDeviceJson);
            return ExitCode.Ok;
        }

        if (devices.Count == 0)
        {
            terminal.WriteLine("There is no ublk device.");
            return ExitCode.Ok;
        }

        var table = new TextTable("DEVICE", "VOLUME", "SIZE", "STATE", "USED BY", "SERVER");
        foreach (UblkDeviceInfo device in devices)
        {
            table.AddRow(
                device.Path,
                device.VolumeName ?? "-",
                ByteSize.FormatRounded(device.SizeBytes),
                device.State,
                string.Join("; ", device.Users),
                Describe(device));
        }

        table.Write(terminal);
        return ExitCode.Ok;
    }

    private async Task<int> DeleteAsync(ParseResult parsed, CancellationToken cancellation)
    {
        uint number = parsed.GetValue(_number);
        UblkReaper reaper = MakeReaper(parsed);

        // A host without the driver answers as 'ublk list' does; what can be refused is a device that is there.
        if ((await reaper.ListAsync().ConfigureAwait(false)).All(d => d.Number != number))
        {
            throw RefusalException.NotFound($"There is no ublk device {number}; 'polyblk ublk list' shows those that there are.");
        }

        try
        {
            await reaper.DeleteAsync(number, parsed.GetValue(_force)).ConfigureAwait(false);
        }
        catch (FrontendException e)
        {
            throw new RefusalException(RefusalKind.Refused, e.Message, e);
        }

        CommandSettings.Terminal(parsed).WriteLine($"/dev/ublkb{number} is deleted.");
        return ExitCode.Ok;
    }

    /// <summary>Runs <c>serve</c>, whose ordinary way of making an export is to take over what was left behind.</summary>
    private async Task<int> RecoverAsync(ParseResult parsed, CancellationToken cancellation)
    {
        IReadOnlyList<UblkDeviceInfo> orphans = await MakeReaper(parsed).RecoverableAsync().ConfigureAwait(false);
        UblkDeviceInfo device = Choose(orphans, parsed.GetValue(_optionalNumber));
        if (!IsWholeVolume(device))
        {
            throw RefusalException.Invalid($"{device.Path} was one of several doors or has no record here: run the 'polyblk serve' command that made it again.");
        }

        List<string> args = ServeArguments(device, parsed.GetValue(CommandSettings.State), parsed.GetValue(_degraded));

        // A program of its own: this one's tree of commands may have none but 'ublk' (CliProgram).
        return await CliProgram.RunAsync(args, parsed.InvocationConfiguration.Output, parsed.InvocationConfiguration.Error).ConfigureAwait(false);
    }

    /// <summary>The command that serves an orphan again.</summary>
    internal static List<string> ServeArguments(UblkDeviceInfo device, string? state, bool allowDegraded)
    {
        List<string> args = ["serve", device.VolumeName!];
        if (allowDegraded)
        {
            args.Add(ServeCommand.AllowDegradedName);
        }

        args.AddRange([FrontendGroupParser.FrontendOptionName, UblkFrontend.FrontendName]);
        if (state is not null)
        {
            args.AddRange(["--state", state]);
        }

        return args;
    }

    private static UblkDeviceJson ToJson(UblkDeviceInfo device) => new()
    {
        Number = device.Number,
        Path = device.Path,
        State = device.State,
        ServerPid = device.ServerPid,
        ServerAlive = device.ServerAlive,
        IsOurs = device.IsOurs,
        IsOrphan = device.IsOrphan,
        Volume = device.VolumeName,
        ExportId = device.ExportId,
        SizeBytes = device.SizeBytes,
        Users = device.Users,
    };
}
