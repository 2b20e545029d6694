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
        Assert.Contains("No daemon answers", e.Message, StringComparison.Ordinal);
    }
}
