// Text that the command line believes: the record of a volume, a client of the control socket, a drive, a size. The first byte
// says which it is. Only the refusals that are meant for a user may be thrown.

using System.Text;
using System.Text.Json;
using Polyblk.Cli;
using Polyblk.Cli.Output;
using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using static Polyblk.Fuzz.FuzzFailureException;

namespace Polyblk.Fuzz.Targets;

/// <summary>Records and requests.</summary>
internal sealed class RecordTarget : IFuzzTarget
{
    private const string VolumeText = "data";
    private const int Kinds = 4;
    private static readonly Lazy<StateDirectories> s_directories = new(MakeDirectories);

    /// <inheritdoc/>
    public string Name => "records";

    /// <inheritdoc/>
    public void Run(ReadOnlySpan<byte> input)
    {
        if (input.IsEmpty)
        {
            return;
        }

        ReadOnlySpan<byte> text = input[1..];
        switch (input[0] % Kinds)
        {
            case 0: ReadRecord(text); break;
            case 1: Converse(Encoding.UTF8.GetString(text)); break;
            case 2: ParseDrive(Encoding.UTF8.GetString(text)); break;
            default: ParseSize(Encoding.UTF8.GetString(text)); break;
        }
    }

    /// <inheritdoc/>
    public IEnumerable<(string Name, byte[] Input)> Seeds()
    {
        const string record = """
            {"format":1,"name":"data","uuid":"7f1a2b3c-0000-4000-8000-00000000000a","level":"raid5","chunkBytes":65536,
            "sizeBytes":1048576,"volatile":true,"drives":["ram:1MiB","ram:1MiB"],"createdUtc":"2026-11-01T00:00:00+00:00"}
            """;
        const string shortRecord = """
            {"name":"data","uuid":"7f1a2b3c-0000-4000-8000-00000000000a","level":"raid1","drives":["/dev/a","/dev/b"]}
            """;
        yield return ("record", Seed(0, record));
        yield return ("record-none", Seed(0, record.Replace("raid5", "none", StringComparison.Ordinal)));
        yield return ("record-short", Seed(0, shortRecord));
        yield return ("control-show", Seed(1, "{\"command\":\"show\"}\n"));
        yield return ("control-resize", Seed(1, "{\"command\":\"resize\",\"sizeBytes\":4096,\"force\":true}\n{}\nx\n"));
        yield return ("drive-file", Seed(2, "file:/var/tmp/a.img,size=10GiB,block-size=4096,direct=on"));
        yield return ("drive-ram", Seed(2, "ram:1MiB,block-size=512"));
        yield return ("drive-sim", Seed(2, "sim:1GiB,read-us=80,iops=1000"));
        yield return ("size", Seed(3, "1.5GiB"));
    }

    private static byte[] Seed(byte kind, string text) => [kind, .. Encoding.UTF8.GetBytes(text)];

    private static void ReadRecord(ReadOnlySpan<byte> text)
    {
        var store = new VolumeStore(s_directories.Value);
        File.WriteAllBytes(store.FileOf(VolumeText), text);
        int warnings = 0;
        IReadOnlyList<VolumeRecord> records = store.List(_ => warnings++);
        Require(records.Count + warnings == 1, "A file is neither a record nor warned of.");
        VolumeRecord? same = null;
        try
        {
            same = store.TryGet(VolumeText);
        }
        catch (RefusalException)
        {
            Require(warnings == 1, "A record is listed and cannot be read.");
        }

        if (same is not null)
        {
            Require(warnings == 0, "A record can be read and is not listed.");
            CheckRecord(same);
        }
    }

    private static void CheckRecord(VolumeRecord record)
    {
        Require(record.Name == VolumeText, $"The record in {VolumeText}.json calls itself something else.");
        Require(record.Uuid != Guid.Empty && record.Level is not null, "A record lacks what every volume has.");
        Require(record.Drives is { Count: > 0 } && record.Drives.All(d => !string.IsNullOrEmpty(d)), "A record names no drives.");
        _ = JsonSerializer.Serialize(record, VolumeRecordJson.Default.VolumeRecord);
        try
        {
            _ = DriveList.Parse(record.Drives);
        }
        catch (RefusalException)
        {
            // Two paths to one drive are found when they are opened.
        }
    }

    private static void Converse(string text)
    {
        foreach (string line in text.Split('\n'))
        {
            ControlResponse answer = ControlServer.AnswerAsync(
                line, Answer, StrictLogger.Instance, default, CancellationToken.None)
                .GetAwaiter().GetResult();
            Require(answer.Ok || !string.IsNullOrEmpty(answer.Error), "An answer says neither yes nor why not.");
            byte[] bytes = JsonSerializer.SerializeToUtf8Bytes(answer, LineJson.Default.ControlResponse);
            Require(!bytes.Contains((byte)'\n'), "An answer is more than a line.");
        }
    }

    private static Task<ControlResponse> Answer(ControlRequest request, CancellationToken cancellation)
    {
        Require(request.Command is not null, "A request without a command is none.");
        return request.Command is "show" or "stop" or "resize"
            ? Task.FromResult(new ControlResponse { Ok = true })
            : throw RefusalException.Invalid($"'{request.Command}' is unknown.");
    }

    private static void ParseDrive(string text)
    {
        try
        {
            DriveSpec spec = DriveSpec.Parse(text);
            Require(!spec.IsVolatile || spec.SizeBytes is >= 512, "A drive of memory has no size.");
            Require((spec.SizeBytes ?? 0) % 512 == 0, "A size is no multiple of a block.");
            _ = DriveList.ToRecord(spec);
        }
        catch (FormatException)
        {
            // The refusal that the command line shows.
        }
    }

    private static void ParseSize(string text)
    {
        if (ByteSize.TryParse(text, out long bytes))
        {
            Require(bytes >= 0, "A size is negative.");
            Require(
                ByteSize.Parse(ByteSize.Format(bytes)) == bytes,
                $"{bytes} bytes are written as {ByteSize.Format(bytes)}, which is something else.");
        }
    }

    private static StateDirectories MakeDirectories()
    {
        string root = Directory.CreateTempSubdirectory("polyblk-fuzz-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(root, recursive: true);
        var directories = new StateDirectories(root, Path.Combine(root, "run"));
        StateDirectories.Ensure(directories.Volumes);
        return directories;
    }
}
