// What is kept of events: over restarts, kills, several processes, and within its bounds.

using System.Diagnostics;
using System.Text;
using Polyblk.Host;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Cli.Tests;

public sealed class EventStoreTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pbe").FullName;

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void NumbersGoOnOverRestartsAndWhatWasToldIsReadAsItWas()
    {
        var e = new EventJson
        {
            Kind = EventKinds.VolumeFailed,
            Time = DateTimeOffset.UnixEpoch,
            Severity = EventSeverity.Error,
            Volume = "data",
            Message = "a\nb",
            Member = 1,
            Drive = new DriveJson("/dev/a") { ById = "/dev/disk/by-id/x", Serial = "S", Slot = "3" },
            OffsetBytes = 4096,
            Errno = "EIO",
        };
        Assert.Equal([1, 2], new EventStore(Directories).Append([e, e]).Select(k => k.Sequence));
        Assert.Equal([3], new EventStore(Directories).Append([e with { Volume = "other" }]).Select(k => k.Sequence));
        EventStore store = new(Directories);
        Assert.Equal([e with { Sequence = 1 }, e with { Sequence = 2 }], store.Read(volume: "data"));
        Assert.Equal([2, 3], store.Read(since: 1).Select(k => k.Sequence));
        Assert.Equal([3], store.Read(most: 1).Select(k => k.Sequence));
        Assert.Empty(store.Read(since: 3));
    }

    /// <summary>A kill in the middle of a line, a block of zeros after a loss of power, and a line of somebody else.</summary>
    [Theory]
    [InlineData("{\"sequence\":3,\"ti")]
    [InlineData("\0\0\0\0\0\0\0\0")]
    [InlineData("no event\n{\"sequence\":3")]
    [InlineData("{\"sequence\":x}\n")]
    public void WhatIsLeftOfALineIsNothingAndHidesNothing(string rest)
    {
        Add(new EventStore(Directories), 2);
        string file = Directory.GetFiles(new EventStore(Directories).Folder, "*.jsonl").Single();
        File.AppendAllText(file, rest);
        EventStore store = new(Directories);
        Assert.Equal([1, 2], store.Read().Select(e => e.Sequence));
        Add(store, 1);
        Assert.Equal([1, 2, 3], store.Read().Select(e => e.Sequence));
        Assert.Equal([1, 2, 3], new EventStore(Directories).Read().Select(e => e.Sequence));
        Assert.EndsWith("}\n", File.ReadAllText(file), StringComparison.Ordinal);
    }

    /// <summary>Whoever owns the folder may lay a link where root's process writes, or a pipe that it would wait for.</summary>
    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void NoLinkIsFollowedAndNoPipeIsWaitedFor(bool isLink, bool isOld)
    {
        EventStore store = new(Directories);
        Add(store, 1);
        string other = Path.Combine(_directory, "other");
        File.WriteAllText(other, "mine");
        string laid = isOld ? Files()[0] : Path.Combine(store.Folder, "events-0000000000000000002.jsonl");
        File.Delete(laid);
        if (isLink)
        {
            File.CreateSymbolicLink(laid, other);
        }
        else
        {
            using Process made = Process.Start("mkfifo", [laid]);
            made.WaitForExit();
        }

        Assert.Throws<RefusalException>(() => Add(store, 1));
        Assert.Throws<RefusalException>(() => Add(new EventStore(Directories), 1));
        Assert.Throws<IOException>(() => store.Read());
        Assert.Equal("mine", File.ReadAllText(other));
    }

    [Fact]
    public void ANumberIsNotGivenTwiceWhereAWholeSegmentIsUnreadable()
    {
        var limits = new EventStoreLimits(SegmentEvents: 5);
        Add(new EventStore(Directories, limits), 6);
        File.WriteAllText(Files()[^1], new string('\0', 512));
        Assert.Equal([6], new EventStore(Directories, limits).Append([Make()]).Select(e => e.Sequence));
    }

    [Fact]
    public void TheOldestGoAndTheRestIsBounded()
    {
        var limits = new EventStoreLimits(SegmentBytes: 2048, SegmentEvents: 10, Segments: 3);
        EventStore store = new(Directories, limits);
        for (int i = 0; i < 100; i++)
        {
            Add(store, 1);
        }

        Assert.Equal(3, Files().Length);
        Assert.All(Files(), f => Assert.True(new FileInfo(f).Length <= 2048, f));
        long[] kept = [.. store.Read().Select(e => e.Sequence)];
        Assert.Equal(100, kept[^1]);
        Assert.InRange(kept.Length, 21, 30);
        Assert.Equal(Enumerable.Range(0, kept.Length).Select(i => kept[0] + i), kept);
        Add(new EventStore(Directories, limits), 1);
        Assert.Equal(101, store.Read(most: 1)[0].Sequence);
    }

    /// <summary>Two stores are as two processes: what they share is the folder and its lock.</summary>
    [Fact]
    public async Task SeveralWritersTakeTurnsAndAReaderSeesEachEventOnce()
    {
        const int Each = 120;
        var limits = new EventStoreLimits(SegmentEvents: 50, Segments: 100);
        Task[] writers = [.. Enumerable.Range(0, 3).Select(w => Task.Run(() =>
        {
            EventStore own = new(Directories, limits);
            for (int i = 0; i < Each; i++)
            {
                Add(own, 1, $"w{w}");
            }
        }))];
        var cursor = new EventCursor(new EventStore(Directories, limits), 0);
        var seen = new List<EventJson>();
        for (Task all = Task.WhenAll(writers); !all.IsCompleted; await Task.WhenAny(all, Task.Delay(1)))
        {
            seen.AddRange(cursor.Read());
        }

        await Task.WhenAll(writers);
        seen.AddRange(cursor.Read());
        Assert.Equal(Enumerable.Range(1, 3 * Each).Select(i => (long)i), seen.Select(e => e.Sequence));
        Assert.All(seen.GroupBy(e => e.Volume), g => Assert.Equal(Each, g.Count()));
    }

    [Fact]
    public void AReaderThatStayedAwayGoesOnWithWhatIsKeptStill()
    {
        var limits = new EventStoreLimits(SegmentEvents: 5, Segments: 2);
        EventStore store = new(Directories, limits);
        Add(store, 3);
        var cursor = new EventCursor(store, 0);
        Assert.Equal([1, 2, 3], cursor.Read().Select(e => e.Sequence));
        Add(store, 30);
        long[] rest = [.. cursor.Read().Select(e => e.Sequence)];
        Assert.Equal(33, rest[^1]);
        Assert.Equal(Enumerable.Range(0, rest.Length).Select(i => rest[0] + i), rest);
        Assert.Empty(cursor.Read());
    }

    [Fact]
    public void OnlyItsUserGetsAtThem()
    {
        Add(new EventStore(Directories), 1);
        const UnixFileMode Own = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;
        Assert.Equal(Own, File.GetUnixFileMode(new EventStore(Directories).Folder));
    }

    /// <summary>Every word is in the documentation, and it names no other.</summary>
    [Fact]
    public void EveryKindIsDocumented()
    {
        string text = File.ReadAllText(Path.Combine(RepositoryFolder.Path, "docs/events.md"));
        IEnumerable<string> rows = text.Split('\n')
            .Where(l => l.StartsWith("| `", StringComparison.Ordinal) && l.Count(c => c == '|') == 5);
        string[] documented = [.. rows.SelectMany(r => r.Split('|')[1].Split('`').Where((_, i) => i % 2 == 1))];
        Assert.Equal(EventKinds.All.Order(StringComparer.Ordinal), documented.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void AStoreThatCannotBeWrittenSaysSoAndTheNextOneCan()
    {
        File.WriteAllText(new EventStore(Directories).Folder, "a file where the folder should be");
        EventStore store = new(Directories);
        Assert.Throws<Host.RefusalException>(() => store.Append([Make()]));
        File.Delete(store.Folder);
        Assert.Equal(1, store.Append([Make()])[0].Sequence);
    }

    private static EventJson Make(string volume = "v") =>
        new() { Kind = EventKinds.VolumeServed, Volume = volume, Message = "it is", Time = DateTimeOffset.UtcNow };

    private static void Add(EventStore store, int count, string volume = "v") =>
        store.Append([.. Enumerable.Range(0, count).Select(_ => Make(volume))]);

    private string[] Files() =>
        [.. Directory.GetFiles(new EventStore(Directories).Folder, "*.jsonl").Order(StringComparer.Ordinal)];
}
