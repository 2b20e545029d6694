using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Host;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume show</c>: the record, the superblocks or the serving process, and live statistics.</summary>
internal sealed class VolumeShowCommand : ICliCommand
{
    private readonly Argument<string> _name = VolumeCommand.NameArgument();
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("show", "Show a volume: its drives, its health, and what its exports and reactors do.");
        command.Arguments.Add(_name);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        using HostDoor host = HostDoor.Open(parsed);
        VolumeJson volume = await host.ShowVolumeAsync(parsed.GetRequiredValue(_name), terminal.Warn, cancellation)
            .ConfigureAwait(false);
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(volume, OutputJson.Default.VolumeJson);
        }
        else
        {
            Write(terminal, volume);
        }

        return ExitCode.Ok;
    }

    private static void Write(Terminal terminal, VolumeJson volume)
    {
        terminal.WriteLine($"Name      {volume.Name}");
        terminal.WriteLine($"UUID      {volume.Uuid}");
        string chunk = volume.ChunkBytes > 0 ? $", chunk {ByteSize.FormatRounded(volume.ChunkBytes)}" : string.Empty;
        string groups = volume.Groups is int number ? $", {number} groups" : string.Empty;
        terminal.WriteLine($"Level     {volume.Level}{groups}{chunk}{(volume.Volatile ? ", volatile" : string.Empty)}");
        terminal.WriteLine($"Size      {(volume.SizeBytes is long size ? $"{ByteSize.FormatRounded(size)} ({size} bytes)" : "not known")}");
        terminal.WriteLine($"Status    {volume.Status}{(volume.Pid is int pid ? $" by process {pid}" : string.Empty)}");
        foreach (string reason in new[] { volume.NotServed, volume.Problem }.OfType<string>())
        {
            terminal.WriteLine($"          {reason}");
        }

        terminal.WriteLine($"Health    {volume.Health.Word()}");
        if (volume.Array is ArrayJson array)
        {
            terminal.WriteLine($"Array     {ServeReport.Describe(array)}");
            if (array.Consistency is string consistency)
            {
                terminal.WriteLine($"          After an unclean stop: {ConsistencyWord.Describe(consistency)}");
            }

            if (array.Checksums)
            {
                long errors = array.Members.Sum(m => m.ChecksumErrors ?? 0);
                string found = errors == 0 ? string.Empty : $"; {errors} blocks were not what had been written: "
                    + string.Join(", ", array.Members.Where(m => m.ChecksumErrors > 0)
                        .Select(m => $"{m.ChecksumErrors} of member {m.Role}"));
                terminal.WriteLine($"          Blocks have checksums (crc32c){found}");
            }

            WriteProgress(terminal, "Resync", array.Resync, array);
            WriteProgress(terminal, "Rebuild", array.Rebuild, array);
            if (array.Reshape is ReshapeJson reshape)
            {
                WriteProgress(terminal, $"Reshape {reshape.Describe()}", reshape.Progress, array);
                if (reshape.OldLevel != reshape.NewLevel)
                {
                    string most = $"the loss of {reshape.Redundancy} of its drives, whichever they are";
                    terminal.WriteLine($"          Until its end the volume survives {most}.");
                }
            }

            if (array.Replacement is ReplacementJson replacement)
            {
                string what = $"Member {replacement.Role}: {replacement.NewDrive} replaces {replacement.OldDrive}, copied";
                WriteProgress(terminal, what, replacement.Copy, array);
            }

            string every = array.CheckEverySeconds is > 0 and long seconds ? $"; every {Duration.Format(TimeSpan.FromSeconds(seconds))}" : string.Empty;
            if (array.Check is not null || (every.Length != 0 && array.Consistency is not null))
            {
                terminal.WriteLine($"          Members compared: {(array.Check is CheckJson check ? check.ToString() : "not yet")}{every}");
            }

            if (array is { Consistency: not null, DriveTimeoutSeconds: int timeout, SlowReadSeconds: int slow })
            {
                terminal.WriteLine($"          A drive that does not answer: not read after {slow} s, "
                    + (timeout == 0 ? "waited for" : $"out after {timeout} s"));
            }

            foreach (string attention in array.Warnings.Prepend(array.Problem ?? string.Empty).Where(t => t.Length > 0))
            {
                terminal.WriteLine($"          {attention}");
            }

            foreach (string command in array.Advice)
            {
                terminal.WriteLine($"          Next: {command}");
            }
        }

        terminal.WriteLine();
        WriteDrives(terminal, volume);
        if (volume.Live is LiveJson live)
        {
            WriteExports(terminal, live);
            WriteLatencies(terminal, live);
            WriteReactors(terminal, live);
        }

        if (volume.History is { Count: > 0 } history)
        {
            terminal.WriteLine();
            terminal.WriteLine("History");
            foreach (EventJson e in history)
            {
                EventsCommand.Write(terminal, e);
            }
        }
    }

    private static void WriteDrives(Terminal terminal, VolumeJson volume)
    {
        var table = new TextTable("MEMBER", "STATE", "DRIVE");
        if (volume.Array is { Members.Count: > 0 } array)
        {
            foreach (MemberJson member in array.Members)
            {
                string? why = member.Reason is string cause ? Explain(cause) : null;
                string? last = member.LastError is FaultJson fault ? $"last error: {fault}" : null;
                string said = string.Join("; ", new[] { why, last }.OfType<string>());
                string reason = member.Problem is string problem ? $": {problem}" : said.Length > 0 ? $" ({said})" : string.Empty;
                string done = member.State == MemberJson.Rebuilding && array.Rebuild is ProgressJson rebuild ? $" {rebuild.Percent} %" : string.Empty;
                string drive = member.Drive is null ? LastSeen(member) : member.Drive + Place(member);
                table.AddRow($"{member.Role}", member.State + done + reason, drive);
            }

            if (array.Replacement is ReplacementJson next)
            {
                table.AddRow($"{next.Role}, next", $"copied {next.Copy.Percent} %", next.NewDrive);
            }

            foreach (string spare in array.Spares)
            {
                table.AddRow("spare", "waits", spare);
            }

            foreach (OtherDriveJson other in array.OtherDrives)
            {
                table.AddRow("-", $"{other.State}: {other.Problem}", other.Drive);
            }
        }
        else
        {
            foreach ((string drive, int i) in volume.Drives.Select((d, i) => (d, i)))
            {
                table.AddRow($"{i}", "-", drive);
            }
        }

        table.Write(terminal);
    }

    private static void WriteProgress(Terminal terminal, string what, ProgressJson? progress, ArrayJson array)
    {
        if (progress is null)
        {
            return;
        }

        string limit = array.MaxRebuildBytesPerSecond is long most ? $"; at most {ByteSize.FormatRounded(most)}/s" : string.Empty;
        terminal.WriteLine($"          {what} {progress}{limit}{(progress.IsLeft ? "; it goes on when the volume is served for writing" : string.Empty)}");
    }

    private static string Explain(string reason) => reason switch
    {
        "absent" => "its drive was not there",
        "asked" => "taken out by a user",
        "timed-out" => "its drive did not answer in time",
        _ => reason,
    };

    /// <summary>What leads to the drive of a member that has trouble.</summary>
    private static string Place(MemberJson member)
    {
        string place = new DriveJson(string.Empty) { Serial = member.Serial, Slot = member.Slot }.Describe();
        bool isToBeFound = member.State != MemberJson.Present || member.LastError is not null;
        return isToBeFound && place.Length > 0 ? $" ({place})" : string.Empty;
    }

    /// <summary>What to look for when a member is not there.</summary>
    private static string LastSeen(MemberJson member)
    {
        string serial = member.Serial is string s ? $", serial {s}" : string.Empty;
        bool isInPath = member.LastDevice is null || (member.LastDrive ?? string.Empty).EndsWith(member.LastDevice, StringComparison.Ordinal);
        string device = isInPath ? string.Empty : $" ({member.LastDevice})";
        string where = member.LastDrive is string drive ? $"last seen at {drive}{device}{serial}" : "not known to this host";
        return member.Uuid is Guid uuid ? $"{where}, member UUID {uuid}" : where;
    }

    private static void WriteExports(Terminal terminal, LiveJson live)
    {
        terminal.WriteLine();
        var table = new TextTable(
            "EXPORT", "STATE", "SESSIONS", "READS", "READ", "WRITES", "WRITTEN", "FLUSHES", "ERRORS", "IN FLIGHT", "ENDPOINT");
        foreach (ExportJson export in live.Exports)
        {
            var s = export.Statistics;
            table.AddRow(
                export.Id,
                export.Reason is string why ? $"{export.State}: {why}" : export.State,
                $"{s?.Sessions}",
                $"{s?.Reads}",
                s is null ? string.Empty : ByteSize.FormatRounded(s.ReadBytes),
                $"{s?.Writes}",
                s is null ? string.Empty : ByteSize.FormatRounded(s.WriteBytes),
                $"{s?.Flushes}",
                $"{s?.Errors}",
                $"{s?.InFlight}",
                export.Endpoint);
        }

        table.Write(terminal);
    }

    /// <summary>How long requests took, where there were any.</summary>
    private static void WriteLatencies(Terminal terminal, LiveJson live)
    {
        (string Export, string Operation, LatencyJson Latency)[] rows =
        [
            .. from export in live.Exports
               from kind in export.Latency?.Kinds ?? []
               select (export.Id, kind.Operation, kind.Latency),
        ];
        if (rows.Length == 0)
        {
            return;
        }

        terminal.WriteLine();
        var table = new TextTable("EXPORT", "OPERATION", "MEAN us", "P50 us", "P99 us", "P99.9 us", "P99.99 us");
        foreach ((string export, string operation, LatencyJson l) in rows)
        {
            table.AddRow(
                export, operation,
                Figure.Of(l.MeanUs), Figure.Of(l.P50Us), Figure.Of(l.P99Us), Figure.Of(l.P999Us), Figure.Of(l.P9999Us));
        }

        table.Write(terminal);
    }

    private static void WriteReactors(Terminal terminal, LiveJson live)
    {
        terminal.WriteLine();
        var table = new TextTable("REACTOR", "CPU", "QUEUES", "REQUESTS", "BUSY", "POLLING", "ASLEEP", "FAULTS");
        foreach (ReactorJson reactor in live.Reactors)
        {
            double total = Math.Max(1, reactor.BusyNs + reactor.SpinNs + reactor.SleepNs);
            table.AddRow(
                reactor.Name,
                $"{reactor.Cpu}",
                $"{reactor.Queues}",
                $"{reactor.Requests}",
                $"{reactor.BusyNs / total:P0}",
                $"{reactor.SpinNs / total:P0}",
                $"{reactor.SleepNs / total:P0}",
                $"{reactor.Faults}");
        }

        table.Write(terminal);
    }
}
