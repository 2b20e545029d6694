// A daemon that is succeeded by another one: what is attached notices nothing, and a successor that cannot, or dies, harms as
// little as is possible at that moment.

using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Host;
using Polyblk.Host.Daemon;
using Polyblk.Host.Daemon.HandOver;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;
using Polyblk.Host.Volumes;

namespace Polyblk.Cli.Tests;

public sealed class HandOverTests : DaemonTestBase
{
    private const int BlockBytes = 4096;
    private HandOverServer? _handOver;
    private VolumeDaemon? _successor;

    public override async ValueTask DisposeAsync()
    {
        await EndPredecessorAsync();
        if (_successor is not null)
        {
            await _successor.DisposeAsync();
        }

        await base.DisposeAsync();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task VolumesGoOverWithTheirSessionsAndWhatWasStoppedStaysSo()
    {
        await StartWithAsync("one", "two", "off");
        await MustAsync("volume", "stop", "off");
        using VhostUserClient one = Attach("one");
        using VhostUserClient two = Attach("two");
        Put(one, 1);
        Put(two, 2);

        await SucceedAsync();
        Assert.Equal(
            [("off", DaemonState.Stopped), ("one", DaemonState.Served), ("two", DaemonState.Served)],
            _successor!.GetStatus().Volumes.Select(v => (v.Name, v.State)));
        Check(one, 1);
        Check(two, 2);
        Put(one, 3);
        Check(one, 3);
        Assert.False(one.IsDisconnected || two.IsDisconnected);
        Assert.Equal("optimal", (await ShowAsync("one")).GetProperty("health").GetString());

        // And once more: what was taken over can be handed over.
        (Daemon, _successor) = (_successor, null);
        _handOver = HandOverServer.Start(Daemon!, Directories, NullLogger.Instance);
        await SucceedAsync();
        Check(one, 3);
        Put(two, 4);
        Check(two, 4);
        var events = new EventStore(Directories);
        await UntilAsync(() => events.Read(volume: "one").Count(e => e.Kind == EventKinds.VolumeServed) == 3);
        Assert.DoesNotContain(events.Read(volume: "one"), e => e.Kind == EventKinds.VolumeStopped);
    }

    /// <summary>The other one's session goes over with it.</summary>
    [Fact]
    public async Task AnExportThatCannotBeMadeIsNoneForTheSuccessorEither()
    {
        await StartWithAsync("one");
        await MustAsync("export", "add", "one", "--frontend", "nbd", "--socket", PathOf("n"));
        await EndPredecessorAsync();
        await EndAsync();
        await File.WriteAllTextAsync(PathOf("n"), "no socket");
        await StartAsync();
        _handOver = HandOverServer.Start(Daemon!, Directories, NullLogger.Instance);
        await Daemon!.Settled.WaitAsync(TooLong);
        using VhostUserClient one = Attach("one");
        Put(one, 1);

        await SucceedAsync();
        Check(one, 1);
        Assert.False(one.IsDisconnected);
        DaemonVolumeJson volume = Assert.Single(_successor!.GetStatus().Volumes);
        Assert.Equal(["one/vhost-user/0 serving", "one/nbd/0 failed"], volume.Exports.Select(e => $"{e.Id} {e.State}"));
    }

    [Fact]
    public async Task WhereTheFirstVolumeCannotBeOpenedNothingHasChanged()
    {
        await StartWithAsync("one", "two");
        using VhostUserClient one = Attach("one");
        Put(one, 1);
        RefusalException refused = await Assert.ThrowsAsync<RefusalException>(() => SucceedAsync(cannotOpen: "one"));
        Assert.Contains("goes on", refused.Message, StringComparison.Ordinal);
        Assert.Null(_successor);
        Assert.False(_handOver!.Completed.IsCompleted);
        Check(one, 1);
        Put(one, 2);
        Check(one, 2);
        Assert.False(one.IsDisconnected);
        Assert.All(Daemon!.GetStatus().Volumes, v => Assert.Equal(DaemonState.Served, v.State));

        // Nothing has ended: neither the daemon nor the volume.
        var events = new EventStore(Directories);
        await UntilAsync(() => events.Read(volume: "one").Count(e => e.Kind == EventKinds.VolumeServed) == 2);
        Assert.DoesNotContain(events.Read(), e => e.Kind is EventKinds.DaemonEnding or EventKinds.VolumeStopped);

        // It takes changes again, and another successor.
        await MustAsync("export", "add", "two", "--frontend", "nbd");
        await SucceedAsync();
        Check(one, 2);
    }

    [Fact]
    public async Task ALaterOneThatCannotBeOpenedIsShownAsFailedAndHarmsNoOther()
    {
        await StartWithAsync("one", "two");
        using VhostUserClient one = Attach("one");
        using VhostUserClient two = Attach("two");
        Put(one, 1);
        Put(two, 2);
        await SucceedAsync(cannotOpen: "two");
        DaemonVolumeJson failed = _successor!.GetStatus().Volumes.Single(v => v.Name == "two");
        Assert.Equal(DaemonState.Failed, failed.State);
        Assert.Contains("out of order", failed.Reason, StringComparison.Ordinal);
        Check(one, 1);
        await UntilAsync(() => two.IsDisconnected);
    }

    /// <summary>It dies with the volume closed here and its sessions not given: they go on.</summary>
    [Fact]
    public async Task ASuccessorThatDiesBeforeItHasTheSessionsChangesNothing()
    {
        await StartWithAsync("one");
        using VhostUserClient one = Attach("one");
        Put(one, 1);
        using (Predecessor asked = Predecessor.Find(Directories)!)
        {
            Assert.Equal(["one"], asked.Served);
            asked.Ask("one");
            await Assert.ThrowsAsync<RefusalException>(() => Daemon!.StartVolumeAsync("one", new StartPermissions(), default));
        }

        await AreServedAsync();
        Check(one, 1);
        Assert.False(one.IsDisconnected);
    }

    /// <summary>It dies with the sessions, which end as when a daemon is killed; the volume is served again.</summary>
    [Fact]
    public async Task ASuccessorThatDiesWithTheSessionsIsLikeAKill()
    {
        await StartWithAsync("one");
        using VhostUserClient one = Attach("one");
        Put(one, 1);
        using (Predecessor asked = Predecessor.Find(Directories)!)
        {
            asked.Ask("one");
            asked.TakeLuggage("one").Dispose();
        }

        await UntilAsync(() => one.IsDisconnected);
        await AreServedAsync();
        one.Reconnect();
        Check(one, 1);
    }

    /// <summary>Closing it would be its end: the guest would go on with an empty disk.</summary>
    [Fact]
    public async Task AVolumeInTheMemoryOfThisProcessKeepsItFromBeingSucceeded()
    {
        await MustAsync("volume", "create", "ram", "--level", "none", "ram:8MiB");
        await StartAsync();
        _handOver = HandOverServer.Start(Daemon!, Directories, NullLogger.Instance);
        await MustAsync("export", "add", "ram", "--frontend", "vhost-user", "--socket", PathOf("ram.sock"));
        using VhostUserClient client = Attach("ram");
        Put(client, 1);
        RefusalException refused = await Assert.ThrowsAsync<RefusalException>(() => SucceedAsync());
        Assert.Contains("in the memory of this process", refused.Message, StringComparison.Ordinal);
        Check(client, 1);
    }

    /// <summary>It was served without the member before, and nothing was written since: only the permission says so.</summary>
    [Fact]
    public async Task OneThatIsDegradedGoesOverAsItIs()
    {
        await StartWithAsync("one");
        await EndPredecessorAsync();
        await EndAsync();
        File.Move(PathOf("one1"), PathOf("away"));
        await StartAsync();
        await Daemon!.Settled.WaitAsync(TooLong);
        _handOver = HandOverServer.Start(Daemon!, Directories, NullLogger.Instance);
        using VhostUserClient one = Attach("one");
        await SucceedAsync();
        Put(one, 1);
        Check(one, 1);
        Assert.Equal("degraded", (await ShowAsync("one")).GetProperty("health").GetString());
    }

    /// <summary>A drive that is missing just then is no reason to go on without it.</summary>
    [Fact]
    public async Task OneThatLacksNothingIsNotDegradedByIt()
    {
        await StartWithAsync("one");
        using VhostUserClient one = Attach("one");
        Put(one, 1);
        File.Move(PathOf("one1"), PathOf("away"));
        await Assert.ThrowsAsync<RefusalException>(() => SucceedAsync());
        Check(one, 1);
    }

    /// <summary>The successor would serve it again, which nobody expects who stopped it.</summary>
    [Fact]
    public async Task AStopThatComesMeanwhileIsRefused()
    {
        await StartWithAsync("one", "two");
        using VhostUserClient one = Attach("one");
        Put(one, 1);
        string refused = string.Empty;
        await SucceedAsync(whenOpening: async name =>
        {
            if (name == "one")
            {
                (int code, _, refused) = await RunAsync("volume", "stop", "two");
                Assert.Equal(ExitCode.Refused, code);
            }
        });
        Assert.Contains("is being succeeded by another. Try again in a moment.", refused, StringComparison.Ordinal);
        Assert.All(_successor!.GetStatus().Volumes, v => Assert.Equal(DaemonState.Served, v.State));
        Check(one, 1);
    }

    [Fact]
    public async Task OneOfAnotherVersionIsToldWhyNot()
    {
        await StartWithAsync("one");
        using var channel = new HandOverChannel(UnixSocket.Connect(HandOverServer.PathOf(Directories)));
        channel.Send(new HandOverMessage { Kind = HandOverMessage.TakeOver, Version = HandOverMessage.CurrentVersion + 1, Pid = 1 });
        HandOverMessage answer = channel.Receive(out _);
        Assert.Equal(HandOverMessage.Refused, answer.Kind);
        Assert.Contains("version", answer.Reason, StringComparison.Ordinal);
        await AreServedAsync();
    }

    [Fact]
    public async Task WhereNoDaemonWorksItIsAnOrdinaryStart()
    {
        await CreateAsync("one", "raid1", 2);
        await ExportBothAsync("one");
        _successor = await VolumeDaemon.TakeOverAsync(Options(TimeSpan.Zero), Directories, NullLoggerFactory.Instance, default);
        await _successor.Settled.WaitAsync(TooLong);
        Assert.Equal(DaemonState.Served, _successor.GetStatus().Volumes.Single().State);
    }

    private async Task StartWithAsync(params string[] volumes)
    {
        foreach (string volume in volumes)
        {
            await CreateAsync(volume, "raid1", 2);
        }

        await StartAsync();
        _handOver = HandOverServer.Start(Daemon!, Directories, NullLogger.Instance);
        foreach (string volume in volumes)
        {
            await MustAsync("export", "add", volume, "--frontend", "vhost-user", "--socket", PathOf(volume + ".sock"));
        }
    }

    /// <summary>Has the daemon succeeded by another one; where it is not, nothing of that one is left.</summary>
    private async Task SucceedAsync(string? cannotOpen = null, Func<string, Task>? whenOpening = null)
    {
        DaemonOptions options = Options(TimeSpan.Zero);
        Task<VolumeDaemon> taking = Task.Run(() => VolumeDaemon.TakeOverAsync(
            options with
            {
                Serve = new ServeOptions(options.Plan, options.Idle, new VolumeStart())
                {
                    Open = async (record, reactors, start, logging, cancellation) =>
                    {
                        await (whenOpening?.Invoke(record.Name) ?? Task.CompletedTask);
                        return record.Name == cannotOpen
                            ? throw RefusalException.Refused("out of order")
                            : await VolumeOpener.OpenAsync(record, reactors, start, logging, cancellation);
                    },
                },
            },
            Directories, NullLoggerFactory.Instance, CancellationToken.None));
        Task first = await Task.WhenAny(taking, _handOver!.Completed).WaitAsync(TooLong);
        if (first != taking)
        {
            await EndPredecessorAsync();
            await EndAsync();
        }

        _successor = await taking.WaitAsync(TooLong);
        await _successor.Settled.WaitAsync(TooLong);
    }

    private async Task EndPredecessorAsync()
    {
        if (_handOver is not null)
        {
            await _handOver.DisposeAsync();
            _handOver = null;
        }
    }

    private Task AreServedAsync() => UntilAsync(() => Daemon!.GetStatus().Volumes.All(v => v.State == DaemonState.Served));

    private static async Task UntilAsync(Func<bool> isSo)
    {
        using var limit = new CancellationTokenSource(TooLong);
        while (!isSo())
        {
            await Task.Delay(10, limit.Token);
        }
    }

    private VhostUserClient Attach(string volume) => new(new VhostUserClientOptions
    {
        SocketPath = PathOf(volume + ".sock"), Depth = 4, BufferBytes = BlockBytes, Inflight = true,
    });

    private static void Put(VhostUserClient client, byte value)
    {
        client.Queues[0].Buffer(0).Fill(value);
        Assert.Equal(0, Do(client, ClientOperation.Write));
    }

    private static void Check(VhostUserClient client, byte value)
    {
        client.Queues[0].Buffer(0).Clear();
        Assert.Equal(0, Do(client, ClientOperation.Read));
        Assert.Equal(-1, client.Queues[0].Buffer(0).IndexOfAnyExcept(value));
    }

    private static byte Do(VhostUserClient client, ClientOperation operation)
    {
        ClientQueue queue = client.Queues[0];
        queue.Submit(0, operation, 0, BlockBytes);
        queue.Publish();
        Span<ClientCompletion> done = stackalloc ClientCompletion[1];
        using var limit = new CancellationTokenSource(TooLong);
        while (queue.Poll(done) == 0)
        {
            limit.Token.ThrowIfCancellationRequested();
            queue.Wait(20);
        }

        return done[0].Status;
    }
}
