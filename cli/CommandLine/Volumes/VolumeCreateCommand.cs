using System.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Host.Model;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.CommandLine.Volumes;

/// <summary><c>polyblk volume create</c>.</summary>
internal sealed class VolumeCreateCommand : ICliCommand
{
    private readonly Argument<string> _name = new("NAME") { Description = "Name of the new volume." };
    private readonly Argument<string[]> _drives = new("DRIVE")
    {
        Description = DriveKinds.Default.Help,
        Arity = ArgumentArity.OneOrMore,
    };

    private readonly Option<string> _level = new("--level")
    {
        HelpName = "LEVEL",
        Description = "raid0, raid1, raid10, raid5, raid6, raid7.3 to raid7.8 (three to eight parities), raid50, "
            + "raid60, N+M (such as 8+3: as many drives for data and for parities), GxN+M (such as 2x4+1: the same in each of so many "
            + "groups), or none to serve one drive as it is.",
        Required = true,
    };

    private readonly Option<int?> _groups = new("--groups")
    {
        HelpName = "G",
        Description = "Into how many groups the drives of raid50 and raid60 are cut, in their order. [default: 2]",
    };

    private readonly Option<long?> _chunk = CommandSettings.Size("--chunk", "Chunk of a striped level: a power of two from 4KiB to 1MiB. [default: 64KiB]");
    private readonly Option<long?> _size = CommandSettings.Size("--size", "Size of the volume. [default: all that the drives give]");
    private readonly Option<string?> _consistency = ConsistencyOption.Create(
        "How an array is put right after an unclean stop: journal, bitmap or none. "
        + "[default: journal with parity, bitmap for mirrors]");

    private readonly Option<string?> _isolate = OnOff.Option(
        "--isolate", "Whether the daemon serves it in a process of its own. [default: off]");

    private readonly Option<bool> _checksums = new("--checksums")
    {
        Description = "Keep a checksum (CRC-32C) of each block of the drives: what they return wrongly is found, and mended where "
            + "there is redundancy. Takes a thousandth of the drives; cannot be changed later, and the volume cannot grow.",
    };

    private readonly Option<bool> _force = new("--force") { Description = "Overwrite file systems, partitions and other arrays on the drives." };
    private readonly Option<bool> _json = CommandSettings.Json();

    public Command Build()
    {
        var command = new Command("create", "Make a volume from drives.");
        command.Arguments.Add(_name);
        command.Arguments.Add(_drives);
        Option[] options = [_level, _groups, _chunk, _size, _consistency, _checksums, _isolate, _force, _json];
        foreach (Option option in options)
        {
            command.Options.Add(option);
        }

        command.SetAction(RunAsync);
        HelpWithExamples.Add(
            command,
            "polyblk volume create data --level raid5 /dev/sdb /dev/sdc /dev/sdd",
            "polyblk volume create data --level raid6 --chunk 128KiB --size 500GiB /dev/disk/by-id/nvme-*",
            "polyblk volume create deep --level 8+3 /dev/disk/by-id/ata-*",
            "polyblk volume create wide --level raid60 --groups 3 /dev/disk/by-id/scsi-*",
            "polyblk volume create toy --level raid1 file:/var/tmp/a.img,size=10GiB file:/var/tmp/b.img,size=10GiB",
            "polyblk volume create fast --level raid0 ram:1GiB ram:1GiB");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        var wish = new VolumeWish(
            parsed.GetRequiredValue(_name), parsed.GetRequiredValue(_level), parsed.GetRequiredValue(_drives))
        {
            Groups = parsed.GetValue(_groups),
            ChunkBytes = parsed.GetValue(_chunk),
            SizeBytes = parsed.GetValue(_size),
            Consistency = parsed.GetValue(_consistency),
            Checksums = parsed.GetValue(_checksums),
            Force = parsed.GetValue(_force),
            Isolate = OnOff.Of(parsed.GetValue(_isolate)) ?? false,
        };
        using HostDoor host = HostDoor.Open(parsed);
        VolumeJson made = await host.CreateVolumeAsync(wish, terminal.Note, terminal.Warn, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
        {
            terminal.WriteJson(made, OutputJson.Default.VolumeJson);
            return ExitCode.Ok;
        }

        terminal.WriteLine(
            $"Volume '{made.Name}' is made: {made.Level}, {made.Drives.Count} drive(s), "
            + $"{ByteSize.FormatRounded(made.SizeBytes ?? 0)}, UUID {made.Uuid}.");
        if (made.Volatile)
        {
            terminal.WriteLine("It is volatile: only its recipe is kept. Each 'polyblk serve' starts with empty drives.");
        }

        terminal.WriteLine(host.HowToServe(made.Name));
        return ExitCode.Ok;
    }
}
