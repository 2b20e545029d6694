// What commands do to volumes that nobody serves is told as what happens to those that are: kept, and seen by who follows.

using Polyblk.Host.Events;
using Polyblk.Host.Model;

namespace Polyblk.Cli.Tests;

public sealed class CommandEventsTests : DaemonTestBase
{
    private EventStore Events => new(Directories);

    [Fact]
    public async Task WhatIsDoneToAVolumeThatNobodyServesIsTold()
    {
        await CreateAsync("data", "raid1", 2);
        await MustAsync("volume", "add-spare", "data", $"file:{PathOf("spare")},size=4MiB");
        await MustAsync("volume", "fail", "data", "1");
        await MustAsync("volume", "remove", "data", PathOf("spare"));
        await MustAsync("volume", "set", "data", "--rebuild-rate", "5M", "--check-every", "off", "--isolate", "on");
        await MustAsync("volume", "autostart", "data", "off");
        await MustAsync("volume", "set", "data", "--rebuild-rate", "5M", "--isolate", "on"); // as they are: no event
        await ExportBothAsync("data");
        await System.IO.File.WriteAllTextAsync(PathOf("f"), "volumes: {data: {spare-group: pool, exports: []}}");
        await MustAsync("apply", PathOf("f"), "--prune");
        await MustAsync("volume", "delete", "data");
        await MustAsync("volume", "import", PathOf("data0"), PathOf("data1"));
        string[] atStart = ["degraded", "member-left-out"];
        EventJson[] told = [.. Events.Read().Where(e => !atStart.Contains(e.Kind))];
        Assert.All(told, e => Assert.Equal("data", e.Volume));
        Assert.Equal(
            [
                "volume-created made, raid1, 2 drive(s)", $"spare-added {PathOf("spare")}", $"member-failed {PathOf("data1")}",
                $"drive-removed {PathOf("spare")}", "volume-changed rebuild-rate 5MiB", "volume-changed check-every off",
                "volume-changed isolate on", "volume-changed autostart off", "volume-changed spare-group pool", "export-removed ",
                "volume-deleted its drives are as they were", "volume-created imported, raid1, 2 drive(s)",
            ],
            told.Select(e => $"{e.Kind} {e.Drive?.Path ?? e.Reason}"));
        Assert.Equal("asked", told.Single(e => e.Kind == "member-failed").Cause);
    }

    [Fact]
    public async Task WhoFollowsTheDaemonSeesThem()
    {
        await StartAsync();
        long before = Daemon!.Events.Store.Read() is { Count: > 0 } all ? all[^1].Sequence : 0;
        var cursor = new EventCursor(Daemon.Events.Store, before);
        await CreateAsync("data", "raid1", 2);
        EventJson created = Assert.Single(cursor.Read(), e => e.Kind == EventKinds.VolumeCreated);
        Assert.True(created.Sequence > before);
    }

    /// <summary>It is done all the same, and says what is not.</summary>
    [Fact]
    public async Task WhereEventsCannotBeKeptACommandSaysSo()
    {
        await System.IO.File.WriteAllTextAsync(Events.Folder, "a file where the folder should be");
        string errors = (await MustAsync("volume", "create", "data", "--level", "none", $"file:{PathOf("a")},size=4MiB")).Errors;
        Assert.Contains("warning: The directory", errors, StringComparison.Ordinal);
        Assert.Equal("data", Store.Get("data").Name);
    }
}
