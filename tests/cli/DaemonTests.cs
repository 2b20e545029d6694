// The daemon in this process: what it serves, and what comes back; volumes that cannot start or wait for drives beside others
// that are served; exports that come and go; and an end that does not come.

using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Cli.CommandLine;
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

public sealed class DaemonTests : IAsyncDisposable
{
    private const int DriveBytes = 4 << 20;

    /// <summary>Far below this everything is done; a test that waits so long fails.</summary>
    private static readonly TimeSpan s_tooLong = TimeSpan.FromSeconds(120);

    private readonly string _directory = Directory.CreateTempSubdirectory("pbt").FullName;
    private readonly ServiceProvider _services = Composition.Build();
    private VolumeDaemon? _daemon;
    private ControlServer? _control;

    private StateDirectories Directories => new(_directory, Path.Combine(_directory, "run"));

    private VolumeStore Store => new(Directories);

    public async ValueTask DisposeAsync()
    {
        await EndAsync();
        await _services.DisposeAsync();
        Directory.Delete(_directory, recursive: true);
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
        Assert.Equal(2, _daemon!.GetLive().Count);
        Assert.Single(_daemon.GetLive().SelectMany(l => l.Reactors).Select(r => r.Name).Distinct());
        await EndAsync();
        Assert.All(await ExportsAsync(), e => Assert.Equal("no daemon", e.State));
        Assert.Equal("stopped", (await ShowAsync("one")).GetProperty("status").GetString());

        await StartAsync();
        await _daemon!.Settled.WaitAsync(s_tooLong);
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
        await _daemon!.Settled.WaitAsync(s_tooLong);
        DaemonVolumeJson[] volumes = [.. _daemon.GetStatus().Volumes];
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

    [Fact]
    public async Task ALateDriveIsWaitedForAndNamedAndNothingIsDegraded()
    {
        await CreateAsync("late", "raid1", 2);
        await CreateAsync("prompt", "raid1", 2);
        await ExportBothAsync("late", "prompt");
        File.Move(PathOf("late1"), PathOf("away"));
        await StartAsync(wait: s_tooLong);
        await _daemon!.Tried.WaitAsync(s_tooLong);
        DaemonVolumeJson[] volumes = [.. _daemon.GetStatus().Volumes];
        Assert.Equal([DaemonState.Waiting, DaemonState.Served], volumes.Select(v => v.State));
        Assert.Equal([PathOf("late1")], volumes[0].WaitsFor);
        Assert.Equal("waiting", (await ShowAsync("late")).GetProperty("status").GetString());
        File.Move(PathOf("away"), PathOf("late1"));
        await _daemon.Settled.WaitAsync(s_tooLong);
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
        await StartAsync(wait: isAsked ? s_tooLong : TimeSpan.FromMilliseconds(20));
        await _daemon!.Tried.WaitAsync(s_tooLong);
        if (isAsked)
        {
            await MustAsync("volume", "start", "data", "--allow-degraded");
        }

        await _daemon.Settled.WaitAsync(s_tooLong);
        Assert.Equal(DaemonState.Served, Assert.Single(_daemon.GetStatus().Volumes).State);
        Assert.Equal("degraded", (await ShowAsync("data")).GetProperty("health").GetString());
    }

    [Fact]
    public async Task ASingleDriveThatIsLateIsWaitedFor()
    {
        await CreateAsync("data", "none", 1);
        await ExportBothAsync("data");
        File.Move(PathOf("data0"), PathOf("away"));
        await StartAsync(wait: s_tooLong);
        await _daemon!.Tried.WaitAsync(s_tooLong);
        Assert.Equal(DaemonState.Waiting, Assert.Single(_daemon.GetStatus().Volumes).State);
        File.Move(PathOf("away"), PathOf("data0"));
        await _daemon.Settled.WaitAsync(s_tooLong);
        Assert.Equal(DaemonState.Served, Assert.Single(_daemon.GetStatus().Volumes).State);
    }

    [Fact]
    public async Task AnExportIsRemovedWhileOthersServeButNotUnderItsConsumer()
    {
        await CreateAsync("data", "raid1", 2);
        await StartAsync();
        await MustAsync("export", "add", "data", "--frontend", "nbd");
        await MustAsync("export", "add", "data", "--frontend", "nbd");
        ExportJson[] exports = [.. Assert.Single(_daemon!.GetLive()).Exports];
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
        Assert.Equal(DaemonState.Stopped, Assert.Single(_daemon!.GetStatus().Volumes).State);
        Assert.Null(VolumeLock.Holder(Directories, "data"));
        Assert.Equal("clean", (await ShowAsync("data")).GetProperty("array").GetProperty("state").GetString());
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
        Assert.Single(Assert.Single(_daemon!.GetLive()).Exports);
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
            RefusalException e = await Assert.ThrowsAsync<RefusalException>(() => _daemon!.AddExportAsync("data", export, CancellationToken.None));
            Assert.Contains(e.Kind, (RefusalKind[])[RefusalKind.Invalid, RefusalKind.NotFound]);
        }

        await _daemon!.AddExportAsync("data", good, CancellationToken.None).WaitAsync(s_tooLong);
        Assert.True(await _daemon.ShutDownAsync().WaitAsync(s_tooLong));
        await Assert.ThrowsAsync<RefusalException>(() => _daemon.AddExportAsync("data", good, CancellationToken.None));
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
        await _daemon!.Settled.WaitAsync(s_tooLong);
        Assert.Equal((DaemonState.Stopped, false), Assert.Single(_daemon.GetStatus().Volumes) is var v ? (v.State, v.Autostart) : default);
        await MustAsync("volume", "start", "data");
        Assert.Equal("served", (await ShowAsync("data")).GetProperty("status").GetString());
        await MustAsync("volume", "stop", "data");
        Assert.Equal("clean", (await ShowAsync("data")).GetProperty("array").GetProperty("state").GetString());
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
        await _daemon!.Settled.WaitAsync(s_tooLong);
        Assert.False(await _daemon.ShutDownAsync().WaitAsync(s_tooLong));
        Assert.Equal("clean", (await ShowAsync("good")).GetProperty("array").GetProperty("state").GetString());
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

    private DaemonOptions Options(TimeSpan wait) => new(
        ReactorPlan.Make(null, CpuSet.Allowed(), 1), IdlePolicy.Frugal, [.. _services.GetServices<IFrontend>()]) { WaitForDrives = wait };

    private Task StartAsync(TimeSpan? wait = null) => StartAsync(Options(wait ?? TimeSpan.Zero));

    private Task StartAsync(DaemonOptions options)
    {
        _daemon = VolumeDaemon.Start(options, Directories, NullLoggerFactory.Instance);
        _control = ControlServer.Start(
            Directories, StateDirectories.Daemon, (request, c) => DaemonRequests.AnswerAsync(_daemon, null, request, c), NullLogger.Instance);
        return Task.CompletedTask;
    }

    private async Task EndAsync()
    {
        if (_daemon is not null)
        {
            await _control!.DisposeAsync();
            await _daemon.DisposeAsync();
            _daemon = null;
        }
    }

    /// <summary>As if the daemon had been told so before.</summary>
    private async Task ExportBothAsync(params string[] volumes)
    {
        await Task.CompletedTask;
        foreach (string volume in volumes)
        {
            Store.Change(volume, r => r with { Exports = [new ExportRecord { Frontend = "nbd" }] });
        }
    }

    private async Task CreateAsync(string name, string level, int drives)
    {
        string[] files = [.. Enumerable.Range(0, drives).Select(i => $"file:{PathOf($"{name}{i}")},size=4MiB")];
        await MustAsync(["volume", "create", name, "--level", level, .. files]);
    }

    private string PathOf(string name) => Path.Combine(_directory, name);

    private async Task<IReadOnlyList<DaemonExportJson>> ExportsAsync()
    {
        await Task.CompletedTask;
        string output = (await MustAsync("export", "list", "--json")).Output;
        return JsonSerializer.Deserialize(output, Output.OutputJson.Default.IReadOnlyListDaemonExportJson)!;
    }

    private async Task<JsonElement> ShowAsync(string volume) =>
        JsonDocument.Parse((await MustAsync("volume", "show", volume, "--json")).Output).RootElement;

    private async Task<(string Output, string Errors)> MustAsync(params string[] arguments)
    {
        (int code, string output, string errors) = await RunAsync(arguments);
        Assert.True(code == ExitCode.Ok, $"{string.Join(' ', arguments)}: {code}, {errors}");
        return (output, errors);
    }

    private async Task<(int Code, string Output, string Errors)> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var errors = new StringWriter();
        int code = await CliProgram.RunAsync([.. arguments, "--state", _directory], output, errors).WaitAsync(s_tooLong);
        return (code, output.ToString(), errors.ToString());
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
