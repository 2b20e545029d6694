// A volume that is to have a process of its own is never served in the daemon's. What the processes do: tests/cli-process.

using Polyblk.Host.Model;

namespace Polyblk.Cli.Tests;

public sealed class IsolatedVolumeTests : DaemonTestBase
{
    private const string NoProgram = "It is to have a process of its own, and this daemon starts none.";

    [Fact]
    public async Task WhereNoProcessCanBeStartedItIsNotServedAndOthersAre()
    {
        await CreateAsync("alone", "raid1", 2);
        await CreateAsync("data", "raid1", 2);
        await MustAsync("volume", "set", "alone", "--isolate", "on");
        await StartAsync();
        (int code, _, string errors) = await RunAsync("export", "add", "alone", "--frontend", "nbd");
        Assert.Equal(4, code);
        Assert.Contains(NoProgram, errors, StringComparison.Ordinal);
        Assert.Null(Store.Get("alone").Exports);

        // At a start, too.
        await EndAsync();
        await ExportBothAsync("alone", "data");
        await StartAsync();
        await Daemon!.Tried;
        DaemonVolumeJson[] volumes = [.. Daemon.GetStatus().Volumes];
        Assert.Equal([DaemonState.Failed, DaemonState.Served], volumes.Select(v => v.State));
        Assert.Contains(NoProgram, volumes[0].Reason, StringComparison.Ordinal);

        // Here again from its next start on.
        await MustAsync("volume", "set", "alone", "--isolate", "off");
        await MustAsync("volume", "start", "alone");
        Assert.Equal(2, Daemon.GetLive().Count);
    }

    [Fact]
    public async Task AProcessOfOneVolumeServesNoOther()
    {
        await CreateAsync("alone", "raid1", 2);
        await CreateAsync("data", "raid1", 2);
        await ExportBothAsync("alone", "data");
        await StartAsync(Options(TimeSpan.Zero) with { Only = "alone" });
        await Daemon!.Tried;
        Assert.Equal(
            ("alone", DaemonState.Served), Assert.Single(Daemon.GetStatus().Volumes) is var v ? (v.Name, v.State) : default);
        (int code, _, string errors) = await RunAsync("volume", "start", "data");
        Assert.Equal(4, code);
        Assert.Contains("This process is that of volume 'alone' alone.", errors, StringComparison.Ordinal);
    }
}
