// The daemon in this process: what it serves, and what comes back; volumes that cannot start or wait for drives beside others
// that are served; exports that come and go; and an end that does not come.

using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Cli.CommandLine;
using Polyblk.Compare.Clients.Nbd;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Null;
using Polyblk.Frontends;
using Polyblk.Host;
using Polyblk.Host.Daemon;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class DaemonTests : DaemonTestBase
{
    private const int DriveBytes = 4 << 20;

    /// <summary>Nothing is made first: a device has no socket that somebody could be let in to.</summary>
    [Theory]
    [InlineData("ublk", "--socket-group", "daemon")]
    [InlineData("vduse", "--socket-mode", "660")]
    [InlineData("ublk", "--allow-user", "root")]
    [InlineData("vduse", "--socket", "/tmp/x.sock")]
    public async Task WhatIsSaidOfSocketsIsRefusedForDevices(string frontend, string option, string value)
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        foreach (string[] command in (string[][])[["export", "add", "data"], ["serve", "data"]])
        {
            (int code, _, string errors) = await RunAsync([.. command, "--frontend", frontend, option, value]);
            Assert.True(code == ExitCode.Usage, errors);
            Assert.Contains($"an export of {frontend} is a device", errors, StringComparison.Ordinal);
        }

        var export = new ExportRecord { Frontend = frontend, SocketMode = "660" };
        RefusalException e = await Assert.ThrowsAsync<RefusalException>(
            () => Daemon!.AddExportAsync("data", export, CancellationToken.None));
        Assert.Equal(RefusalKind.Invalid, e.Kind);
        Assert.Contains("is a device", e.Message, StringComparison.Ordinal);
    }

    /// <summary>Who comes later sees what was said when the export was made.</summary>
    [Fact]
    public async Task WhatAddHasSaidIsShownAgain()
    {
        await CreateAsync("one", "none", 1);
        (int code, _, string errors) = await RunAsync("export", "show", "one");
        Assert.True((code, errors.Contains("systemctl start polyblk", StringComparison.Ordinal)) == (ExitCode.Refused, true), errors);
        await StartAsync();
        string said = (await MustAsync("export", "add", "one", "--frontend", "nbd", "--frontend", "vhost-user", "--queues", "1")).Output;
        Assert.Equal(said, (await MustAsync("export", "show", "one")).Output);
        string second = (await MustAsync("export", "show", "one/vhost-user/0")).Output;
        Assert.StartsWith("one/vhost-user/0 at ", second, StringComparison.Ordinal);
        Assert.EndsWith(second, said, StringComparison.Ordinal);
        Assert.Contains("-device vhost-user-blk-pci", second, StringComparison.Ordinal);
        JsonElement json = JsonDocument.Parse((await MustAsync("export", "show", "one/nbd/0", "--json")).Output).RootElement;
        Assert.Equal("one/nbd/0", Assert.Single(json.EnumerateArray()).GetProperty("live").GetProperty("id").GetString());

        Assert.Equal(ExitCode.NotFound, (await RunAsync("export", "show", "one/nbd/1")).Code);
        await MustAsync("volume", "stop", "one");
        (code, string output, _) = await RunAsync("export", "show", "one/nbd/0");
        Assert.Equal((ExitCode.Failed, "one/nbd/0 is not served (stopped).\n"), (code, output));
    }

    [Fact]
    public async Task WhatIsExportedIsServedAgainAfterTheNextStart()
    {
        await CreateAsync("one", "raid1", 2);
        await CreateAsync("two", "none", 1);
        await StartAsync();
        string added = (await MustAsync("export", "add", "one", "--frontend", "nbd")).Output;
        Assert.Contains("one/nbd/0 at ", added, StringComparison.Ordinal);
        await MustAsync("export", "add", "two", "--frontend", "nbd", "--frontend", "vhost-user", "--queues", "1", "--read-only");
        Assert.Equal(["one/nbd/0", "two/nbd/0", "two/vhost-user/0"], (await ExportsAsync()).Select(e => e.Id));
        Assert.All(await ExportsAsync(), e => Assert.Equal("serving", e.State));
        Assert.Equal("served", (await ShowAsync("one")).GetProperty("status").GetString());
        Assert.Equal(2, Daemon!.GetLive().Count);
        Assert.Single(Daemon.GetLive().SelectMany(l => l.Reactors).Select(r => r.Name).Distinct());
        await EndAsync();
        Assert.All(await ExportsAsync(), e => Assert.Equal("no daemon", e.State));
        Assert.Equal("stopped", (await ShowAsync("one")).GetProperty("status").GetString());

        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        Assert.Equal(["one/nbd/0", "two/nbd/0", "two/vhost-user/0"], (await ExportsAsync()).Where(e => e.State == "serving").Select(e => e.Id));
        ExportRecord kept = Store.Get("two").Exports![1];
        Assert.Equal(("vhost-user", 0, 1, true), (kept.Frontend, kept.Index, kept.Queues, kept.ReadOnly));
    }

    [Fact]
    public async Task OneThatCannotStartHarmsNoOtherAndIsShownWithItsReason()
    {
        await CreateAsync("bad", "raid1", 2);
        await CreateAsync("good", "raid1", 2);
        await ExportBothAsync("bad", "good");
        File.Move(PathOf("bad0"), PathOf("away0"));
        File.Move(PathOf("bad1"), PathOf("away1"));
        await StartAsync(wait: TimeSpan.Zero);
        await Daemon!.Settled.WaitAsync(TooLong);
        DaemonVolumeJson[] volumes = [.. Daemon.GetStatus().Volumes];
        Assert.Equal([DaemonState.Failed, DaemonState.Served], volumes.Select(v => v.State));
        Assert.NotNull(volumes[0].Reason);
        Assert.Equal(volumes[0].Reason, (await ShowAsync("bad")).GetProperty("notServed").GetString());
        Assert.Contains("could not start", (await MustAsync("volume", "list")).Output.Split('\n')[1], StringComparison.Ordinal);
        (int code, _, string errors) = await RunAsync("volume", "start", "bad");
        Assert.NotEqual(ExitCode.Ok, code);
        Assert.Contains(volumes[0].Reason!.Split('\n')[0], errors, StringComparison.Ordinal);

        File.Move(PathOf("away0"), PathOf("bad0"));
        File.Move(PathOf("away1"), PathOf("bad1"));
        await MustAsync("volume", "start", "bad");
        Assert.Equal("optimal", (await ShowAsync("bad")).GetProperty("health").GetString());
    }

    /// <summary>One export whose socket's place is taken; the other one's disk is somebody's.</summary>
    [Fact]
    public async Task AnExportThatCannotBeMadeHarmsNoOtherAndIsTriedAgainWhenThatIsAskedFor()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd", "--socket", PathOf("n"));
        await MustAsync("export", "add", "data", "--frontend", "vhost-user", "--socket", PathOf("v"), "--queues", "1");
        await EndAsync();
        await File.WriteAllTextAsync(PathOf("n"), "no socket");

        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        Assert.Equal(
            [("data/nbd/0", "failed"), ("data/vhost-user/0", "serving")], (await ExportsAsync()).Select(e => (e.Id, e.State)));
        string reason = (await ExportsAsync())[0].Reason!;
        Assert.Contains(PathOf("n"), reason, StringComparison.Ordinal);
        (int code, string checkedOut, _) = await RunAsync("check");
        Assert.Equal(1, code);
        Assert.Contains($"The export data/nbd/0 has failed: {reason}", checkedOut, StringComparison.Ordinal);

        (code, _, string errors) = await RunAsync("volume", "start", "data");
        Assert.NotEqual(ExitCode.Ok, code);
        Assert.Contains(PathOf("n"), errors, StringComparison.Ordinal);
        Assert.Equal("no socket", await File.ReadAllTextAsync(PathOf("n")));
        Assert.Equal("failed", (await ExportsAsync())[0].State);

        File.Delete(PathOf("n"));
        await MustAsync("volume", "start", "data");
        Assert.Equal(["serving", "serving"], (await ExportsAsync()).Select(e => e.State));

        // Asked for, all of it is served or nothing; and what cannot be made can be removed.
        await MustAsync("volume", "stop", "data");
        await File.WriteAllTextAsync(PathOf("n"), "no socket");
        Assert.NotEqual(ExitCode.Ok, (await RunAsync("volume", "start", "data")).Code);
        Assert.DoesNotContain(await ExportsAsync(), e => e.State == "serving");
        await EndAsync();
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        await MustAsync("export", "remove", "data/nbd/0");
        Assert.Equal([("data/vhost-user/0", "serving")], (await ExportsAsync()).Select(e => (e.Id, e.State)));
        Assert.Single(Store.Get("data").Exports!);
    }

    /// <summary>Where none of them can be made, it has not started.</summary>
    [Fact]
    public async Task AVolumeWithoutAnyExportThatCanBeMadeHasFailed()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd", "--socket", PathOf("n"));
        await EndAsync();
        await File.WriteAllTextAsync(PathOf("n"), "no socket");
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        Assert.Equal(DaemonState.Failed, Assert.Single(Daemon.GetStatus().Volumes).State);
        File.Delete(PathOf("n"));
        await MustAsync("volume", "start", "data");
        Assert.Equal("serving", Assert.Single(await ExportsAsync()).State);
    }

    [Fact]
    public async Task ALateDriveIsWaitedForAndNamedAndNothingIsDegraded()
    {
        await CreateAsync("late", "raid1", 2);
        await CreateAsync("prompt", "raid1", 2);
        await ExportBothAsync("late", "prompt");
        File.Move(PathOf("late1"), PathOf("away"));
        await StartAsync(wait: TooLong);
        await Daemon!.Tried.WaitAsync(TooLong);
        DaemonVolumeJson[] volumes = [.. Daemon.GetStatus().Volumes];
        Assert.Equal([DaemonState.Waiting, DaemonState.Served], volumes.Select(v => v.State));
        Assert.Equal([PathOf("late1")], volumes[0].WaitsFor);
        Assert.Equal("waiting", (await ShowAsync("late")).GetProperty("status").GetString());
        File.Move(PathOf("away"), PathOf("late1"));
        await Daemon.Settled.WaitAsync(TooLong);
        Assert.Equal("optimal", (await ShowAsync("late")).GetProperty("health").GetString());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ADriveThatDoesNotComeIsDoneWithoutWhenTheTimeIsOverOrSomebodySaysSo(bool isAsked)
    {
        await CreateAsync("data", "raid1", 2);
        await ExportBothAsync("data");
        File.Delete(PathOf("data1"));
        await StartAsync(wait: isAsked ? TooLong : TimeSpan.FromMilliseconds(20));
        await Daemon!.Tried.WaitAsync(TooLong);
        if (isAsked)
        {
            await MustAsync("volume", "start", "data", "--allow-degraded");
        }

        await Daemon.Settled.WaitAsync(TooLong);
        Assert.Equal(DaemonState.Served, Assert.Single(Daemon.GetStatus().Volumes).State);
        Assert.Equal("degraded", (await ShowAsync("data")).GetProperty("health").GetString());
    }

    /// <summary>It was waited for, and given up; nobody types anything.</summary>
    [Fact]
    public async Task ADriveThatIsLaterStillTakesItsPlaceByItself()
    {
        await CreateAsync("late", "raid1", 2);
        await ExportBothAsync("late");
        File.Move(PathOf("late1"), PathOf("away"));
        await StartAsync(wait: TimeSpan.FromMilliseconds(100));
        await Daemon!.Settled.WaitAsync(TooLong);
        Assert.Equal("degraded", (await ShowAsync("late")).GetProperty("health").GetString());
        using (var client = new NbdClient((await ExportsAsync())[0].Live!.Endpoint, "late"))
        {
            Assert.Equal(0, client.Write(0, new byte[4096]));
        }

        // An empty file in its place is nobody's drive.
        await using (FileStream empty = File.Create(PathOf("late1")))
        {
            empty.SetLength(DriveBytes);
        }

        await Task.Delay(TimeSpan.FromSeconds(6));
        Assert.Equal("degraded", (await ShowAsync("late")).GetProperty("health").GetString());
        File.Move(PathOf("away"), PathOf("late1"), overwrite: true);
        using var limit = new CancellationTokenSource(TooLong);
        while ((await ShowAsync("late")).GetProperty("health").GetString() != "optimal")
        {
            await Task.Delay(100, limit.Token);
        }

        // Out because somebody wanted it so: it stays out.
        await MustAsync("volume", "fail", "late", "1");
        await EndAsync();
        await StartAsync(wait: TimeSpan.FromMilliseconds(100));
        await Daemon!.Settled.WaitAsync(TooLong);
        await Task.Delay(TimeSpan.FromSeconds(6));
        Assert.Equal("degraded", (await ShowAsync("late")).GetProperty("health").GetString());
    }

    [Fact]
    public async Task ASingleDriveThatIsLateIsWaitedFor()
    {
        await CreateAsync("data", "none", 1);
        await ExportBothAsync("data");
        File.Move(PathOf("data0"), PathOf("away"));
        await StartAsync(wait: TooLong);
        await Daemon!.Tried.WaitAsync(TooLong);
        Assert.Equal(DaemonState.Waiting, Assert.Single(Daemon.GetStatus().Volumes).State);
        File.Move(PathOf("away"), PathOf("data0"));
        await Daemon.Settled.WaitAsync(TooLong);
        Assert.Equal(DaemonState.Served, Assert.Single(Daemon.GetStatus().Volumes).State);
    }

    [Fact]
    public async Task AnExportIsRemovedWhileOthersServeButNotUnderItsConsumer()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd");
        await MustAsync("export", "add", "data", "--frontend", "nbd");
        ExportJson[] exports = [.. Assert.Single(Daemon!.GetLive()).Exports];
        using (var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            client.Connect(new UnixDomainSocketEndPoint(exports[0].Endpoint));
            Negotiate(client);
            (int code, _, string errors) = await RunAsync("export", "remove", "data/nbd/0");
            Assert.Equal(ExitCode.Refused, code);
            Assert.Contains("--force", errors, StringComparison.Ordinal);
            Assert.Equal(2, Store.Get("data").Exports!.Count);
            Assert.All(await ExportsAsync(), e => Assert.Equal("serving", e.State));
            await MustAsync("export", "remove", "data/nbd/0", "--force");
            Assert.Equal(0, client.Receive(new byte[1]));
        }

        Assert.Equal(["data/nbd/1"], (await ExportsAsync()).Select(e => e.Id));
        Assert.Equal("serving", (await ExportsAsync())[0].State);

        // Numbers are given anew, and do not wander.
        await MustAsync("export", "add", "data", "--frontend", "nbd");
        Assert.Equal(["data/nbd/1", "data/nbd/0"], (await ExportsAsync()).Select(e => e.Id));
        await MustAsync("export", "remove", "data/nbd/0");
        await MustAsync("export", "remove", "data/nbd/1");
        Assert.Equal(DaemonState.Stopped, Assert.Single(Daemon!.GetStatus().Volumes).State);
        Assert.Null(VolumeLock.Holder(Directories, "data"));
        Assert.Equal("optimal", (await ShowAsync("data")).GetProperty("array").GetProperty("health").GetString());
        Assert.Equal(ExitCode.NotFound, (await RunAsync("export", "remove", "data/nbd/1")).Code);
    }

    [Fact]
    public async Task WhatCannotBeAddedLeavesNothing()
    {
        await CreateAsync("data", "raid1", 2);
        await CreateAsync("other", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd", "--socket", PathOf("sock"));
        Assert.Equal(ExitCode.Refused, (await RunAsync("export", "add", "other", "--frontend", "nbd", "--socket", PathOf("sock"))).Code);
        Assert.Null(Store.Get("other").Exports);
        Assert.Null(VolumeLock.Holder(Directories, "other"));

        // It cannot be made at all.
        File.WriteAllText(PathOf("taken"), "x");
        Assert.NotEqual(ExitCode.Ok, (await RunAsync("export", "add", "data", "--frontend", "nbd", "--socket", PathOf("taken/sock"))).Code);
        Assert.Equal("data/nbd/0", Assert.Single(await ExportsAsync(), e => e.Volume == "data").Id);
        Assert.Single(Assert.Single(Daemon!.GetLive()).Exports);
    }

    [Fact]
    public async Task WhatMakesNoSenseIsNotAddedWhoeverAsks()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        var good = new ExportRecord { Frontend = "nbd" };
        ExportRecord[] bad =
        [
            good with { Frontend = "telnet" }, good with { Queues = 0 }, good with { Queues = 257 }, good with { QueueSize = 100 }, good with { Serial = "a b" },
            good with { SocketPath = "sock" }, good with { SocketPath = "/nowhere/sock" }, good with { SocketMode = "rw" },
            good with { Options = new Dictionary<string, string> { ["no-such"] = "1" } },
        ];
        foreach (ExportRecord export in bad)
        {
            RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => Daemon!.AddExportAsync("data", export, CancellationToken.None));
            Assert.Contains(e.Kind, (RefusalKind[])[RefusalKind.Invalid, RefusalKind.NotFound]);
        }

        await Daemon!.AddExportAsync("data", good, CancellationToken.None).WaitAsync(TooLong);
        Assert.True(await Daemon.ShutDownAsync().WaitAsync(TooLong));
        await Assert.ThrowsAsync<RefusalException>(() => Daemon.AddExportAsync("data", good, CancellationToken.None));
        Assert.Single(Store.Get("data").Exports!);
        Assert.Null(VolumeLock.Holder(Directories, "data"));
    }

    [Fact]
    public async Task AVolumeThatIsNotToStartIsStartedOnRequestAndStoppedByItself()
    {
        await CreateAsync("data", "raid1", 2);
        await ExportBothAsync("data");
        await MustAsync("volume", "autostart", "data", "off");
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        Assert.Equal((DaemonState.Stopped, false), Assert.Single(Daemon.GetStatus().Volumes) is var v ? (v.State, v.Autostart) : default);
        await MustAsync("volume", "start", "data");
        Assert.Equal("served", (await ShowAsync("data")).GetProperty("status").GetString());
        await MustAsync("volume", "stop", "data");
        Assert.Equal("optimal", (await ShowAsync("data")).GetProperty("array").GetProperty("health").GetString());
        await MustAsync("volume", "autostart", "data", "on");
        Assert.Null(Store.Get("data").Autostart);
    }

    [Fact]
    public async Task ThereIsOneDaemonOfAStateFolderAndWithoutItNothingIsExported()
    {
        await CreateAsync("data", "raid1", 2);
        (int code, _, string errors) = await RunAsync("export", "add", "data", "--frontend", "nbd");
        Assert.Equal(ExitCode.Refused, code);
        Assert.Contains("polyblk daemon", errors, StringComparison.Ordinal);
        Assert.Null(Store.Get("data").Exports);
        await StartAsync();
        RefusalException second = Assert.Throws<RefusalException>(() => VolumeDaemon.Start(Options(TimeSpan.Zero), Directories, NullLoggerFactory.Instance));
        Assert.Equal(RefusalKind.Refused, second.Kind);
    }

    /// <summary>Beside one that never ends, another one does, and is marked clean.</summary>
    [Fact]
    public async Task WhatDoesNotEndByTheDeadlineIsLeft()
    {
        await CreateAsync("good", "raid1", 2);
        await CreateAsync("stuck", "none", 1);
        await ExportBothAsync("good", "stuck");
        var stuck = new StuckVolume();
        DaemonOptions options = Options(TimeSpan.Zero);
        await StartAsync(options with
        {
            StopWithin = TimeSpan.FromSeconds(1),
            Serve = new ServeOptions(options.Plan, options.Idle, new VolumeStart())
            {
                Open = (record, reactors, start, logging, cancellation) => record.Name == "stuck" ? Task.FromResult<OpenVolume>(stuck)
                    : VolumeOpener.OpenAsync(record, reactors, start, logging, cancellation),
            },
        });
        await Daemon!.Settled.WaitAsync(TooLong);
        Assert.False(await Daemon.ShutDownAsync().WaitAsync(TooLong));
        Assert.Equal("optimal", (await ShowAsync("good")).GetProperty("array").GetProperty("health").GetString());
        stuck.End();
    }

    /// <summary>To the end of the handshake, which makes it a session.</summary>
    private static void Negotiate(Socket client)
    {
        byte[] bytes = new byte[1024];
        int greeting = 0;
        while (greeting < 18)
        {
            greeting += client.Receive(bytes.AsSpan(greeting..18));
        }

        // Client flags (fixed newstyle, no zeroes), then NBD_OPT_EXPORT_NAME with the default export: ten bytes of answer.
        client.Send([0, 0, 0, 3, .. "IHAVEOPT"u8, 0, 0, 0, 1, 0, 0, 0, 0]);
        int answer = 0;
        while (answer < 10)
        {
            answer += client.Receive(bytes.AsSpan(answer..10));
        }
    }

    /// <summary>Its close does not end before it is released.</summary>
    private sealed class StuckVolume : OpenVolume
    {
        private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public override IBlockDevice Device { get; } = new NullDrive(DriveBytes);

        public override IReadOnlyList<string> Notes => [];

        public override ArrayJson? GetArray() => null;

        public override Task ResizeAsync(long? sizeBytes, CancellationToken cancellation) => Task.CompletedTask;

        public void End() => _end.TrySetResult();

        public override async ValueTask DisposeAsync() => await _end.Task;
    }
}
