using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume create</c>.</summary>
internal sealed class VolumeCreateCommand : ICliCommand
{
    private const int DefaultChunkBytes = 64 << 10;

    private readonly Argument<string> _name = new("NAME") { Description = "Name of the new volume." };
    private readonly Argument<string[]> _drives = new("DRIVE")
    {
        Description = DriveKinds.Default.Help,
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<string> _level = new("--level")
    {
        HelpName = "LEVEL",
        Description = "raid0, raid1, raid10, raid5, raid6, or none to serve one drive as it is.",
        Required = true,
    };

    private readonly Option<long?> _chunk = CommandSettings.Size("--chunk", "Chunk of a striped level: a power of two from 4KiB to 1MiB. [default: 64KiB]");
    private readonly Option<long?> _size = CommandSettings.Size("--size", "Size of the volume. [default: all that the drives give]");
    private readonly Option<string?> _consistency = ConsistencyOption.Create(
        "How an array is put right after an unclean stop: journal, bitmap or none. [default: journal for raid5 and raid6, bitmap for mirrors]");

    private readonly Option<bool> _force = new("--force") { Description = "Overwrite file systems, partitions and other arrays on the drives." };
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("create", "Make a volume from drives.");
        command.Arguments.Add(_name);
        command.Arguments.Add(_drives);
        Option[] options = [_level, _chunk, _size, _consistency, _force, _json];
        foreach (Option option in options)
        {
            command.Options.Add(option);
        }

        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command,
            "polyblk volume create data --level raid5 /dev/sdb /dev/sdc /dev/sdd",
            "polyblk volume create data --level raid6 --chunk 128KiB --size 500GiB /dev/disk/by-id/nvme-*",
            "polyblk volume create toy --level raid1 file:/var/tmp/a.img,size=10GiB file:/var/tmp/b.img,size=10GiB",
            "polyblk volume create fast --level raid0 ram:1GiB ram:1GiB");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        StateDirectories directories = CommandSettings.Directories(parsed);
        var store = new VolumeStore(directories);
        string name = parsed.GetRequiredValue(_name);
        RequireNew(store, name);
        IReadOnlyList<DriveSpec> drives = DriveList.Parse(parsed.GetRequiredValue(_drives));
        RaidLevel? level = ParseLevel(parsed.GetRequiredValue(_level), drives.Count);
        int chunk = ParseChunk(parsed.GetValue(_chunk), level);
        using VolumeLock held = VolumeLock.Take(directories, name, "made");
        RequireNew(store, name); // another process may have made it meanwhile
        store.RequireWritable(name);

        NewVolume made = await VolumeMaker.MakeAsync(
            new VolumeRequest(name, level, chunk, parsed.GetValue(_size), parsed.GetValue(_force), drives)
            {
                Consistency = ParseConsistency(parsed.GetValue(_consistency), level, drives[0]),
            },
            terminal.Note,
            cancellation)
            .ConfigureAwait(false);
        var record = new VolumeRecord
        {
            Name = name,
            Uuid = made.Uuid,
            Level = level is RaidLevel l ? l.Name() : VolumeOpener.NoLevel,
            ChunkBytes = chunk,
            SizeBytes = made.SizeBytes,
            Volatile = drives[0].IsVolatile,
            Drives = [.. drives.Select(DriveList.ToRecord)],
            CreatedUtc = DateTimeOffset.UtcNow,
        };
        record = await RecordAsync(store, record, terminal.Warn, cancellation).ConfigureAwait(false);
        Report(terminal, record, parsed.GetValue(_json));
        return ExitCode.Ok;
    }

    /// <summary>Writes the record, with what is known of the members.</summary>
    /// <exception cref="RefusalException">It cannot be written; the message says how the volume that was made is taken over all the
    /// same.</exception>
    private static async Task<VolumeRecord> RecordAsync(
        VolumeStore store, VolumeRecord record, Action<string> warn, CancellationToken cancellation)
    {
        try
        {
            store.Put(record);
            return await MemberMemory.RefreshAsync(store, record, warn, cancellation).ConfigureAwait(false);
        }
        catch (RefusalException e) when (!record.Volatile && record.Level != VolumeOpener.NoLevel)
        {
            throw new RefusalException(
                e.Kind,
                $"{e.Message}\nThe drives are initialised: they hold the array '{record.Name}' ({record.Uuid}). "
                + $"When records can be written again, this takes it over: polyblk volume import {string.Join(' ', record.Drives)}",
                e);
        }
    }

    private static void RequireNew(VolumeStore store, string name)
    {
        if (store.TryGet(name) is not null)
        {
            throw RefusalException.Refused($"There is a volume '{name}' already. Choose another name, or remove it first with 'polyblk volume delete {name}'.");
        }
    }

    private static void Report(Terminal terminal, VolumeRecord record, bool json)
    {
        if (json)
        {
            terminal.WriteJson(VolumeView.Stopped(record), OutputJson.Default.VolumeJson);
            return;
        }

        terminal.WriteLine(
            $"Volume '{record.Name}' is made: {record.Level}, {record.Drives.Count} drive(s), {ByteSize.FormatRounded(record.SizeBytes)}, UUID {record.Uuid}.");
        if (record.Volatile)
        {
            terminal.WriteLine("It is volatile: only its recipe is kept. Each 'polyblk serve' starts with empty drives.");
        }

        terminal.WriteLine($"Serve it with: polyblk serve {record.Name} --frontend vhost-user");
    }

    private static RaidLevel? ParseLevel(string text, int drives)
    {
        if (text.Equals(VolumeOpener.NoLevel, StringComparison.OrdinalIgnoreCase))
        {
            return drives == 1 ? null : throw RefusalException.Invalid($"--level none takes one drive, not {drives}: choose a RAID level for several.");
        }

        if (!RaidLevels.TryParse(text, out RaidLevel level))
        {
            string[] known = ["raid0", "raid1", "raid10", "raid5", "raid6", VolumeOpener.NoLevel];
            string hint = Suggestion.Nearest(text, known) is string near ? $" Did you mean '{near}'?" : string.Empty;
            throw RefusalException.Invalid($"'{text}' is no level.{hint} There are: {string.Join(", ", known)}.");
        }

        int minimum = level.MinimumMembers();
        return drives >= minimum ? level : throw RefusalException.Invalid($"{level.Name()} needs at least {minimum} drives; {drives} given.");
    }

    private static ArrayConsistency? ParseConsistency(string? text, RaidLevel? level, DriveSpec drive)
    {
        if (text is null)
        {
            return null;
        }

        return level is null ? throw RefusalException.Invalid("--consistency is for arrays; one drive as it is has nothing that could disagree.")
            : drive.IsVolatile ? throw RefusalException.Invalid("--consistency is for drives that last: a volatile volume begins empty each time.")
            : ConsistencyWord.TryParse(text, out ArrayConsistency consistency) ? consistency
            : null;
    }

    private static int ParseChunk(long? wanted, RaidLevel? level)
    {
        if (level is null or RaidLevel.Raid1)
        {
            return wanted is null ? 0 : throw RefusalException.Invalid("--chunk is for striped levels; raid1 and none have no chunk.");
        }

        long chunk = wanted ?? DefaultChunkBytes;
        return chunk is >= 4 << 10 and <= 1 << 20 && long.IsPow2(chunk)
            ? (int)chunk
            : throw RefusalException.Invalid($"--chunk takes a power of two from 4KiB to 1MiB, not {ByteSize.Format(chunk)}.");
    }
}
