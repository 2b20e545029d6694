// polyblk export: what the daemon serves.

using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk export …</c>.</summary>
internal sealed class ExportCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    public Command Build()
    {
        var command = new Command("export", "Say what the daemon serves, and how: now, and at every start.");
        command.Subcommands.Add(new ExportAddCommand(frontends).Build());
        command.Subcommands.Add(new ExportListCommand().Build());
        command.Subcommands.Add(new ExportShowCommand().Build());
        command.Subcommands.Add(new ExportRemoveCommand().Build());
        return command;
    }
}

/// <summary><c>polyblk export add</c>.</summary>
internal sealed class ExportAddCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    private readonly IFrontend[] _frontends = [.. frontends];
    private readonly FrontendGroupParser _groups = new(frontends);
    private readonly Argument<string> _volume = new("VOLUME") { Description = "Name of the volume (polyblk volume list)." };
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("add", "Serve a volume through one or more frontends, now and whenever the daemon starts.");
        command.Arguments.Add(_volume);
        ServingOptions.AddFrontends(command, _frontends);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command,
            "polyblk export add data --frontend vhost-user",
            "polyblk export add data --frontend vhost-user --socket-group libvirt-qemu",
            "polyblk export add data --frontend nbd --read-only");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        using HostDoor host = HostDoor.Open(parsed);
        string volume = parsed.GetRequiredValue(_volume);
        VolumeName.Check(volume);
        IReadOnlyList<FrontendGroup> groups = _groups.Parse(parsed.Tokens);
        var added = new List<ExportJson>();
        foreach (FrontendGroup group in groups)
        {
            added.Add(await host.AddExportAsync(volume, ExportRecord.Of(group), cancellation).ConfigureAwait(false));
        }

        if (parsed.GetValue(_json))
        {
            terminal.WriteJson<IReadOnlyList<ExportJson>>(added, OutputJson.Default.IReadOnlyListExportJson);
            return ExitCode.Ok;
        }

        foreach (ExportJson export in added)
        {
            ServeReport.WriteExport(terminal, export);
        }

        return ExitCode.Ok;
    }
}

/// <summary><c>polyblk export list</c>.</summary>
internal sealed class ExportListCommand : ICliCommand
{
    private const string NoDaemon = "no daemon";

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("list", "List the exports of all volumes, and how they are.");
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        StateDirectories directories = CommandSettings.Directories(parsed);
        Terminal terminal = CommandSettings.Terminal(parsed);
        using HostDoor host = HostDoor.Open(parsed);
        IReadOnlyList<DaemonExportJson>? served = await host.ListExportsAsync(cancellation).ConfigureAwait(false);
        IReadOnlyList<DaemonExportJson> exports = served ?? [.. Kept(new VolumeStore(directories).List(terminal.Warn))];
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(exports, OutputJson.Default.IReadOnlyListDaemonExportJson);
            return ExitCode.Ok;
        }

        if (exports.Count == 0)
        {
            terminal.WriteLine("There are no exports. Make one with 'polyblk export add VOLUME --frontend FRONTEND'.");
            return ExitCode.Ok;
        }

        var table = new TextTable("EXPORT", "STATE", "SESSIONS", "ERRORS", "WHERE");
        foreach (DaemonExportJson export in exports)
        {
            table.AddRow(
                export.Id,
                export.State,
                $"{export.Live?.Statistics?.Sessions}",
                $"{export.Live?.Statistics?.Errors}",
                export.Live is { Reason: null } live ? live.Endpoint : export.Reason ?? string.Empty);
        }

        table.Write(terminal);
        if (served is null)
        {
            terminal.Note("No daemon serves them: start it with 'polyblk daemon' (or: systemctl start polyblk).");
        }

        return ExitCode.Ok;
    }

    private static IEnumerable<DaemonExportJson> Kept(IReadOnlyList<VolumeRecord> records) =>
        from record in records
        from export in record.Exports ?? []
        select new DaemonExportJson
        {
            Id = ExportRecord.IdOf(record.Name, export.Frontend, export.Index),
            Volume = record.Name,
            Frontend = export.Frontend,
            ReadOnly = export.ReadOnly,
            State = NoDaemon,
        };
}

/// <summary><c>polyblk export show</c>: what <c>add</c> has said, for whoever comes later.</summary>
internal sealed class ExportShowCommand : ICliCommand
{
    private readonly Argument<string> _id = new("EXPORT")
    {
        Description = "Its id, such as data/vhost-user/0 (polyblk export list), or a volume: all of its exports.",
    };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("show", "Say where an export is, and with which commands machines and containers attach to it.");
        command.Arguments.Add(_id);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk export show data/vhost-user/0", "polyblk export show data");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string id = parsed.GetRequiredValue(_id);
        using HostDoor host = HostDoor.Open(parsed);
        IReadOnlyList<DaemonExportJson> all = await host.ListExportsAsync(cancellation).ConfigureAwait(false)
            ?? throw RefusalException.Refused(
                "No daemon serves exports.", "Start it with 'polyblk daemon' (or: systemctl start polyblk).");
        DaemonExportJson[] meant = [.. all.Where(e => e.Id == id || e.Volume == id)];
        if (meant.Length == 0)
        {
            throw RefusalException.NotFound($"The daemon has no export '{id}'.", "'polyblk export list' names them.");
        }

        Terminal terminal = CommandSettings.Terminal(parsed);
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson<IReadOnlyList<DaemonExportJson>>(meant, OutputJson.Default.IReadOnlyListDaemonExportJson);
            return ExitCode.Ok;
        }

        foreach (DaemonExportJson export in meant)
        {
            if (export.Live is { Reason: null } live)
            {
                ServeReport.WriteExport(terminal, live);
            }
            else
            {
                string reason = (export.Reason ?? export.Live?.Reason) is string why ? $": {why.TrimEnd('.')}" : string.Empty;
                terminal.WriteLine($"{export.Id} is not served ({export.State}{reason}).");
            }
        }

        return meant.All(e => e.Live is { Reason: null }) ? ExitCode.Ok : ExitCode.Failed;
    }
}

/// <summary><c>polyblk export remove</c>.</summary>
internal sealed class ExportRemoveCommand : ICliCommand
{
    private readonly Argument<string> _id = new("EXPORT") { Description = "Its id, such as data/vhost-user/0 (polyblk export list)." };
    private readonly Option<bool> _force = new("--force")
    {
        Description = "Also while a virtual machine or a client is attached, who loses its disk.",
    };

    public Command Build()
    {
        var command = new Command("remove", "Do not serve a volume through an export any more; its other exports are served on.");
        command.Arguments.Add(_id);
        command.Options.Add(_force);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        string id = parsed.GetRequiredValue(_id);
        using HostDoor host = HostDoor.Open(parsed);
        await host.RemoveExportAsync(id, parsed.GetValue(_force), cancellation).ConfigureAwait(false);
        CommandSettings.Terminal(parsed).WriteLine($"Export '{id}' is removed.");
        return ExitCode.Ok;
    }
}
