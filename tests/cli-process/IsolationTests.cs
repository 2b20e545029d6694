// Volumes with a process each: one is killed under its driver and comes back, and the other one's driver does not notice; the
// daemon is killed, and finds them again; it is succeeded, and so are they; its end is theirs.

using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Host.State;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class IsolationTests : IDisposable
{
    private const int SigKill = 9, SigTerm = 15;
    private const int BlockBytes = 64 << 10, Blocks = 32, InFlight = 8;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);

    private readonly PolyblkSandbox _sandbox = new();
    private readonly List<SystemProcess> _daemons = [];

    public void Dispose()
    {
        foreach (SystemProcess daemon in _daemons.Where(d => !d.HasExited))
        {
            daemon.Kill();
            daemon.WaitForExit();
        }

        foreach (int pid in Holders().ToArray())
        {
            _ = Libc.kill(pid, SigKill);
        }

        _daemons.ForEach(d => d.Dispose());
        Until(() => !Holders().Any());
        _sandbox.Dispose();
    }

    private string Run => Path.Combine(_sandbox.State, "run");

    [Fact]
    public void AProcessThatDiesComesBackAndOthersDoNotNotice()
    {
        Create("one", "--isolate", "on");
        Create("two", "--isolate", "on");
        Create("plain");
        int daemon = Start();
        foreach (string name in (string[])["one", "two", "plain"])
        {
            _sandbox.Must("export", "add", name, "--frontend", "vhost-user", "--socket", PathOf(name), "--queues", "1");
        }

        int one = PidOf("one"), two = PidOf("two");
        Assert.Equal(3, new[] { one, two, daemon }.Distinct().Count());
        Assert.Equal(daemon, PidOf("plain"));
        Assert.Equal([("one", (int?)one), ("plain", null), ("two", two)], Volumes().Select(v => (v.Name, v.Pid)));

        using VhostUserClient first = Attach("one", inflight: true), second = Attach("two");
        DriverCalls.WriteAll(second, seed: 2, Blocks);
        DriverCalls.SubmitWrites(first, seed: 1, firstBlock: 0, InFlight);
        Assert.Equal(0, Libc.kill(one, SigKill));
        Until(() => PidOf("one") is var now && now != one && now != 0);
        first.Reconnect();
        DriverCalls.AwaitAll(first);
        DriverCalls.CheckAll(first, seed: 1, InFlight);
        DriverCalls.CheckAll(second, seed: 2, Blocks);
        Assert.Equal(two, PidOf("two"));
        Assert.Contains("Its process ended (137)", _sandbox.Must("events", "one").Output, StringComparison.Ordinal);

        // Commands about the volume go to its process, as to any; a volume that is stopped keeps it, and is served by it again.
        one = PidOf("one");
        first.Detach();
        _sandbox.Must("volume", "set", "one", "--rebuild-rate", "5M");
        _sandbox.Must("volume", "stop", "one", "--force");
        Assert.Equal(0, PidOf("one"));
        _sandbox.Must("volume", "start", "one");
        Assert.Equal(one, PidOf("one"));

        second.Detach();
        Assert.Equal(0, End(SigTerm));
        Assert.Empty(Holders());
    }

    [Fact]
    public void TheDaemonMayDieOrBeSucceededAndTheyGoOn()
    {
        Create("one", "--isolate", "on");
        int daemon = Start();
        _sandbox.Must("export", "add", "one", "--frontend", "vhost-user", "--socket", PathOf("one"), "--queues", "1");
        int one = PidOf("one");
        using VhostUserClient client = Attach("one");
        DriverCalls.WriteAll(client, seed: 5, Blocks);
        End(SigKill);
        DriverCalls.CheckAll(client, seed: 5, Blocks);
        daemon = Start();
        Until(() => Volumes() is [{ State: "served" }]);
        Assert.Equal(one, PidOf("one"));

        string said = _sandbox.Must("daemon", "restart").Output;
        Assert.EndsWith($"has taken over from process {daemon}.\n", said, StringComparison.Ordinal);
        int successor = int.Parse(said.Split(' ')[1], CultureInfo.InvariantCulture);
        int next = PidOf("one");
        Assert.Equal(3, new[] { one, next, successor }.Distinct().Count());
        DriverCalls.CheckAll(client, seed: 5, Blocks);
        Assert.False(client.IsDisconnected);
        client.Detach();

        // In the daemon's process from its next start on.
        _sandbox.Must("volume", "set", "one", "--isolate", "off");
        Assert.Equal(next, PidOf("one"));
        _sandbox.Must("volume", "stop", "one", "--force");
        _sandbox.Must("volume", "start", "one");
        Assert.Equal(successor, PidOf("one"));
        Assert.Null(HolderOf("_isolated-one"));
        Assert.Equal(0, Libc.kill(successor, SigTerm));
        Until(() => HolderOf("_daemon") is null);
    }

    [Fact]
    public void TheLastExportEndsTheProcessAndABadStartIsTold()
    {
        Create("one", "--isolate", "on");
        Start();
        _sandbox.Must("export", "add", "one", "--frontend", "nbd");
        Assert.NotNull(HolderOf("_isolated-one"));
        _sandbox.Must("export", "remove", "one/nbd/0");
        Assert.Null(HolderOf("_isolated-one"));
        RunOutput refused = _sandbox.Run("export", "add", "one", "--frontend", "nbd", "--socket", Path.Combine(Run, "one"));
        Assert.NotEqual(0, refused.ExitCode);
        Assert.Contains(Path.Combine(Run, "one"), refused.Errors, StringComparison.Ordinal);
        Assert.Null(HolderOf("_isolated-one"));
        Assert.Equal(0, End(SigTerm));
    }

    private static void Until(Func<bool> isSo)
    {
        for (long began = Stopwatch.GetTimestamp(); !isSo(); Thread.Sleep(10))
        {
            Assert.True(Stopwatch.GetElapsedTime(began) < s_patience, "waited in vain");
        }
    }

    /// <summary>The process that has a place: the daemon's, or that of a volume.</summary>
    private int? HolderOf(string place) => VolumeLock.Holder(new StateDirectories(_sandbox.State, Run), place);

    private IEnumerable<int> Holders() =>
        (Directory.Exists(Run) ? Directory.GetDirectories(Run, "_*") : []).Select(f => HolderOf(Path.GetFileName(f))).OfType<int>();

    private int Start()
    {
        SystemProcess daemon = _sandbox.Start(["daemon"]);
        _ = daemon.StandardError.ReadToEndAsync();
        _daemons.Add(daemon);
        Until(() => _sandbox.Run("export", "list") is { ExitCode: 0 } list
            && !list.Errors.Contains("No daemon", StringComparison.Ordinal));
        return daemon.Id;
    }

    private int End(int signal)
    {
        Assert.Equal(0, Libc.kill(_daemons[^1].Id, signal));
        Assert.True(_daemons[^1].WaitForExit(s_patience), "the daemon did not end");
        return _daemons[^1].ExitCode;
    }

    private void Create(string name, params string[] options) => _sandbox.Must(
        ["volume", "create", name, "--level", "raid5", .. options,
            .. Enumerable.Range(0, 3).Select(i => $"file:{_sandbox.PathOf($"{name}{i}")},size=8MiB")]);

    private VhostUserClient Attach(string name, bool inflight = false) => new(new VhostUserClientOptions
    {
        SocketPath = PathOf(name), Queues = 1, Depth = InFlight, BufferBytes = BlockBytes, Inflight = inflight,
    });

    private string PathOf(string name) => _sandbox.PathOf(name + ".sock");

    /// <summary>Who serves a volume; 0 for nobody.</summary>
    private int PidOf(string volume) =>
        _sandbox.Must("volume", "show", volume, "--json").Json.TryGetProperty("live", out JsonElement live)
            ? live.GetProperty("pid").GetInt32() : 0;

    /// <summary>The volumes of the daemon, as its API says.</summary>
    private (string Name, string State, int? Pid)[] Volumes()
    {
        using var client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(Path.Combine(Run, "_daemon", "api.sock")), cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            },
        });
        string text = client.GetStringAsync(new Uri("http://polyblk/v1/volumes")).GetAwaiter().GetResult();
        return
        [
            .. JsonDocument.Parse(text).RootElement.EnumerateArray().Select(v => (
                v.GetProperty("name").GetString()!, v.GetProperty("state").GetString()!,
                    v.TryGetProperty("pid", out JsonElement pid) ? pid.GetInt32() : (int?)null)),
        ];
    }
}
