// Arrays that get another shape by a command, of volumes that nobody serves: what the command says, the record, and the
// superblocks.

using System.Text.Json;
using Polyblk.Cli.CommandLine;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class ShapeTests : IDisposable
{
    private const int DriveBytes = 4 << 20;

    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;

    private VolumeStore Store => new(new StateDirectories(_directory, Path.Combine(_directory, "run")));

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task DrivesThatHaveAllGrownAreTakenOver()
    {
        string[] drives = [New("a"), New("b"), New("c")];
        await MustAsync(["volume", "create", "data", "--level", "raid0", .. drives]);
        long before = await SizeAsync();
        Assert.Contains("have not all grown", (await RunAsync("volume", "grow", "data")).Errors, StringComparison.Ordinal);
        foreach (string drive in drives)
        {
            using FileStream file = File.OpenWrite(drive);
            file.SetLength(2 * DriveBytes);
        }

        Assert.Contains("now", (await MustAsync("volume", "grow", "data")).Output, StringComparison.Ordinal);
        Assert.Equal(before + (3 * DriveBytes), await SizeAsync());
        Assert.Equal(before + (3 * DriveBytes), Store.Get("data").SizeBytes);
        Assert.Contains("have not all grown", (await RunAsync("volume", "grow", "data")).Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task DrivesAreAddedAndTheRestIsShown()
    {
        await MustAsync("volume", "create", "data", "--level", "raid0", New("a"), New("b"), New("c"));
        long before = await SizeAsync();
        Assert.Contains(
            "spread over all when it is served next", (await MustAsync("volume", "reshape", "data", "--add", New("d"), New("e"))).Output, StringComparison.Ordinal);
        Assert.Equal(["a", "b", "c", "d", "e"], Store.Get("data").Drives.Select(Path.GetFileName));
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        JsonElement reshape = array.GetProperty("reshape");
        Assert.Equal(
            (3, 5, 0, true, 5),
            (reshape.GetProperty("oldMembers").GetInt32(), reshape.GetProperty("newMembers").GetInt32(), reshape.GetProperty("progress").GetProperty("doneBytes").GetInt32(),
                reshape.GetProperty("progress").GetProperty("isLeft").GetBoolean(), array.GetProperty("members").GetArrayLength()));
        Assert.Equal(before, await SizeAsync());
        Assert.Contains("Reshape from 3 to 5 drives", (await MustAsync("volume", "show", "data")).Output, StringComparison.Ordinal);
        Assert.Contains("reshaping 0 %", (await MustAsync("volume", "list")).Output, StringComparison.Ordinal);
        Assert.Contains("being reshaped", (await RunAsync("volume", "reshape", "data", "--add", New("f"))).Errors, StringComparison.Ordinal);
        Assert.DoesNotContain(Store.Get("data").Drives, d => d.EndsWith("/f", StringComparison.Ordinal));
    }

    [Fact]
    public async Task WhatCannotBeAddedLeavesTheRecord()
    {
        await MustAsync("volume", "create", "data", "--level", "raid1", New("a"), New("b"));
        Run run = await RunAsync("volume", "reshape", "data", "--add", New("c"));
        Assert.Contains("raid0 and to levels with parity", run.Errors, StringComparison.Ordinal);
        run = await RunAsync("volume", "reshape", "data", "--level", "raid5", "--add", PathOf("c"));
        Assert.Contains("make a new volume", run.Errors, StringComparison.Ordinal);
        Assert.Contains("belongs to volume", (await RunAsync("volume", "reshape", "data", "--add", PathOf("b"))).Errors, StringComparison.Ordinal);
        Assert.Equal(["a", "b"], Store.Get("data").Drives.Select(Path.GetFileName));
    }

    /// <summary>The level in the record, in the superblocks, and what is shown of both.</summary>
    [Theory]
    [InlineData("raid5", 3, "raid6", 1, 1, "raid6")]
    [InlineData("raid5", 3, "2+3", 2, 1, "raid7.3")]
    [InlineData("raid6", 4, "RAID5", 0, 1, "raid5")]
    [InlineData("raid7.3", 5, "raid7.4", 1, 3, "raid7.4")]
    public async Task TheLevelChanges(string level, int count, string wish, int added, int redundancy, string next)
    {
        string[] drives = [.. Enumerable.Range(0, count + added).Select(i => i < count ? Zeroed($"d{i}") : New($"d{i}"))];
        await MustAsync(["volume", "create", "data", "--level", level, .. drives[..count]]);
        long before = await SizeAsync();
        string[] add = added == 0 ? [] : ["--add", .. drives[count..]];
        string output = (await MustAsync(["volume", "reshape", "data", "--level", wish, .. add])).Output;
        string when = "it is moved to that shape when it is served next";
        Assert.Contains($"becomes {next} over {count + added} drives; {when}", output, StringComparison.Ordinal);
        Assert.Contains($"survives the loss of {redundancy} of its drives", output, StringComparison.Ordinal);
        Assert.Equal((next, count + added), (Store.Get("data").Level, Store.Get("data").Drives.Count));
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        JsonElement reshape = array.GetProperty("reshape");
        Assert.Equal(
            (level, next, redundancy, count, count + added),
            (reshape.GetProperty("oldLevel").GetString(), reshape.GetProperty("newLevel").GetString(),
                reshape.GetProperty("redundancy").GetInt32(), reshape.GetProperty("oldMembers").GetInt32(),
                reshape.GetProperty("newMembers").GetInt32()));
        Assert.Equal(before, await SizeAsync());
        string shown = (await MustAsync("volume", "show", "data")).Output;
        string what = $"Reshape from {level} over {count} to {next} over {count + added} drives";
        Assert.Contains(what, shown, StringComparison.Ordinal);
        Assert.Contains($"Until its end the volume survives the loss of {redundancy}", shown, StringComparison.Ordinal);
        Run again = await RunAsync("volume", "reshape", "data", "--add", New("more"));
        Assert.Contains("being reshaped", again.Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ALevelThatCannotBeLeavesAllAsItIs()
    {
        await MustAsync("volume", "create", "data", "--level", "raid5", Zeroed("a"), Zeroed("b"), Zeroed("c"));
        string[] New1() => ["--add", New("d")];
        (string[] Arguments, string Message)[] wrong =
        [
            ([], "drives to add (--add), another level (--level), or both"),
            (["--level", "raid6"], "add 1 drive or more"),
            (["--level", "raid7.3", .. New1()], "add 2 drives or more"),
            (["--level", "raid5"], "drives to add, or another level"),
            (["--level", "3+2", .. New1()], "3+2 takes 5 drives, and volume 'data' would have 4"),
            (["--level", "raid0", .. New1()], "not from raid5 to raid0"),
            (["--level", "none", .. New1()], "cannot become one without a level"),
            (["--level", "raid4"], "raid4"),
        ];
        foreach ((string[] arguments, string message) in wrong)
        {
            Run run = await RunAsync(["volume", "reshape", "data", .. arguments]);
            Assert.Contains(message, run.Errors, StringComparison.Ordinal);
            Assert.NotEqual(0, run.Code);
        }

        Assert.Equal(("raid5", 3), (Store.Get("data").Level, Store.Get("data").Drives.Count));
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.False(array.TryGetProperty("reshape", out JsonElement reshape) && reshape.ValueKind != JsonValueKind.Null);
    }

    /// <summary>In the record, in the superblocks, and what is shown of both; and when the record is lost.</summary>
    [Theory]
    [InlineData(6, 2, "raid50")]
    [InlineData(9, 3, "raid50", "--groups", "3")]
    [InlineData(8, 2, "raid60")]
    [InlineData(8, 2, "2x3+1")]
    [InlineData(8, 2, "2X2+2", "--groups", "2")]
    public async Task DrivesAreCutIntoGroups(int count, int groups, string level, params string[] more)
    {
        string[] drives = [.. Enumerable.Range(0, count).Select(i => Zeroed($"{i}"))];
        await MustAsync(["volume", "create", "data", "--level", level, .. more, .. drives]);
        VolumeRecord record = Store.Get("data");
        string name = level.EndsWith("+1", StringComparison.Ordinal) || level == "raid50" ? "raid50" : "raid60";
        Assert.Equal((name, groups), (record.Level, record.Groups));
        JsonElement shown = (await MustAsync("volume", "show", "data", "--json")).Json;
        Assert.Equal((name, groups), (shown.GetProperty("level").GetString(), shown.GetProperty("groups").GetInt32()));
        string words = (await MustAsync("volume", "show", "data")).Output;
        Assert.Contains($"Level     {name}, {groups} groups, chunk", words, StringComparison.Ordinal);
        Run run = await RunAsync("volume", "reshape", "data", "--add", New("more"));
        Assert.Contains("make a new volume of the shape that is wanted", run.Errors, StringComparison.Ordinal);

        File.Delete(Path.Combine(_directory, "volumes", "data.json"));
        await MustAsync(["volume", "import", .. Enumerable.Range(0, count).Select(i => PathOf($"{i}"))]);
        Assert.Equal((name, groups), (Store.Get("data").Level, Store.Get("data").Groups));

        // One of each group may be missing, and no two of the first.
        File.Delete(PathOf("0"));
        File.Delete(PathOf($"{count - 1}"));
        Assert.Contains("degraded", (await MustAsync("volume", "show", "data")).Output, StringComparison.Ordinal);
        File.Delete(PathOf("1"));
        if (name == "raid60")
        {
            Assert.Contains("degraded", (await MustAsync("volume", "show", "data")).Output, StringComparison.Ordinal);
            File.Delete(PathOf("2"));
        }

        string lacking = (await RunAsync("volume", "show", "data")).Output;
        Assert.Contains($"of each group (roles 0 to {(count / groups) - 1};", lacking, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GroupsThatCannotBeAreExplained()
    {
        (string[] Arguments, int Drives, string Message)[] wrong =
        [
            (["--level", "raid50"], 5, "needs at least 6 drives"),
            (["--level", "raid50"], 7, "7 drives cannot be cut into 2 groups"),
            (["--level", "raid50", "--groups", "3"], 8, "8 drives cannot be cut into 3 groups"),
            (["--level", "raid60", "--groups", "3"], 9, "at least 4 drives in each group"),
            (["--level", "raid60", "--groups", "1"], 8, "with one it is raid6"),
            (["--level", "raid60", "--groups", "0"], 8, "at least 2 groups"),
            (["--level", "raid5", "--groups", "2"], 6, "Groups are for raid50 and raid60"),
            (["--level", "none", "--groups", "2"], 1, "Groups are for raid50 and raid60"),
            (["--level", "2x2+1", "--groups", "3"], 6, "2x2+1 has 2 groups, not 3"),
            (["--level", "2x2+1"], 7, "2x2+1 takes 6 drives; 7 given"),
            (["--level", "2x4+3"], 14, "no shape of groups"),
            (["--level", "raid70"], 6, "GxN+M such as 2x4+1"),
        ];
        foreach ((string[] arguments, int drives, string message) in wrong)
        {
            string[] given = [.. Enumerable.Range(0, drives).Select(i => Zeroed($"{i}"))];
            Run run = await RunAsync(["volume", "create", "data", .. arguments, .. given]);
            Assert.Contains(message, run.Errors, StringComparison.Ordinal);
            Assert.Equal(2, run.Code);
        }
    }

    /// <summary>The command was cut off between the superblocks and the record: the record learns what counts.</summary>
    [Fact]
    public async Task TheRecordFollowsTheSuperblocks()
    {
        await MustAsync("volume", "create", "data", "--level", "raid6", Zeroed("a"), Zeroed("b"), Zeroed("c"), Zeroed("d"));
        await MustAsync("volume", "reshape", "data", "--level", "raid5");
        Store.Change("data", record => record with { Level = "raid6" });
        VolumeRecord record = await MemberMemory.RefreshAsync(Store, Store.Get("data"), _ => { }, CancellationToken.None);
        Assert.Equal(("raid5", "raid5"), (record.Level, Store.Get("data").Level));
    }

    private async Task<long> SizeAsync() =>
        (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("sizeBytes").GetInt64();

    private string PathOf(string name) => Path.Combine(_directory, name);

    /// <summary>A drive that is made with its volume: a volume of such needs no resync.</summary>
    private string Zeroed(string name) => $"file:{PathOf(name)},size={DriveBytes}";

    /// <summary>Makes an empty drive.</summary>
    private string New(string name)
    {
        File.WriteAllBytes(PathOf(name), new byte[DriveBytes]);
        return PathOf(name);
    }

    private async Task<Run> MustAsync(params string[] arguments)
    {
        Run run = await RunAsync(arguments);
        Assert.True(run.Code == 0, $"{string.Join(' ', arguments)}: {run.Code}, {run.Errors}");
        return run;
    }

    private async Task<Run> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        int code = await CliProgram.RunAsync([.. arguments, "--state", _directory], output, errors);
        return new Run(code, output.ToString(), errors.ToString());
    }

    private sealed record Run(int Code, string Output, string Errors)
    {
        public JsonElement Json => JsonDocument.Parse(Output).RootElement;
    }
}
