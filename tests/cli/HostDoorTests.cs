// Who may not read the records is answered by the daemon, and gets what those get who may: the same objects, and the same
// refusals.

using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Api;
using Polyblk.Cli.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Host;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class HostDoorTests : DaemonTestBase
{
    [Fact]
    public async Task WhatIsShownIsTheSameByBothWays()
    {
        await CreateAsync("data", "raid5", 3);
        await CreateAsync("other", "raid1", 2);
        await MustAsync("volume", "fail", "other", "0");
        await ExportBothAsync("data");
        await File.WriteAllTextAsync(Store.FileOf("broken"), "{");
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        await using ApiServer api = await ApiServer.StartAsync(Daemon, Directories, NullLogger.Instance);
        using var byApi = new ApiDoor(Directories);
        using var own = new OwnDoor(Directories);
        Assert.Equal(await TextAsync(own), await TextAsync(byApi));

        static async Task<string> TextAsync(HostDoor door)
        {
            var problems = new List<string>();
            IReadOnlyList<VolumeJson> volumes = await door.ListVolumesAsync(problems.Add, CancellationToken.None);
            VolumeJson shown = await door.ShowVolumeAsync("other", _ => { }, CancellationToken.None);
            IReadOnlyList<DaemonExportJson>? exports = await door.ListExportsAsync(CancellationToken.None);
            Func<CancellationToken, Task<IReadOnlyList<EventJson>>> read = door.ReadEvents(since: 1);
            IReadOnlyList<EventJson> events = await read(CancellationToken.None);
            Assert.True(volumes.Count == 2 && exports!.Count == 1 && shown.History!.Count > 0 && events.Count > 2);
            Assert.Single(problems);
            Assert.Empty(await read(CancellationToken.None));

            // What runs counts on.
            return string.Join(
                '\n',
                [
                    .. problems,
                    .. volumes.Select(v => JsonSerializer.Serialize(v with { Live = null }, OutputJson.Default.VolumeJson)),
                    JsonSerializer.Serialize(shown, OutputJson.Default.VolumeJson),
                    .. exports!.Select(e => $"{e.Id} {e.State} {e.Live?.Endpoint}"),
                    .. events.Select(e => $"{e.Sequence} {e.Kind} {e.Message}"),
                ]);
        }
    }

    [Fact]
    public async Task WhatIsDoneIsDoneByTheApiToo()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await using ApiServer api = await ApiServer.StartAsync(Daemon!, Directories, NullLogger.Instance);
        using var door = new ApiDoor(Directories);
        ExportJson added = await door.AddExportAsync("data", new ExportRecord { Frontend = "nbd" }, CancellationToken.None);
        Assert.Equal("data/nbd/0", added.Id);
        await MustAsync("volume", "stop", "data");
        await door.StartVolumeAsync("data", new StartPermissions(), CancellationToken.None);
        Assert.Equal("serving", Assert.Single((await door.ListExportsAsync(CancellationToken.None))!).State);
        await door.RemoveExportAsync(added.Id, force: false, CancellationToken.None);
        Assert.Empty((await door.ListExportsAsync(CancellationToken.None))!);
    }

    /// <summary>All that may be asked of a volume that is served: done by the API as by its control socket.</summary>
    [Fact]
    public async Task MembersChecksPausesAndSettingsAreTheApisToo()
    {
        await CreateAsync("data", "raid1", 2);
        await ExportBothAsync("data");
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        await using ApiServer api = await ApiServer.StartAsync(Daemon, Directories, NullLogger.Instance);
        using var door = new ApiDoor(Directories);
        string spare = $"file:{PathOf("spare")},size=4MiB";
        ControlResponse added = await AskAsync(new() { Command = "add-spare", Drive = spare });
        Assert.Contains("spare", added.Message!, StringComparison.Ordinal);
        Assert.Single(added.Live!.Array!.Spares);
        Assert.Empty((await AskAsync(new() { Command = "remove", Drive = spare })).Live!.Array!.Spares);

        Assert.NotNull((await AskAsync(new() { Command = "pause", Seconds = 100 })).Live!.PausedUntilUtc);
        Assert.Null((await AskAsync(new() { Command = "resume" })).Live!.PausedUntilUtc);

        string next = $"file:{PathOf("next")},size=4MiB";
        ControlResponse replaced = await AskAsync(
            new() { Command = "replace", Drive = "1", NewDrive = next, Force = true, FailFirst = true });
        Assert.Equal(1, replaced.Role);
        while ((await AskAsync(new() { Command = "show" })).Live!.Array!.Members[1] is not { State: MemberJson.Present } member)
        {
            await Task.Delay(20);
        }

        MemberJson filled = (await AskAsync(new() { Command = "show" })).Live!.Array!.Members[1];
        Assert.Contains("next", filled.Drive!, StringComparison.Ordinal);
        await AskAsync(new() { Command = "check" });
        while ((await AskAsync(new() { Command = "show" })).Live!.Array!.Check is not { EndedUtc: not null, IsSound: true })
        {
            await Task.Delay(20);
        }

        Assert.Equal(2 << 20, (await AskAsync(new() { Command = "resize", SizeBytes = 2 << 20, Force = true })).Live!.SizeBytes);
        Assert.Equal(2 << 20, Store.Get("data").SizeBytes);

        var change = new SettingsChange
        {
            Consistency = "none", MaxRebuildBytesPerSecond = 5 << 20, CheckEverySeconds = 86400, SlowReadSeconds = 7,
            DriveTimeoutSeconds = 70, SpareGroup = "racks", Isolate = true, Autostart = false,
        };
        Assert.Equal(change, await door.ChangeSettingsAsync("data", change, _ => { }, CancellationToken.None));
        VolumeJson set = await door.ShowVolumeAsync("data", _ => { }, CancellationToken.None);
        Assert.Equal(
            ("none", 5L << 20, 86400L, 7, 70, "racks", true),
            (set.Array!.Consistency, set.Array.MaxRebuildBytesPerSecond, set.Array.CheckEverySeconds, set.Array.SlowReadSeconds,
                set.Array.DriveTimeoutSeconds, set.SpareGroup, set.Isolated));
        Assert.False(Store.Get("data").Autostart);

        VolumeJson stopped = await door.StopVolumeAsync("data", force: false, CancellationToken.None);
        Assert.Equal("Volume 'data' is stopped.", stopped.Message);
        Assert.Null(VolumeLock.Holder(Directories, "data"));
        stopped = await door.StopVolumeAsync("data", force: false, CancellationToken.None);
        Assert.Equal("Volume 'data' is not being served.", stopped.Message);
        RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => AskAsync(new() { Command = "check" }));
        var refusal = new Refusal(RefusalKind.Refused, "Volume 'data' is not being served.", "Start it: polyblk volume start data");
        Assert.Equal(refusal, e.Refusal);

        async Task<ControlResponse> AskAsync(ControlRequest request) =>
            (await door.AskVolumeAsync("data", request, CancellationToken.None).WaitAsync(TooLong))!;
    }

    [Fact]
    public async Task VolumesAreMadeAndDeletedByTheApiToo()
    {
        await StartAsync();
        await using ApiServer api = await ApiServer.StartAsync(Daemon!, Directories, NullLogger.Instance);
        using var door = new ApiDoor(Directories);
        string[] drives = [.. Enumerable.Range(0, 3).Select(i => $"file:{PathOf($"d{i}")},size=4MiB")];
        var wish = new VolumeWish("data", "raid5", drives) { ChunkBytes = 16 << 10, Consistency = "bitmap", Isolate = true };
        VolumeJson made = await CreateAsync(wish);
        Assert.Equal(("raid5", 16 << 10, true), (made.Level, made.ChunkBytes, made.Isolated));
        Assert.Equal("bitmap", (await door.ShowVolumeAsync("data", _ => { }, CancellationToken.None)).Array!.Consistency);
        Assert.Equal(RefusalKind.Refused, (await Assert.ThrowsAsync<RefusalException>(() => CreateAsync(wish))).Kind);
        RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => CreateAsync(wish with { Name = "other" }));
        Assert.Contains("--force", e.Message, StringComparison.Ordinal);

        // Who says no before anything is erased, of the drives that it is about.
        await Assert.ThrowsAsync<InvalidOperationException>(
            () => DeleteAsync((_, its) => throw new InvalidOperationException(string.Join(' ', its))));
        Assert.NotNull(Store.TryGet("data"));
        Assert.Equal("deleted", (await DeleteAsync((_, _) => { })).Status);
        Assert.Null(Store.TryGet("data"));
        made = await CreateAsync(wish with { Name = "other" });
        Assert.Equal("other", made.Name);

        Task<VolumeJson> CreateAsync(VolumeWish its) => door.CreateVolumeAsync(its, _ => { }, _ => { }, CancellationToken.None);
        Task<VolumeJson> DeleteAsync(Action<string, IReadOnlyList<string>> confirm) =>
            door.DeleteVolumeAsync("data", wipe: true, confirm, _ => { }, CancellationToken.None);
    }

    [Fact]
    public async Task WhatMakesNoSenseIsRefusedAndNothingIsChanged()
    {
        await CreateAsync("data", "raid1", 2);
        await ExportBothAsync("data");
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        await using ApiServer api = await ApiServer.StartAsync(Daemon, Directories, NullLogger.Instance);
        using var door = new ApiDoor(Directories);
        Func<Task>[] wrong =
        [
            () => SetAsync(new() { CheckEverySeconds = 1000, SlowReadSeconds = 61 }),
            () => SetAsync(new() { CheckEverySeconds = 1000, MaxRebuildBytesPerSecond = -1 }),
            () => SetAsync(new() { CheckEverySeconds = -1 }),
            () => SetAsync(new() { CheckEverySeconds = 1000, Consistency = "perfect" }),
            () => SetAsync(new() { CheckEverySeconds = 1000, SpareGroup = "../x" }),
            () => AskAsync(new() { Command = "pause", Seconds = 0 }),
            () => AskAsync(new() { Command = "add-spare", Drive = "spare" }),
            () => AskAsync(new() { Command = "replace", Drive = "0", NewDrive = "file:spare,size=4MiB" }),
        ];
        foreach (Func<Task> ask in wrong)
        {
            Assert.Equal(RefusalKind.Invalid, (await Assert.ThrowsAsync<RefusalException>(ask)).Kind);
        }

        VolumeJson volume = await door.ShowVolumeAsync("data", _ => { }, CancellationToken.None);
        Assert.Equal((30L * 86400, Health.Optimal), (volume.Array!.CheckEverySeconds, volume.Health));

        Task SetAsync(SettingsChange change) => door.ChangeSettingsAsync("data", change, _ => { }, CancellationToken.None);
        Task AskAsync(ControlRequest request) => door.AskVolumeAsync("data", request, CancellationToken.None);
    }

    /// <summary>The kind is the exit code, and the text is what the user sees.</summary>
    [Fact]
    public async Task ARefusalIsTheSameByBothWays()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await using ApiServer api = await ApiServer.StartAsync(Daemon!, Directories, NullLogger.Instance);
        using var byApi = new ApiDoor(Directories);
        using var own = new OwnDoor(Directories);
        Func<HostDoor, Task>[] wrong =
        [
            d => d.ShowVolumeAsync("dat", _ => { }, CancellationToken.None),
            d => d.ShowVolumeAsync("../x", _ => { }, CancellationToken.None),
            d => d.RemoveExportAsync("data/nbd/7", force: true, CancellationToken.None),
            d => d.AddExportAsync("data", new ExportRecord { Frontend = "none" }, CancellationToken.None),
            d => d.AddExportAsync("dat", new ExportRecord { Frontend = "nbd" }, CancellationToken.None),
            d => d.StartVolumeAsync("dat", new StartPermissions(), CancellationToken.None),
            d => d.StartVolumeAsync("data", new StartPermissions(), CancellationToken.None),
        ];
        foreach (Func<HostDoor, Task> ask in wrong)
        {
            RefusalException expected = await Assert.ThrowsAsync<RefusalException>(() => ask(own));
            Assert.Equal(expected.Refusal, (await Assert.ThrowsAsync<RefusalException>(() => ask(byApi))).Refusal);
        }

        RefusalException e = await Assert.ThrowsAsync<RefusalException>(
            () => byApi.RemoveExportAsync("data", force: false, CancellationToken.None));
        Assert.Equal((RefusalKind.NotFound, "There is no export 'data'."), (e.Kind, e.Refusal.Problem));
    }

    /// <summary>The API comes after the exports: who asks before waits for it a moment.</summary>
    [Fact]
    public async Task AnApiThatIsNotThereYetIsWaitedFor()
    {
        await StartAsync();
        using var door = new ApiDoor(Directories);
        Task<IReadOnlyList<DaemonExportJson>?> asked = door.ListExportsAsync(CancellationToken.None);
        await using ApiServer api = await ApiServer.StartAsync(Daemon!, Directories, NullLogger.Instance);
        Assert.Empty((await asked)!);
    }

    [Fact]
    public async Task WhereThereIsNoDaemonOneIsTold()
    {
        using var door = new ApiDoor(Directories);
        RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => door.ListExportsAsync(CancellationToken.None));
        Assert.Equal(RefusalKind.Refused, e.Kind);
        Assert.Contains("No daemon is there", e.Message, StringComparison.Ordinal);
    }
}
