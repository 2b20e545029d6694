// polyblk apply, with a daemon and without: what a file says is there afterwards, a second time nothing is done, and what cannot
// be is told before anything has changed.

using System.Net.Sockets;
using System.Text.Json;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class ApplyTests : DaemonTestBase
{
    private string File => PathOf("f.yaml");

    [Fact]
    public async Task WhatAFileSaysIsThereAndASecondTimeNothingIsDone()
    {
        Write($"""
            volumes:
              data:
                level: raid1
                drives: ["file:{PathOf("a")},size=4MiB", "file:{PathOf("b")},size=4MiB"]
                spares: ["file:{PathOf("c")},size=4MiB"]
                consistency: bitmap
                rebuild-rate: 10MiB
                check-every: 7d
                drive-timeout: 60
                autostart: false
                isolate: true
                exports:
                  - frontend: nbd
                    socket-mode: 660
                  - frontend: nbd
                    read-only: true
                    serial: 4711
              scratch:
                level: raid0
                chunk: 128KiB
                drives: [ram:4MiB, ram:4MiB]
            """);
        (int code, string output, _) = await RunAsync("apply", File, "--dry-run");
        Assert.Equal(6, code);
        Assert.Equal(
            ["+ volume data: raid1, 2 drive(s)", $"~ volume data: spares none -> file:{PathOf("c")},size=4MiB",
                "+ export data/nbd: socket-mode 660",
                "+ export data/nbd: read-only, serial 4711", "+ volume scratch: raid0, 2 drive(s)", "5 changes would be made."],
            Lines(output));
        Assert.Empty(Store.List(_ => { }));
        Assert.False(Path.Exists(PathOf("a")));

        (output, _) = await MustAsync("apply", File);
        Assert.Equal("5 changes made.", Lines(output)[^1]);
        VolumeRecord data = Store.Get("data");
        Assert.Equal(("raid1", 10L << 20, 7L * 86400, false, 3),
            (data.Level, data.MaxRebuildBytesPerSecond, data.CheckEverySeconds, data.Autostart, data.Drives.Count));
        Assert.True(data.Isolate);
        Assert.Equal((null, 60), (data.SlowReadSeconds, data.DriveTimeoutSeconds));
        Assert.Equal([("nbd", 0, false, "660"), ("nbd", 1, true, null)],
            data.Exports!.Select(e => (e.Frontend, e.Index, e.ReadOnly, e.SocketMode)));
        Assert.Equal(128 << 10, Store.Get("scratch").ChunkBytes);
        Assert.Equal(1, (await ShowAsync("data")).GetProperty("array").GetProperty("spares").GetArrayLength());

        string[] records = [.. Records()];
        (output, _) = await MustAsync("apply", File);
        Assert.Equal(["= volume data", "= export data/nbd/0", "= export data/nbd/1", "= volume scratch", "Nothing differs."],
            Lines(output));
        Assert.Equal(records, Records());
        (code, _, _) = await RunAsync("apply", File, "--dry-run");
        Assert.Equal(0, code);
    }

    [Fact]
    public async Task GroupsAreMadeAndStay()
    {
        string[] drives = [.. Enumerable.Range(0, 9).Select(i => $"\"file:{PathOf($"{i}")},size=4MiB\"")];
        void Say(string level, string more) => Write($"""
            volumes:
              data:
                level: {level}
                {more}
                drives: [{string.Join(", ", drives)}]
            """);
        Say("raid50", "groups: 3");
        (string output, _) = await MustAsync("apply", File);
        Assert.Contains("+ volume data: raid50, 9 drive(s)", output, StringComparison.Ordinal);
        Assert.Equal(("raid50", 3), (Store.Get("data").Level, Store.Get("data").Groups));
        Assert.Contains("Nothing differs.", (await MustAsync("apply", File)).Output, StringComparison.Ordinal);
        Assert.Contains("groups: 3", (await MustAsync("apply", "--print")).Output, StringComparison.Ordinal);
        Say("3x2+1", "autostart: true");
        Assert.Contains("Nothing differs.", (await MustAsync("apply", File)).Output, StringComparison.Ordinal);
        (string Level, string More, string Message)[] others =
        [
            ("raid50", "groups: 2", "volumes.data.groups: volume 'data' has 3 groups, and keeps that"),
            ("raid60", "groups: 3", "volume 'data' is raid50, and stays that"),
            ("raid50", "groups: many", "a number from 2 to 64"),
            ("raid50", "groups: 1", "a number from 2 to 64"),
        ];
        foreach ((string level, string more, string message) in others)
        {
            Say(level, more);
            (int code, _, string errors) = await RunAsync("apply", File);
            Assert.Contains(message, errors, StringComparison.Ordinal);
            Assert.NotEqual(0, code);
        }
    }

    [Fact]
    public async Task ADaemonServesItAtOnceAndSettingsAreChangedUnderIt()
    {
        await CreateAsync("data", "raid5", 3);
        await StartAsync();
        Write("""
            volumes:
              data:
                exports: [{frontend: nbd}]
                consistency: bitmap
                rebuild-rate: 5M
                slow-read: 4
            """);
        (string output, _) = await MustAsync("apply", File);
        Assert.Contains("+ export data/nbd/0", Lines(output));
        Assert.Contains("~ volume data: slow-read 10 -> 4", Lines(output));
        Assert.Equal((4, null), (Store.Get("data").SlowReadSeconds, Store.Get("data").DriveTimeoutSeconds));
        Assert.Contains("~ volume data: consistency journal -> bitmap", Lines(output));
        JsonElement array = (await ShowAsync("data")).GetProperty("live").GetProperty("array");
        Assert.Equal(("bitmap", 5 << 20),
            (array.GetProperty("consistency").GetString(), array.GetProperty("maxRebuildBytesPerSecond").GetInt32()));
        Assert.Equal("serving", Assert.Single(await ExportsAsync()).State);
        (output, _) = await MustAsync("apply", File);
        Assert.Equal("Nothing differs.", Lines(output)[^1]);
    }

    [Fact]
    public async Task AnExportThatIsNotNamedGoesOnlyWhenItIsPruned()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd", "--queues", "2");
        Write("volumes: {data: {exports: [{frontend: nbd, queues: 4}]}}");
        (int code, string output, string errors) = await RunAsync("apply", File, "--dry-run", "--prune");
        Assert.Equal((6, "- export data/nbd/0"), (code, Lines(output)[1]));
        (output, errors) = await MustAsync("apply", File);
        Assert.Contains("data/nbd/0 (queues 2) is not in", errors, StringComparison.Ordinal);
        (output, _) = await MustAsync("apply", File, "--json");
        JsonElement notes = JsonDocument.Parse(output).RootElement.GetProperty("notes");
        string? note = Assert.Single(notes.EnumerateArray()).GetString();
        Assert.Contains("data/nbd/0 (queues 2) is not in", note, StringComparison.Ordinal);
        Assert.Equal(2, (await ExportsAsync()).Count);
        await MustAsync("apply", File, "--prune");
        Assert.Equal(4, Assert.Single(Store.Get("data").Exports!).Queues);
        Assert.Equal("data/nbd/1", Assert.Single(await ExportsAsync()).Id);

        // A volume whose exports are not said keeps them.
        Write("volumes: {data: {autostart: false}}");
        await MustAsync("apply", File, "--prune");
        Assert.Single(await ExportsAsync());
    }

    [Fact]
    public async Task AnExportThatIsInUseIsNotPruned()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd");
        ExportJson live = (await ExportsAsync())[0].Live!;
        using var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        await client.ConnectAsync(new UnixDomainSocketEndPoint(live.Endpoint));
        byte[] answer = new byte[18];
        Assert.Equal(answer.Length, await client.ReceiveAsync(answer));

        // Fixed newstyle without zeroes, then NBD_OPT_EXPORT_NAME of the default export.
        await client.SendAsync((byte[])[0, 0, 0, 3, .. "IHAVEOPT"u8, 0, 0, 0, 1, 0, 0, 0, 0]);
        Assert.Equal(10, await client.ReceiveAsync(answer));
        while ((await ExportsAsync())[0].Live!.Statistics!.Sessions == 0)
        {
            // It is counted when it is served.
        }

        Write("volumes: {data: {rebuild-rate: 1M, exports: []}}");
        (int code, _, string errors) = await RunAsync("apply", File, "--prune");
        Assert.Equal(4, code);
        Assert.Contains($"{File}:1:45: volumes.data.exports: the export data/nbd/0 is not named, and is in use", errors,
            StringComparison.Ordinal);
        Assert.Null(Store.Get("data").MaxRebuildBytesPerSecond);
    }

    [Theory]
    [InlineData("level: raid5", "1:25: volumes.data.level: volume 'data' is raid1, and stays that")]
    [InlineData("chunk: 64KiB", "volumes.data.chunk: volume 'data' has no chunk")]
    [InlineData("size: 1MiB", "'polyblk volume resize data --size 1MiB' changes that")]
    [InlineData("drives: [DIR/data0, DIR/new]", "'polyblk volume replace data OLD DIR/new'")]
    [InlineData("drives: [DIR/data0]", "has DIR/data1, which is not named. Name it; 'polyblk volume replace data DIR/data1 NEW'")]
    [InlineData("spares: [DIR/none]", "There is no DIR/none")]
    [InlineData("spares: [DIR/other0]", "DIR/other0 is a drive of volume 'other'")]
    [InlineData("checksums: true", "volume 'data' was made without checksums")]
    [InlineData("consistency: none", "volume 'data' has bitmap. That is kept in its drives")]
    [InlineData("exports: [{frontend: nbd, socket: DIR/s}, {frontend: nbd, socket: DIR/s}]",
        "the socket DIR/s is that of data/nbd already")]
    public async Task WhatCannotBeIsToldBeforeAnythingHasChanged(string what, string message)
    {
        await CreateAsync("data", "raid1", 2);
        await CreateAsync("other", "raid1", 2);
        string[] before = [.. Records()];
        string directory = Path.GetDirectoryName(File)!;
        Write($"volumes: {{data: {{{what.Replace("DIR", directory, StringComparison.Ordinal)}, autostart: false}}, fresh: {{level: raid1, drives: ['file:{directory}/f0,size=4MiB', 'file:{directory}/f1,size=4MiB']}}}}");
        (int code, string output, string errors) = await RunAsync("apply", File);
        Assert.Equal(4, code);
        Assert.Contains(message.Replace("DIR", directory, StringComparison.Ordinal), errors, StringComparison.Ordinal);
        Assert.Empty(output);
        Assert.Equal(before, Records());
        Assert.False(Path.Exists(PathOf("f0")));
    }

    /// <summary>A level that a reshape gives is no reason to make the volume anew; apply itself begins none.</summary>
    [Theory]
    [InlineData("raid6", "volume 'data' is raid5: 'polyblk volume reshape data --level raid6' changes that")]
    [InlineData("2+2", "volume 'data' is raid5: 'polyblk volume reshape data --level 2+2' changes that")]
    [InlineData("raid0", "volume 'data' is raid5, and stays that")]
    public async Task AnotherLevelIsTold(string level, string message)
    {
        await CreateAsync("data", "raid5", 3);
        string[] before = [.. Records()];
        Write($"volumes: {{data: {{level: {level}}}}}");
        (int code, _, string errors) = await RunAsync("apply", File);
        Assert.Equal(4, code);
        Assert.Contains(message, errors, StringComparison.Ordinal);
        Assert.Equal(before, Records());
    }

    [Fact]
    public async Task ChecksumsAreChosenWhenAVolumeIsMade()
    {
        Write($"""
            volumes:
              data:
                level: raid1
                drives: ["file:{PathOf("a")},size=4MiB", "file:{PathOf("b")},size=4MiB"]
                checksums: true
            """);
        await MustAsync("apply", File);
        (string output, _) = await MustAsync("apply", File);
        Assert.Equal("Nothing differs.", Lines(output)[^1]);
        (output, _) = await MustAsync("volume", "show", "data");
        Assert.Contains("Blocks have checksums (crc32c)", output, StringComparison.Ordinal);
        (output, _) = await MustAsync("volume", "show", "data", "--json");
        Assert.True(JsonDocument.Parse(output).RootElement.GetProperty("array").GetProperty("checksums").GetBoolean());
        (int code, _, string errors) = await RunAsync("volume", "grow", "data");
        Assert.Equal(4, code);
        Assert.Contains("checksums", errors, StringComparison.Ordinal);
        (code, _, errors) = await RunAsync("volume", "create", "toy", "--level", "raid0", "--checksums", "ram:4MiB");
        Assert.Equal(2, code);
        Assert.Contains("begins empty each time", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DrivesThatHoldSomethingAreNotTaken()
    {
        await CreateAsync("data", "raid1", 2);
        await MustAsync("volume", "delete", "data");
        Write($"volumes: {{first: {{level: raid0, drives: [ram:4MiB]}}, new: {{level: raid1, drives: [{PathOf("data0")}, {PathOf("data1")}]}}}}");
        (int code, _, string errors) = await RunAsync("apply", File);
        Assert.Equal(4, code);
        Assert.Contains("is a member of array 'data'", errors, StringComparison.Ordinal);
        Assert.Contains("Apply overwrites nothing", errors, StringComparison.Ordinal);
        Assert.Empty(Store.List(_ => { }));
    }

    /// <summary>Who holds a drive, in whatever way, has it when its volume is made; a dry run says so, too.</summary>
    [Theory]
    [InlineData("volumes: {new: {level: none, drives: [DIR/used]}}")]
    [InlineData("volumes: {data: {spares: [DIR/used]}}")]
    public async Task ADriveThatSomebodyUsesIsNotTaken(string file)
    {
        await CreateAsync("data", "raid1", 2);
        await System.IO.File.WriteAllBytesAsync(PathOf("used"), new byte[4 << 20]);
        using FileStream used = System.IO.File.OpenRead(PathOf("used")); // a reader's lock: LOCK_SH
        Write(file.Replace("DIR", Path.GetDirectoryName(File), StringComparison.Ordinal));
        (int code, _, string errors) = await RunAsync("apply", File, "--dry-run");
        Assert.Equal(4, code);
        Assert.Contains("another process uses it", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("Apply overwrites nothing", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AProgramGetsOneDocumentAlsoWhereSomethingFails()
    {
        await CreateAsync("data", "raid1", 2);
        Write("volumes: {data: {level: raid5}}");
        JsonElement json = await FailAsync(4);
        Assert.False(json.TryGetProperty("differs", out _));
        Assert.Equal("refused", json.GetProperty("failure").GetProperty("kind").GetString());
        Assert.Contains("stays that", json.GetProperty("failure").GetProperty("problem").GetString(), StringComparison.Ordinal);

        // What is done first is done; the second volume's log cannot be opened when its spare comes.
        Write($"volumes: {{data: {{autostart: false, spares: ['file:{PathOf("c")},size=4MiB']}}}}");
        await System.IO.File.WriteAllTextAsync(Directories.Logs, "no folder");
        json = await FailAsync(5);
        Assert.True(json.GetProperty("differs").GetBoolean());
        Assert.Equal("autostart", Assert.Single(json.GetProperty("differences").EnumerateArray()).GetProperty("key").GetString());
        Assert.Equal("spares", json.GetProperty("failure").GetProperty("difference").GetProperty("key").GetString());
        Assert.False(Store.Get("data").Autostart);

        async Task<JsonElement> FailAsync(int expected)
        {
            (int code, string output, string errors) = await RunAsync("apply", File, "--json");
            Assert.True(code == expected, errors);
            Assert.StartsWith("error: ", errors, StringComparison.Ordinal);
            return JsonDocument.Parse(output).RootElement;
        }
    }

    [Fact]
    public async Task WhatIsPrintedOfAHostChangesNothingOnIt()
    {
        await CreateAsync("data", "raid5", 3);
        await CreateAsync("null", "raid1", 2);
        await MustAsync("volume", "add-spare", "data", $"file:{PathOf("spare")},size=4MiB");
        await MustAsync("volume", "set", "data", "--check-every", "off", "--rebuild-rate", "100M", "--slow-read", "5");
        await MustAsync("volume", "autostart", "data", "off");
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd", "--socket", PathOf("s: #"), "--serial", "007", "--frontend",
            "vhost-user", "--queues", "2");
        (string printed, _) = await MustAsync("apply", "--print");
        Write(printed);
        (int code, string output, string errors) = await RunAsync("apply", File, "--dry-run", "--json");
        Assert.Equal((0, ""), (code, errors));
        JsonElement json = JsonDocument.Parse(output).RootElement;
        Assert.Equal((true, false, 4), (json.GetProperty("dryRun").GetBoolean(), json.GetProperty("differs").GetBoolean(),
            json.GetProperty("differences").GetArrayLength()));

        // And makes the same on another host.
        await EndAsync();
        string[] records = [.. Records()];
        foreach (string name in (string[])["data", "null"])
        {
            await MustAsync("volume", "delete", name, "--yes", "--wipe");
        }

        await MustAsync("apply", File);
        Assert.Equal(records.Select(Shape), Records().Select(Shape));

        static object Shape(string record)
        {
            VolumeRecord r = JsonSerializer.Deserialize(record, VolumeRecordJson.Default.VolumeRecord)!;
            return (r.Name, r.Level, r.ChunkBytes, r.SizeBytes, r.MaxRebuildBytesPerSecond, r.CheckEverySeconds, r.Autostart,
                r.SlowReadSeconds, r.DriveTimeoutSeconds,
                string.Join(' ', r.Drives),
                    string.Join(';', (r.Exports ?? []).Select(e => $"{e.Frontend} {e.Index} {e.Describe()}")));
        }
    }

    [Fact]
    public async Task AFileIsNamedOrPrintedAndMustBeThere()
    {
        Assert.Equal(2, (await RunAsync("apply")).Code);
        Assert.Equal(2, (await RunAsync("apply", File, "--print")).Code);
        Assert.Equal(3, (await RunAsync("apply", PathOf("nowhere.yaml"))).Code);
    }

    private static string[] Lines(string output) => output.Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private IEnumerable<string> Records() => Store.List(_ => { }).Select(r => System.IO.File.ReadAllText(Store.FileOf(r.Name)));

    private void Write(string text) => System.IO.File.WriteAllText(File, text);
}
