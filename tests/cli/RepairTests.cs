// Members that are taken out, replaced, and kept as spares, of volumes that nobody serves; and the order in which record and
// array learn of it, which is the same where a volume is served.

using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Cli.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Core.Reactors;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;
using Polyblk.Raid.Superblock;

namespace Polyblk.Cli.Tests;

public sealed class RepairTests : IDisposable
{
    private const int DriveBytes = 4 << 20;
    private const int DataOffset = 1 << 20;

    /// <summary>Far below this everything is done; a test that waits so long fails.</summary>
    private static readonly TimeSpan s_tooLong = TimeSpan.FromSeconds(120);

    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;

    private readonly List<ReactorGroup> _reactors = [];

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    private VolumeStore Store => new(Directories);

    public void Dispose()
    {
        _reactors.ForEach(r => r.Dispose());
        Directory.Delete(_directory, recursive: true);
    }

    [Fact]
    public async Task AFailedMemberIsReplacedAndFilledWithoutBeingServed()
    {
        await CreateAsync("raid5", 3);
        byte[] data = Content("b")[DataOffset..];
        (int code, string output, _) = await RunAsync("volume", "fail", "data", PathOf("b"));
        Assert.Equal(ExitCode.Ok, code);
        Assert.Contains("polyblk volume replace data 1 NEW_DRIVE", output, StringComparison.Ordinal);
        Assert.Contains("out already", (await MustAsync("volume", "fail", "data", "1")).Output, StringComparison.Ordinal);

        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal("degraded", array.GetProperty("health").GetString());
        Assert.Equal("asked", array.GetProperty("members")[1].GetProperty("reason").GetString());
        Assert.Equal("polyblk volume replace data 1 NEW_DRIVE", array.GetProperty("advice")[0].GetString());

        await MustAsync("volume", "replace", "data", "1", New("d"), "--wait", "--json");
        array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal("optimal", array.GetProperty("health").GetString());
        Assert.Equal(PathOf("d"), array.GetProperty("members")[1].GetProperty("drive").GetString());
        Assert.Equal([PathOf("a"), PathOf("d"), PathOf("c")], Store.Get("data").Drives);
        Assert.True(data.AsSpan().SequenceEqual(Content("d").AsSpan(DataOffset, data.Length)), "what was made is not what was lost");

        // The same command once more has nothing to do.
        Assert.Contains("already", (await MustAsync("volume", "replace", "data", PathOf("b"), PathOf("d"), "--wait")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WithoutWaitingTheRebuildIsLeftAndShown()
    {
        await CreateAsync("raid1", 2);
        await MustAsync("volume", "fail", "data", "0");
        Assert.Contains("served next", (await MustAsync("volume", "replace", "data", "0", New("c"))).Output, StringComparison.Ordinal);
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal("rebuilding", array.GetProperty("health").GetString());
        Assert.Equal("rebuilding", array.GetProperty("members")[0].GetProperty("state").GetString());
        Assert.Equal(0, array.GetProperty("rebuild").GetProperty("progress").GetDouble());
        Assert.True(array.GetProperty("rebuild").GetProperty("isLeft").GetBoolean());
        string text = (await MustAsync("volume", "show", "data")).Output;
        Assert.Contains("rebuilding 0 %", text, StringComparison.Ordinal);
        Assert.Contains("rebuilding 0 %", (await MustAsync("volume", "list")).Output, StringComparison.Ordinal);

        // What is left is done by the same command, too.
        (int code, _, string errors) = await RunAsync("volume", "replace", "data", "0", PathOf("c"), "--wait");
        Assert.True(code == ExitCode.Ok, errors);
        Assert.Contains("complete", errors, StringComparison.Ordinal);
        Assert.True(Content("b").AsSpan(DataOffset).SequenceEqual(Content("c").AsSpan(DataOffset)));
    }

    /// <summary>
    /// A drive that works serves until the new one holds all that it holds: also where nothing could make it anew.
    /// </summary>
    [Theory]
    [InlineData("raid5", 3)]
    [InlineData("raid1", 2)]
    public async Task ADriveThatWorksIsReplacedWithoutBeingServed(string level, int drives)
    {
        await CreateAsync(level, drives);
        byte[] data = Content("b")[DataOffset..];
        string done = (await MustAsync("volume", "replace", "data", PathOf("b"), New("n"))).Output;
        Assert.Contains("serves until then; it is filled when the volume is served next", done, StringComparison.Ordinal);
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal("optimal", array.GetProperty("health").GetString());
        JsonElement replacement = array.GetProperty("replacement");
        Assert.Equal(
            (1, PathOf("b"), PathOf("n"), 0, true),
            (replacement.GetProperty("role").GetInt32(), replacement.GetProperty("oldDrive").GetString(), replacement.GetProperty("newDrive").GetString(),
                replacement.GetProperty("copy").GetProperty("doneBytes").GetInt32(), replacement.GetProperty("copy").GetProperty("isLeft").GetBoolean()));
        Assert.Empty(array.GetProperty("spares").EnumerateArray());
        Assert.Contains($"{PathOf("n")} replaces {PathOf("b")}", (await MustAsync("volume", "show", "data")).Output, StringComparison.Ordinal);
        await RefusedAsync(ExitCode.Refused, "replace further drives when", "replace", "data", "0", New("o"));

        // The same command does what is left.
        (int code, _, string errors) = await RunAsync("volume", "replace", "data", PathOf("b"), PathOf("n"), "--wait");
        Assert.True(code == ExitCode.Ok, errors);
        Assert.Contains("The replacement of member 1 is complete", errors, StringComparison.Ordinal);
        Assert.True(data.AsSpan().SequenceEqual(Content("n").AsSpan(DataOffset, data.Length)), "the new drive holds something else");
        Assert.True(Content("b").AsSpan(0, 4096).IndexOfAnyExcept((byte)0) < 0, "the old drive knows the array still");
        Assert.Equal([PathOf("a"), PathOf("n")], Store.Get("data").Drives.Take(2));
        Assert.DoesNotContain(PathOf("b"), Store.Get("data").Drives);
        array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal("optimal", array.GetProperty("health").GetString());
        Assert.False(array.TryGetProperty("replacement", out _));
        Assert.Contains("already", (await MustAsync("volume", "replace", "data", PathOf("b"), PathOf("n"), "--wait")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AReplacementIsCalledOffByRemovingTheNewDrive()
    {
        await CreateAsync("raid1", 2);
        await MustAsync("volume", "replace", "data", "0", New("n"));
        await MustAsync("volume", "remove", "data", PathOf("n"));
        Assert.Equal([PathOf("a"), PathOf("b")], Store.Get("data").Drives);
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.False(array.TryGetProperty("replacement", out _));
        Assert.Equal("optimal", array.GetProperty("health").GetString());
    }

    [Fact]
    public async Task ADriveThatWorksIsTakenOutFirstWhereThatIsWanted()
    {
        await CreateAsync("raid5", 3);
        byte[] data = Content("b")[DataOffset..];
        await MustAsync("volume", "replace", "data", PathOf("b"), New("n"), "--fail-first");
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal("rebuilding", array.GetProperty("health").GetString());
        await MustAsync("volume", "replace", "data", "1", PathOf("n"), "--wait");
        Assert.True(data.AsSpan().SequenceEqual(Content("n").AsSpan(DataOffset, data.Length)));
        Assert.Equal([PathOf("a"), PathOf("n"), PathOf("c")], Store.Get("data").Drives);
    }

    [Fact]
    public async Task TheSameDriveTakesItsPlaceAgain()
    {
        await CreateAsync("raid1", 2);
        await MustAsync("volume", "fail", "data", "1");
        await MustAsync("volume", "replace", "data", PathOf("b"), PathOf("b"), "--wait");
        Assert.Equal([PathOf("a"), PathOf("b")], Store.Get("data").Drives);
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal("optimal", array.GetProperty("health").GetString());
        Assert.True(Content("a").AsSpan(DataOffset).SequenceEqual(Content("b").AsSpan(DataOffset)));
    }

    /// <summary>Who replaces the one drive that is not there has said that the volume may start without it.</summary>
    [Fact]
    public async Task ADriveThatIsGoneIsReplacedWithoutFurtherLeave()
    {
        await CreateAsync("raid5", 3);
        File.Delete(PathOf("c"));
        (int code, _, string errors) = await RunAsync("volume", "replace", "data", "0", New("d"));
        Assert.Equal(ExitCode.Refused, code);
        Assert.Contains(PathOf("c"), errors, StringComparison.Ordinal);
        await MustAsync("volume", "replace", "data", PathOf("c"), PathOf("d"), "--wait");
        Assert.Equal([PathOf("a"), PathOf("b"), PathOf("d")], Store.Get("data").Drives);
    }

    [Fact]
    public async Task SparesAreRecordedShownImportedAndRemoved()
    {
        await CreateAsync("raid1", 2);
        await MustAsync("volume", "add-spare", "data", New("s"));
        Assert.Contains("already", (await MustAsync("volume", "add-spare", "data", PathOf("s"))).Output, StringComparison.Ordinal);
        Assert.Equal([PathOf("a"), PathOf("b"), PathOf("s")], Store.Get("data").Drives);
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal(PathOf("s"), Assert.Single(array.GetProperty("spares").EnumerateArray()).GetString());
        Assert.Equal("optimal", array.GetProperty("health").GetString());
        Assert.Matches(@"spare +waits +\S+/s\b", (await MustAsync("volume", "show", "data")).Output);

        await MustAsync("volume", "delete", "data");
        await MustAsync("volume", "import", PathOf("s"), PathOf("b"), PathOf("a"));
        Assert.Equal([PathOf("a"), PathOf("b"), PathOf("s")], Store.Get("data").Drives);

        // A spare takes a place by name, too.
        await MustAsync("volume", "fail", "data", "1");
        await MustAsync("volume", "replace", "data", "1", PathOf("s"), "--wait");
        Assert.Equal([PathOf("a"), PathOf("s")], Store.Get("data").Drives);
        await MustAsync("volume", "add-spare", "data", PathOf("b"));
        await MustAsync("volume", "remove", "data", PathOf("b"));
        Assert.Equal([PathOf("a"), PathOf("s")], Store.Get("data").Drives);
        Assert.True(Content("b").AsSpan(0, 4096).IndexOfAnyExcept((byte)0) < 0, "the superblock of a spare that was let go is still there");
    }

    [Fact]
    public async Task WhatCannotBeDoneIsRefusedAndChangesNothing()
    {
        await CreateAsync("raid5", 3);
        string[] drives = [.. Store.Get("data").Drives];
        byte[] foreign = new byte[DriveBytes];
        (foreign[0x438], foreign[0x439]) = (0x53, 0xEF);
        File.WriteAllBytes(PathOf("ext4"), foreign);
        File.WriteAllBytes(PathOf("small"), new byte[2 << 20]);
        New("d");
        await RefusedAsync(ExitCode.Refused, "fail it first: polyblk volume fail data 1", "replace", "data", PathOf("b"), PathOf("b"));
        await RefusedAsync(ExitCode.Refused, "--force", "replace", "data", "1", PathOf("ext4"));
        await RefusedAsync(ExitCode.Refused, "--force", "replace", "data", "1", PathOf("ext4"), "--fail-first");
        await RefusedAsync(ExitCode.Refused, "larger one", "replace", "data", "1", PathOf("small"), "--fail-first");
        await RefusedAsync(ExitCode.Refused, "is the drive of member 0", "replace", "data", "1", PathOf("a"));
        await RefusedAsync(ExitCode.Refused, "fail it first", "remove", "data", "1");
        await RefusedAsync(ExitCode.Usage, "members 0 to 2", "fail", "data", "3");
        await RefusedAsync(ExitCode.NotFound, "no drive of volume", "fail", "data", PathOf("d"));
        await RefusedAsync(ExitCode.Usage, "mixed", "add-spare", "data", "ram:4MiB");
        await RefusedAsync(ExitCode.NotFound, "no such file", "add-spare", "data", PathOf("nowhere"));
        await RefusedAsync(ExitCode.Refused, "--force", "add-spare", "data", PathOf("ext4"));
        await RefusedAsync(ExitCode.Refused, "larger one", "add-spare", "data", $"file:{PathOf("fresh")},size=2MiB");
        await RefusedAsync(ExitCode.Refused, "is member 0", "add-spare", "data", PathOf("a"));
        Assert.False(File.Exists(PathOf("fresh")));
        Assert.Equal(foreign, Content("ext4"));

        await MustAsync("volume", "fail", "data", "1");
        await RefusedAsync(ExitCode.Refused, "data would be lost", "fail", "data", "0");
        await RefusedAsync(ExitCode.Refused, "--force", "replace", "data", "1", PathOf("ext4"));
        await RefusedAsync(ExitCode.Refused, "larger one", "replace", "data", "1", PathOf("small"));
        await RefusedAsync(ExitCode.NotFound, "no such file", "replace", "data", "1", PathOf("nowhere"));
        Assert.Equal(drives, Store.Get("data").Drives);
        await MustAsync("volume", "replace", "data", "1", PathOf("ext4"), "--force", "--wait");

        await MustAsync("volume", "create", "plain", "--level", "none", New("p"));
        await RefusedAsync(ExitCode.Refused, "level 'none'", "fail", "plain", "0");
        await RefusedAsync(ExitCode.Refused, "level none", "set", "plain", "--rebuild-rate", "1M");
        await MustAsync("volume", "create", "fast", "--level", "raid1", "ram:4MiB", "ram:4MiB");
        await RefusedAsync(ExitCode.Refused, "volatile", "fail", "fast", "0");
    }

    [Fact]
    public async Task TheRebuildRateIsKept()
    {
        await CreateAsync("raid1", 2);
        await MustAsync("volume", "set", "data", "--rebuild-rate", "100M");
        Assert.Equal(100 << 20, Store.Get("data").MaxRebuildBytesPerSecond);
        JsonElement shown = (await MustAsync("volume", "show", "data", "--json")).Json;
        Assert.Equal(100 << 20, shown.GetProperty("array").GetProperty("maxRebuildBytesPerSecond").GetInt64());
        await MustAsync("volume", "set", "data", "--rebuild-rate", "0");
        Assert.Null(Store.Get("data").MaxRebuildBytesPerSecond);
        Assert.Equal(ExitCode.Usage, (await RunAsync("volume", "set", "data", "--rebuild-rate", "fast")).Code);
    }

    [Fact]
    public async Task HowLongDrivesHaveToAnswerIsKept()
    {
        await CreateAsync("raid1", 2);
        Assert.Equal((10, 30), await ShownAsync());
        await MustAsync("volume", "set", "data", "--slow-read", "3");
        await MustAsync("volume", "set", "data", "--drive-timeout", "0");
        Assert.Equal((3, 0), (Store.Get("data").SlowReadSeconds, Store.Get("data").DriveTimeoutSeconds));
        Assert.Equal((3, 0), await ShownAsync());
        Assert.Equal(ExitCode.Usage, (await RunAsync("volume", "set", "data", "--slow-read", "0")).Code);
        Assert.Equal(ExitCode.Usage, (await RunAsync("volume", "set", "data", "--drive-timeout", "3601")).Code);

        async Task<(int Slow, int Timeout)> ShownAsync()
        {
            JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
            return (array.GetProperty("slowReadSeconds").GetInt32(), array.GetProperty("driveTimeoutSeconds").GetInt32());
        }
    }

    /// <summary>
    /// A crash between record and array: a drive that comes is recorded first, one that goes is forgotten last. Whoever holds the
    /// record's lock sees what is on the drives meanwhile.
    /// </summary>
    [Fact]
    public async Task TheRecordKnowsADriveBeforeTheArrayAndForgetsItAfter()
    {
        await CreateAsync("raid1", 2);
        await MustAsync("volume", "fail", "data", "1");
        Task replace;
        using (HoldRecord())
        {
            replace = MustAsync("volume", "replace", "data", "1", New("c"));
            await Task.Delay(1000);
            Assert.False(replace.IsCompleted);
            Assert.True(Content("c").AsSpan(0, DataOffset).IndexOfAnyExcept((byte)0) < 0, "a member that no record knows");
        }

        await replace.WaitAsync(s_tooLong);
        await MustAsync("volume", "fail", "data", "1");
        Task remove;
        using (HoldRecord())
        {
            remove = MustAsync("volume", "remove", "data", "1");
            for (int looks = 0; Content("c").AsSpan(0, DataOffset).IndexOfAnyExcept((byte)0) >= 0; looks++)
            {
                Assert.True(looks < 500 && !remove.IsCompleted, "the record is to be changed, and the array still has the drive");
                await Task.Delay(20);
            }

            await Task.Delay(200);
            Assert.False(remove.IsCompleted);
            Assert.Contains(PathOf("c"), Store.Get("data").Drives);
        }

        await remove.WaitAsync(s_tooLong);
        Assert.Equal([PathOf("a")], Store.Get("data").Drives);
    }

    /// <summary>What such a crash leaves: a record with one drive too many, before or after the array has changed.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task AReplacementThatWasCutShortLeavesAVolumeThatStarts(bool wasInstalled)
    {
        await CreateAsync("raid1", 2);
        await MustAsync("volume", "fail", "data", "1");
        string come = New("c");
        if (wasInstalled)
        {
            await MustAsync("volume", "replace", "data", "1", come);
        }

        Store.Change("data", r => r with { Drives = [PathOf("a"), PathOf("b"), come] });
        JsonElement array = (await MustAsync("volume", "show", "data", "--json")).Json.GetProperty("array");
        Assert.Equal(wasInstalled ? "rebuilding" : "degraded", array.GetProperty("health").GetString());
        string idle = PathOf(wasInstalled ? "b" : "c");
        Assert.Contains(array.GetProperty("otherDrives").EnumerateArray(), o => o.GetProperty("drive").GetString() == idle);
        await using (OpenVolume volume = await OpenAsync(new VolumeStart()))
        {
            Assert.True(volume.GetArray()!.Health is Health.Degraded or Health.Rebuilding);
            Assert.Contains(volume.GetArray()!.OtherDrives, o => o.Drive == idle);
        }

        await MustAsync("volume", "replace", "data", "1", come, "--wait");
        if (wasInstalled)
        {
            await MustAsync("volume", "remove", "data", PathOf("b"));
        }

        Assert.Equal([PathOf("a"), come], Store.Get("data").Drives);
    }

    [Fact]
    public async Task ADriveOfAFailedMemberThatCannotBeHadKeepsNothingFromStarting()
    {
        await CreateAsync("raid1", 2);
        using (Hold(PathOf("b")))
        {
            RefusalException inUse = await Assert.ThrowsAsync<RefusalException>(() => OpenAsync(new VolumeStart { AllowDegraded = true }));
            Assert.Equal(RefusalKind.Refused, inUse.Kind);
            Assert.Contains("another process", inUse.Message, StringComparison.Ordinal);
        }

        await MustAsync("volume", "fail", "data", "1");
        using (Hold(PathOf("b")))
        {
            await using OpenVolume volume = await OpenAsync(new VolumeStart());
            Assert.Equal(Health.Degraded, volume.GetArray()!.Health);
            Assert.Contains(volume.Notes, n => n.Contains("another process", StringComparison.Ordinal));
            Assert.Contains("another process", Assert.Single(volume.GetArray()!.OtherDrives).Problem, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ProgressIsSaidInWords()
    {
        var progress = new ProgressJson(42L << 20, 100L << 20, 1 << 20);
        Assert.Equal((0.42, 58L), (progress.Progress, progress.RemainingSeconds));
        Assert.Equal("42 % of 100MiB a member, 1MiB/s, 58 s left", progress.ToString().Replace(" MiB", "MiB", StringComparison.Ordinal));
        Assert.Equal(99, new ProgressJson((100L << 30) - 1, 100L << 30, 0).Percent);
        Assert.Null(new ProgressJson(1, 2, 0).RemainingSeconds);
        Assert.EndsWith("2 h 46 min left", new ProgressJson(0, 10_000, 1).ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("show", "/a", null, false)]
    [InlineData("fail", "/a", null, true)]
    [InlineData("fail", null, null, null)]
    [InlineData("replace", "/a", "/b", true)]
    [InlineData("replace", "/a", " ", null)]
    [InlineData("add-spare", "/a", null, true)]
    [InlineData("remove", "/a", null, true)]
    public void RequestsThatChangeMembersNameTheirDrives(string word, string? drive, string? newDrive, bool? isChange)
    {
        if (isChange is bool known)
        {
            Assert.Equal(known ? word : null, MemberChange.Parse(word, drive, newDrive, force: false)?.Word);
            return;
        }

        Assert.Equal(RefusalKind.Invalid, Assert.Throws<RefusalException>(() => MemberChange.Parse(word, drive, newDrive, force: false)).Kind);
    }

    [Fact]
    public void DrivesAreNamedSoThatAnotherFolderMattersNot()
    {
        string here = Directory.GetCurrentDirectory();
        Assert.Equal($"{here}/x", DriveList.ToAbsolute("x"));
        Assert.Equal("/x", DriveList.ToAbsolute("/x"));
        Assert.Equal($"file:{here}/x,size=1GiB,direct=off", DriveList.ToAbsolute("file:x,size=1GiB,direct=off"));
        Assert.Equal("ram:1GiB", DriveList.ToAbsolute("ram:1GiB"));
    }

    [Fact]
    public async Task ChangesOfARecordFollowOneAnother()
    {
        await CreateAsync("raid1", 2);
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => Task.Run(
            () => Store.Change("data", r => r with { Drives = [.. r.Drives, $"/spare{i}"] }))));
        Assert.Equal(22, Store.Get("data").Drives.Count);
    }

    private string PathOf(string name) => Path.Combine(_directory, name);

    private byte[] Content(string name)
    {
        // No lock, as the framework's readers take one.
        using var drive = Drives.Files.DriveReader.Open(PathOf(name));
        var content = new byte[drive.SizeBytes];
        drive.ReadAsync(0, content, CancellationToken.None).GetAwaiter().GetResult();
        return content;
    }

    /// <summary>Makes an empty drive.</summary>
    private string New(string name)
    {
        File.WriteAllBytes(PathOf(name), new byte[DriveBytes]);
        return PathOf(name);
    }

    /// <summary>A volume over a, b, c and so on, with data that its redundancy fits.</summary>
    private async Task CreateAsync(string level, int drives)
    {
        string[] names = ["a", "b", "c", "d"];
        var random = new Random(7);
        byte[] parity = new byte[DriveBytes - DataOffset];
        string[] files = [.. names.Take(drives).Select(New)];
        await MustAsync(["volume", "create", "data", "--level", level, .. files]);
        for (int i = 0; i < drives; i++)
        {
            byte[] data = new byte[parity.Length];
            random.NextBytes(data);
            if (level == "raid1")
            {
                data = i == 0 ? data : parity;
                parity = data;
            }
            else
            {
                // The last one makes the sum zero, whichever of them a row's parity is.
                for (int at = 0; at < data.Length; at++)
                {
                    data[at] = i == drives - 1 ? parity[at] : data[at];
                    parity[at] ^= data[at];
                }
            }

            using FileStream file = File.OpenWrite(files[i]);
            file.Position = DataOffset;
            file.Write(data);
        }

        // The drives agree: what the first resync would find.
        await using OpenVolume volume = await OpenAsync(new VolumeStart { JobsAfter = TimeSpan.Zero });
        while (volume.GetArray()!.Health != Health.Optimal)
        {
            await Task.Delay(20);
        }
    }

    private Task<OpenVolume> OpenAsync(VolumeStart start)
    {
        ReactorGroup reactors = VolumeMaker.ControlReactors();
        _reactors.Add(reactors);
        return VolumeOpener.OpenAsync(Store.Get("data"), reactors, start, NullLoggerFactory.Instance, CancellationToken.None).WaitAsync(s_tooLong);
    }

    private FileStream HoldRecord() => Hold(Path.Combine(Directories.RuntimeOf("data"), "record.lock"));

    /// <summary>The framework locks as other processes do (flock).</summary>
    private static FileStream Hold(string path) => new(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);

    private async Task RefusedAsync(int code, string message, params string[] arguments)
    {
        (int got, _, string errors) = await RunAsync(["volume", .. arguments]);
        Assert.True(got == code && errors.Contains(message, StringComparison.Ordinal), $"{string.Join(' ', arguments)}: {got}, {errors}");
    }

    private async Task<Run> MustAsync(params string[] arguments)
    {
        Run run = await RunAsync(arguments);
        Assert.True(run.Code == ExitCode.Ok, $"{string.Join(' ', arguments)}: {run.Code}, {run.Errors}");
        return run;
    }

    private async Task<Run> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        Task<int> run = Task.Run(() => CliProgram.RunAsync([.. arguments, "--state", _directory], output, errors));
        await Task.WhenAny(run, Task.Delay(s_tooLong));
        Assert.True(
            run.IsCompleted,
            $"{string.Join(' ', arguments)} does not end. Thread pool: {ThreadPool.ThreadCount} threads, {ThreadPool.PendingWorkItemCount} items wait. "
            + $"So far: {output}{errors}");
        return new Run(await run, output.ToString(), errors.ToString());
    }

    private sealed record Run(int Code, string Output, string Errors)
    {
        public JsonElement Json => JsonDocument.Parse(Output).RootElement;
    }
}
