using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume list</c>.</summary>
internal sealed class VolumeListCommand : ICliCommand
{
    private readonly Argument<string[]> _paths = new("PATH")
    {
        Description = "With --scan: devices, files and directories to look at. [default: all block devices]",
        Arity = ArgumentArity.ZeroOrMore,
    };

    private readonly Option<bool> _scan = new("--scan") { Description = "Look at drives for arrays that this host has no record of." };
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("list", "List the volumes of this host.");
        command.Arguments.Add(_paths);
        command.Options.Add(_scan);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk volume list --json", "polyblk volume list --scan", "polyblk volume list --scan /var/tmp/images");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        string[] paths = parsed.GetValue(_paths) ?? [];
        bool scan = parsed.GetValue(_scan);
        if (paths.Length > 0 && !scan)
        {
            throw RefusalException.Invalid("Paths are for --scan: polyblk volume list --scan PATH…");
        }

        using HostDoor host = HostDoor.Open(parsed);
        List<VolumeJson> volumes =
        [
            .. from volume in await host.ListVolumesAsync(terminal.Warn, cancellation).ConfigureAwait(false)
               select volume with { Live = null },
        ];
        if (scan)
        {
            IReadOnlyList<VolumeJson> found = await ArrayScanner.ScanAsync(paths, terminal.Warn, cancellation).ConfigureAwait(false);
            volumes.AddRange(found.Where(f => volumes.TrueForAll(v => v.Uuid != f.Uuid)));
        }

        if (parsed.GetValue(_json))
        {
            terminal.WriteJson<IReadOnlyList<VolumeJson>>(volumes, OutputJson.Default.IReadOnlyListVolumeJson);
        }
        else
        {
            Write(terminal, volumes);
        }

        return ExitCode.Ok;
    }

    private static void Write(Terminal terminal, List<VolumeJson> volumes)
    {
        if (volumes.Count == 0)
        {
            terminal.WriteLine("There are no volumes. Make one with 'polyblk volume create'; 'polyblk volume list --scan' looks for arrays on drives.");
            return;
        }

        // Health first: a degraded array must be seen at any width. What may be long comes last; drives are for volume show.
        var table = new TextTable("NAME", "HEALTH", "LEVEL", "SIZE", "STATUS");
        foreach (VolumeJson volume in volumes)
        {
            string status = (volume.Recorded ? volume.Status : "found, not recorded")
                + (volume.Pid is int pid ? $" (process {pid})" : string.Empty)
                + (volume.Volatile ? ", volatile" : string.Empty)
                + (volume.NotServed is null || volume.Status == VolumeView.WaitingStatus ? string.Empty : ", could not start");
            table.AddRow(
                volume.Name,
                HealthOf(volume),
                volume.Level,
                volume.SizeBytes is long size ? ByteSize.FormatRounded(size) : "?",
                status);
        }

        table.Write(terminal);
        foreach (VolumeJson found in volumes.Where(v => !v.Recorded))
        {
            terminal.WriteLine();
            terminal.WriteLine($"Take over '{found.Name}' with: polyblk volume import {string.Join(' ', found.Drives.Select(Quoted))}");
        }
    }

    private static string Quoted(string drive) => drive.All(c => char.IsAsciiLetterOrDigit(c) || "/._:=,+-".Contains(c, StringComparison.Ordinal))
        ? drive : $"'{drive.Replace("'", "'\\''", StringComparison.Ordinal)}'";

    /// <summary>The health of a volume in a few words.</summary>
    public static string HealthOf(VolumeJson volume)
    {
        if (volume.Array is not ArrayJson array)
        {
            return volume.Health.Word();
        }

        int missing = array.Members.Count(m => !m.IsInUse);
        string resync = array.Rebuild is ProgressJson rebuild ? $" {rebuild.Percent} %"
            : array.ResyncProgress is double progress ? $" {progress:P0}"
            : string.Empty;
        resync += array.Replacement is ReplacementJson replacement ? $", replacing {replacement.Copy.Percent} %" : string.Empty;
        resync += array.Reshape is ReshapeJson reshape ? $", reshaping {reshape.Progress.Percent} %" : string.Empty;
        return volume.Health.Word() + resync + (missing > 0 ? $" ({missing} of {array.Members.Count} out)" : string.Empty);
    }
}
