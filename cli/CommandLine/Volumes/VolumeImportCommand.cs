using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Host;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume import</c>: makes the record of an array that its drives know and this host does not.</summary>
internal sealed class VolumeImportCommand : ICliCommand
{
    private readonly Argument<string[]> _drives = new("DRIVE")
    {
        Description = "The array's drives; all that there are.",
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<string?> _name = new("--name") { HelpName = "NAME", Description = "Name on this host. [default: the array's own]" };

    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("import", "Take over an array from another host, or after this host lost its state.");
        command.Arguments.Add(_drives);
        command.Options.Add(_name);
        command.Options.Add(_json);
        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk volume list --scan", "polyblk volume import /dev/sdb /dev/sdc /dev/sdd");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        StateDirectories directories = CommandSettings.Directories(parsed);
        var store = new VolumeStore(directories);
        string[] drives = parsed.GetRequiredValue(_drives);
        IReadOnlyList<VolumeJson> found = await ArrayScanner.ScanAsync(drives, terminal.Warn, cancellation).ConfigureAwait(false);
        if (found.Count != 1)
        {
            throw found.Count == 0
                ? RefusalException.NotFound("No array was found on these drives. 'polyblk volume list --scan' looks at all drives.")
                : RefusalException.Invalid($"These drives belong to {found.Count} arrays ({string.Join(", ", found.Select(f => f.Name))}): import one at a time.");
        }

        string name = parsed.GetValue(_name) ?? found[0].Name;
        VolumeName.Check(name);
        using VolumeLock held = VolumeLock.Take(directories, name, "imported");
        VolumeRecord? known = store.List(terminal.Warn).FirstOrDefault(r => r.Uuid == found[0].Uuid || r.Name == name);
        if (known is not null)
        {
            throw RefusalException.Refused(known.Uuid == found[0].Uuid
                ? $"This array is recorded already, as volume '{known.Name}'."
                : $"There is another volume '{name}' here: choose a name with --name.");
        }

        var record = new VolumeRecord
        {
            Name = name,
            Uuid = found[0].Uuid,
            Level = found[0].Level,
            Groups = found[0].Groups,
            ChunkBytes = found[0].ChunkBytes,
            SizeBytes = found[0].SizeBytes ?? 0,
            Drives = [.. found[0].Drives.Select(d => DriveList.ToRecord(Polyblk.Drives.DriveSpec.Parse(d)))],
            CreatedUtc = DateTimeOffset.UtcNow,
        };
        record = MemberMemory.Remember(record, found[0].Array);
        store.Put(record);
        new EventStore(directories).Tell(
            new EventJson
            {
                Kind = EventKinds.VolumeCreated,
                Volume = name,
                Reason = $"imported, {record.Level}, {record.Drives.Count} drive(s)",
            },
            terminal.Warn);
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(VolumeView.Stopped(record) with { Array = found[0].Array }, OutputJson.Default.VolumeJson);
            return ExitCode.Ok;
        }

        terminal.WriteLine($"Volume '{name}' is recorded: {found[0].Level}, {found[0].Drives.Count} drive(s), {ByteSize.FormatRounded(found[0].SizeBytes ?? 0)}.");
        return ExitCode.Ok;
    }
}
