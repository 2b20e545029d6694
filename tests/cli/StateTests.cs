using System.Text.Json.Nodes;
using Polyblk.Core.Interop;
using Polyblk.Host;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class StateTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Theory]
    [InlineData(null, true, null, null, null, "/var/lib/polyblk", "/run/polyblk")]
    [InlineData(null, false, "/home/u", null, null, "/home/u/.local/state/polyblk", "/home/u/.local/state/polyblk/run")]
    [InlineData(null, false, "/home/u", "/x/state", "/run/user/7", "/x/state/polyblk", "/run/user/7/polyblk")]
    [InlineData(null, false, "/home/u", "relative", "also", "/home/u/.local/state/polyblk", "/home/u/.local/state/polyblk/run")]
    [InlineData("/d", true, "/root", null, null, "/d", "/d/run")]
    [InlineData("/var/lib/polyblk", false, "/home/u", null, null, "/var/lib/polyblk", "/run/polyblk")]
    [InlineData("/var/lib/polyblk/", true, "/root", null, null, "/var/lib/polyblk", "/run/polyblk")]
    public void PlacesFollowTheUserAndTheEnvironment(
        string? option, bool isRoot, string? home, string? xdgState, string? xdgRuntime, string state, string runtime)
    {
        var environment = new Dictionary<string, string?> { ["HOME"] = home, ["XDG_STATE_HOME"] = xdgState, ["XDG_RUNTIME_DIR"] = xdgRuntime };
        Assert.Equal(new StateDirectories(state, runtime), StateDirectories.Resolve(option, isRoot, environment.GetValueOrDefault, NoFolder));
    }

    [Fact]
    public void TheEnvironmentStandsForTheOptionAndTheOptionForItself()
    {
        var environment = new Dictionary<string, string?>
        {
            ["HOME"] = "/home/u", [StateDirectories.Variable] = "/var/lib/polyblk",
        };
        Assert.Equal("/run/polyblk", StateDirectories.Resolve(null, false, environment.GetValueOrDefault, NoFolder).Runtime);
        Assert.Equal("/d/run", StateDirectories.Resolve("/d", false, environment.GetValueOrDefault, NoFolder).Runtime);
    }

    /// <summary>A user who watches a host looks at its volumes, not at his own, of which there are none.</summary>
    [Theory]
    [InlineData("/var/lib/polyblk", "/var/lib/polyblk")]
    [InlineData("/var/lib/polyblk /home/u/.local/state/polyblk", "/home/u/.local/state/polyblk")]
    [InlineData("", "/home/u/.local/state/polyblk")]
    public void WhoHasNoVolumesMeansThoseOfTheHost(string folders, string state)
    {
        var environment = new Dictionary<string, string?> { ["HOME"] = "/home/u" };
        StateDirectories its = StateDirectories.Resolve(null, false, environment.GetValueOrDefault, folders.Split(' ').Contains);
        Assert.Equal(state, its.State);
    }

    private static bool NoFolder(string path) => false;

    [Fact]
    public void WithoutAnyPlaceTheUserIsTold()
    {
        RefusalException e = Assert.Throws<RefusalException>(() => StateDirectories.Resolve(null, false, _ => null));
        Assert.Contains("--state", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("a", true)]
    [InlineData("vm-1_data.x", true)]
    [InlineData("", false)]
    [InlineData(".", false)]
    [InlineData("..", false)]
    [InlineData("-x", false)]
    [InlineData("a/b", false)]
    [InlineData("a b", false)]
    [InlineData("ä", false)]
    [InlineData("abcdefghijklmnopqrstuvwxyz0123456", false)]
    public void NamesAreFitForFiles(string name, bool valid) => Assert.Equal(valid, VolumeName.IsValid(name));

    /// <summary>Whoever may open a lock's file may lock it and keep it so; also one that an older program made.</summary>
    [Fact]
    public void LocksAreTheirOwnersAlone()
    {
        const UnixFileMode Owners = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        string file = Path.Combine(Directories.RuntimeOf("data"), "lock");
        using (VolumeLock.Take(Directories, "data", "served"))
        {
            Assert.Equal(Owners, File.GetUnixFileMode(file));
        }

        File.SetUnixFileMode(file, Owners | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        using (VolumeLock.Take(Directories, "data", "served"))
        {
            Assert.Equal(Owners, File.GetUnixFileMode(file));
        }
    }

    /// <summary>
    /// Root types commands about the volumes of a daemon that has a user of its own: what they make is the daemon's to open.
    /// Without root it is, as ever, the user's own.
    /// </summary>
    [Fact]
    public void WhatRootMakesInSomebodysFolderIsThatOnes()
    {
        const uint Somebody = 4711;
        if (Environment.IsPrivilegedProcess)
        {
            Assert.Equal(0, Libc.chown(_directory, Somebody, Somebody + 1));
        }

        Assert.Equal(0, Libc.OwnerOf(_directory, out uint owner, out uint group));
        var store = new VolumeStore(Directories);
        store.Put(Record("data"));
        using (VolumeLock.Take(Directories, "data", "served"))
        {
            _ = store.Change("data", r => r with { Autostart = false });
        }

        _ = new EventStore(Directories).Append([new EventJson { Kind = EventKinds.DaemonStarted, Message = "m" }]);

        string[] made = Directory.GetFileSystemEntries(_directory, "*", SearchOption.AllDirectories);
        Assert.Equal(
            [
                "events", "events/events-0000000000000000001.jsonl", "events/lock",
                "run", "run/data", "run/data/lock", "run/data/record.lock", "volumes", "volumes/data.json",
            ],
            made.Select(m => Path.GetRelativePath(_directory, m)).Order(StringComparer.Ordinal));
        Assert.All(made, m =>
        {
            Assert.Equal(0, Libc.OwnerOf(m, out uint of, out uint ofGroup));
            Assert.Equal((owner, group), (of, ofGroup));
        });
    }

    /// <summary>A daemon that was taken over leads no command of root's to a file of somebody else's.</summary>
    [Fact]
    public void NothingIsWrittenThroughASymbolicLink()
    {
        string other = Path.Combine(_directory, "other");
        File.WriteAllText(other, "mine");
        var store = new VolumeStore(Directories);
        store.Put(Record("data"));
        foreach (string ending in (string[])["tmp", "trial"])
        {
            File.CreateSymbolicLink($"{store.FileOf("data")}.{Environment.ProcessId}.{ending}", other);
        }

        store.RequireWritable("data");
        store.Put(Record("data"));
        string locked = Path.Combine(Directories.RuntimeOf("data"), "lock");
        StateDirectories.Ensure(Directories.RuntimeOf("data"));
        File.CreateSymbolicLink(locked, other);
        Assert.Throws<RefusalException>(() => VolumeLock.Take(Directories, "data", "served"));
        Assert.Equal("mine", File.ReadAllText(other));
    }

    [Fact]
    public void RecordsComeBackAsTheyWereWritten()
    {
        var store = new VolumeStore(Directories);
        VolumeRecord record = Record("data");
        store.Put(record);
        store.Put(Record("other"));
        VolumeRecord read = store.Get("data");
        Assert.Equal(record with { Drives = read.Drives }, read);
        Assert.Equal(record.Drives, read.Drives);
        Assert.Equal(["data", "other"], store.List(Assert.Fail).Select(r => r.Name));
        store.Delete("data");
        Assert.Null(store.TryGet("data"));
        Assert.Empty(Directory.EnumerateFiles(Directories.Volumes, "*.tmp"));
    }

    [Fact]
    public void ADamagedRecordIsReportedAndHidesNoOther()
    {
        var store = new VolumeStore(Directories);
        store.Put(Record("good"));
        File.WriteAllText(store.FileOf("bad"), "{ \"name\": ");
        var warnings = new List<string>();
        Assert.Equal(["good"], store.List(warnings.Add).Select(r => r.Name));
        Assert.Contains("bad.json is damaged", Assert.Single(warnings), StringComparison.Ordinal);
        Assert.Throws<RefusalException>(() => store.Get("bad"));
    }

    [Theory]
    [InlineData("name", "null", "its name")]
    [InlineData("name", "\"other\"", "not the name of the file")]
    [InlineData("name", "\"../data\"", "its name")]
    [InlineData("uuid", "\"00000000-0000-0000-0000-000000000000\"", "UUID")]
    [InlineData("uuid", "null", "damaged")]
    [InlineData("level", "null", "level")]
    [InlineData("level", "\"raid7\"", "raid7")]
    [InlineData("drives", "null", "no drives")]
    [InlineData("drives", "[]", "no drives")]
    [InlineData("drives", "[null]", "an empty one")]
    [InlineData("drives", "[\"/a\", \"ram:1GiB\"]", "mixed")]
    [InlineData("drives", "[\"ram:1GiB\", \"ram:1GiB\"]", "drives are volatile")]
    [InlineData("drives", "[\"disk:1GiB\"]", "no drive")]
    [InlineData("volatile", "true", "made afresh over")]
    [InlineData("sizeBytes", "-1", "negative")]
    public void ARecordThatCannotBeMeantIsRefusedWithTheReason(string field, string value, string reason)
    {
        var store = new VolumeStore(Directories);
        store.Put(Record("data"));
        JsonObject record = JsonNode.Parse(File.ReadAllText(store.FileOf("data")))!.AsObject();
        record[field] = JsonNode.Parse(value);
        File.WriteAllText(store.FileOf("data"), record.ToJsonString());
        RefusalException e = Assert.Throws<RefusalException>(() => store.Get("data"));
        Assert.Contains(reason, e.Message, StringComparison.Ordinal);
        Assert.Contains(store.FileOf("data"), e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ARecordOfALaterFormatIsRefused()
    {
        var store = new VolumeStore(Directories);
        store.Put(Record("data") with { Format = VolumeRecord.CurrentFormat + 1 });
        Assert.Contains("newer program", Assert.Throws<RefusalException>(() => store.Get("data")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AnUnknownVolumeSuggestsTheNearest()
    {
        var store = new VolumeStore(Directories);
        store.Put(Record("database"));
        RefusalException e = Assert.Throws<RefusalException>(() => store.Get("databse"));
        Assert.Equal(RefusalKind.NotFound, e.Kind);
        Assert.Contains("Did you mean 'database'?", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void OneProcessHoldsAVolume()
    {
        Assert.Null(VolumeLock.Holder(Directories, "data"));
        using (VolumeLock first = VolumeLock.Take(Directories, "data", "served"))
        {
            Assert.Equal(Environment.ProcessId, VolumeLock.Holder(Directories, "data"));
            RefusalException e = Assert.Throws<RefusalException>(() => VolumeLock.Take(Directories, "data", "deleted"));
            Assert.Equal(RefusalKind.Refused, e.Kind);
            Assert.Contains($"process {Environment.ProcessId}", e.Message, StringComparison.Ordinal);
            using VolumeLock other = VolumeLock.Take(Directories, "other", "served");
        }

        using VolumeLock again = VolumeLock.Take(Directories, "data", "served");
    }

    [Fact]
    public void AnAtomicWriteThatFailsLeavesTheOldFile()
    {
        string target = Path.Combine(_directory, "is-a-directory");
        Directory.CreateDirectory(Path.Combine(target, "full"));
        Assert.ThrowsAny<Exception>(() => AtomicFile.Write(target, "new"));
        Assert.True(Directory.Exists(Path.Combine(target, "full")));
        Assert.Empty(Directory.EnumerateFiles(_directory, "*.tmp"));
    }

    [Fact]
    public void DrivesAreRememberedWithoutTheirSizeSoThatALossIsNoticed()
    {
        string path = Path.Combine(_directory, "a.img");
        Assert.Equal(path, DriveList.ToRecord(DriveList.Parse([$"file:{path},size=1GiB"])[0]));
        Assert.Equal($"file:{path},block-size=4096,direct=off", DriveList.ToRecord(DriveList.Parse([$"file:{path},size=1GiB,block-size=4096,direct=off"])[0]));
        Assert.Equal("ram:1GiB", DriveList.ToRecord(DriveList.Parse(["ram:1GiB"])[0]));
    }

    [Fact]
    public void ADriveNamedTwiceIsRefusedByAnyPath()
    {
        string path = Path.Combine(_directory, "a.img");
        File.WriteAllText(path, "x");
        string link = Path.Combine(_directory, "link.img");
        File.CreateSymbolicLink(link, path);
        Assert.Contains("same drive", Assert.Throws<RefusalException>(() => DriveList.Parse([path, link])).Message, StringComparison.Ordinal);
        Assert.Contains("cannot be mixed", Assert.Throws<RefusalException>(() => DriveList.Parse([path, "ram:1GiB"])).Message, StringComparison.Ordinal);
        Assert.Equal(2, DriveList.Parse(["ram:1GiB", "ram:1GiB"]).Count);
    }

    [Fact]
    public async Task WipingMakesNoDriveThatIsMissing()
    {
        string there = Path.Combine(_directory, "a.img");
        string missing = Path.Combine(_directory, "b.img");
        await File.WriteAllBytesAsync(there, new byte[16 << 20]);
        VolumeRecord record = Record("data") with { Level = "raid1", Drives = [there, $"file:{missing},size=16MiB"] };
        RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => VolumeMaker.WipeAsync(record, CancellationToken.None));
        Assert.Contains(missing, e.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(missing));
    }

    private static VolumeRecord Record(string name) => new()
    {
        Name = name,
        Uuid = Guid.NewGuid(),
        Level = "raid5",
        ChunkBytes = 65536,
        SizeBytes = 1L << 40,
        Drives = ["/dev/disk/by-id/a", "/dev/disk/by-id/b", "/dev/disk/by-id/c"],
        CreatedUtc = DateTimeOffset.UtcNow,
    };
}
