// A daemon with a process that stands by: killed under load, killed after it was succeeded, killed too often, asked to end, and
// one that cannot start.

using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class StandbyTests : IDisposable
{
    private const int SigKill = 9;
    private const int SigTerm = 15;
    private const int BlockBytes = 64 << 10;
    private const int Blocks = 48;
    private const int InFlight = 16;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);

    private readonly PolyblkSandbox _sandbox = new();
    private readonly Socket _systemd = new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
    private SystemProcess? _supervisor;

    public StandbyTests() => _systemd.Bind(new UnixDomainSocketEndPoint(_sandbox.PathOf("notify")));

    public void Dispose()
    {
        if (_supervisor is { HasExited: false })
        {
            _supervisor.Kill(entireProcessTree: true);

            // A successor is no child of it, and has its streams.
            if (ServingPid() is > 1 and int pid)
            {
                _ = Libc.kill(pid, SigKill);
            }

            _supervisor.WaitForExit();
        }

        _supervisor?.Dispose();
        _systemd.Dispose();
        _sandbox.Dispose();
    }

    /// <summary>The second time the one that is killed is a successor, whom the supervisor has not started.</summary>
    [Fact]
    public void AfterAKillTheOneThatStandsByGoesOnAlsoAfterASuccession()
    {
        Create("data");
        Start();
        _supervisor!.BeginErrorReadLine();
        _sandbox.Must("export", "add", "data", "--frontend", "vhost-user", "--socket", Socket, "--queues", "1");
        using var client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = Socket, Depth = InFlight, BufferBytes = BlockBytes, Inflight = true,
        });
        for (int round = 0; round < 2; round++)
        {
            DriverCalls.WriteAll(client, seed: round, Blocks);
            DriverCalls.SubmitWrites(client, seed: 100 + round, firstBlock: 0, InFlight);
            int killed = ServingPid();
            Assert.NotEqual(_supervisor.Id, killed);
            int heir = Heir(killed);
            Assert.Equal(0, Libc.kill(killed, SigKill));
            Assert.StartsWith("READY=1", Told("READY=1"), StringComparison.Ordinal);
            Assert.Equal(heir, ServingPid());
            client.Reconnect();
            DriverCalls.AwaitAll(client);
            DriverCalls.CheckAll(client, seed: 100 + round, InFlight);
            DriverCalls.CheckRange(client, seed: round, InFlight, Blocks - InFlight);
            Assert.Contains(
                $"The daemon has died (process {killed}, {(round == 0 ? "signal 9" : "no exit code")})",
                    File.ReadAllText(Path.Combine(_sandbox.State, "log", "_daemon.log")), StringComparison.Ordinal);
            if (round == 0)
            {
                _sandbox.Must("daemon", "restart");
                Told("READY=1");
                Assert.NotEqual(heir, ServingPid());
                Assert.False(client.IsDisconnected);
            }
        }

        client.Detach();
        int last = ServingPid();
        int idle = Heir(last);
        Assert.Equal(0, Libc.kill(_supervisor!.Id, SigTerm));
        Assert.True(_supervisor.WaitForExit(s_patience), "the supervisor did not end");
        Assert.Equal(0, _supervisor.ExitCode);
        Assert.All((int[])[last, idle], WaitUntilGone);
        Assert.Contains(
            _sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("health").GetString(),
                (string[])["optimal", "dirty"]);
    }

    [Fact]
    public void OneThatEndsByItselfIsNotReplaced()
    {
        Start();
        _supervisor!.BeginErrorReadLine();
        SystemProcess second = _sandbox.Start(["daemon", "--standby"]);
        string errors = second.StandardError.ReadToEnd();
        Assert.True(second.WaitForExit(s_patience));
        Assert.Equal(4, second.ExitCode);
        Assert.Contains("A daemon works here already", errors, StringComparison.Ordinal);

        // Whoever ends the one that serves, and not its supervisor, means the daemon.
        Assert.Equal(0, Libc.kill(ServingPid(), SigTerm));
        Assert.True(_supervisor!.WaitForExit(s_patience), "the supervisor did not end");
        Assert.Equal(0, _supervisor.ExitCode);
    }

    [Fact]
    public void WithoutItsSupervisorOneServesOnAndTheOneThatStandsByEnds()
    {
        Start();
        _supervisor!.BeginErrorReadLine();
        int serving = ServingPid();
        int idle = Heir(serving);
        Assert.Equal(0, Libc.kill(_supervisor!.Id, SigKill));
        WaitUntilGone(idle);
        _sandbox.Must("export", "list");
        Assert.Equal(serving, ServingPid());
        Assert.Equal(0, Libc.kill(serving, SigTerm));
        WaitUntilGone(serving);
    }

    [Fact]
    public async Task WhatDiesAgainAndAgainIsReplacedAfterAPauseInWhichItCanBeEnded()
    {
        Start();
        int killed = 0;
        var isGivenTime = new TaskCompletionSource();
        _supervisor!.ErrorDataReceived += (_, line) =>
        {
            if (line.Data?.Contains("dies again and again", StringComparison.Ordinal) ?? false)
            {
                isGivenTime.TrySetResult();
            }
        };
        _supervisor.BeginErrorReadLine();
        while (!isGivenTime.Task.IsCompleted)
        {
            if (ServingPid() is not 0 and int pid && pid != killed)
            {
                _ = Libc.kill(killed = pid, SigKill);
            }
        }

        await isGivenTime.Task;
        Assert.Equal(0, Libc.kill(_supervisor.Id, SigTerm));
        Assert.True(_supervisor.WaitForExit(s_patience), "the supervisor did not end");
    }

    private string Socket => _sandbox.PathOf("data.sock");

    private void Create(string name) => _sandbox.Must(
        ["volume", "create", name, "--level", "raid5",
            .. Enumerable.Range(0, 3).Select(i => $"file:{_sandbox.PathOf($"{name}{i}")},size=16MiB")]);

    private void Start()
    {
        _supervisor = _sandbox.Start(
            ["daemon", "--standby"], start => start.Environment["NOTIFY_SOCKET"] = _sandbox.PathOf("notify"));
        Told("READY=1");
    }

    /// <summary>The process that serves; 0 while none has the place.</summary>
    private int ServingPid()
    {
        // Without the lock that the framework's streams would take.
        using Drives.Files.DriveReader file = Drives.Files.DriveReader.Open(
            Path.Combine(_sandbox.State, "run", "_daemon", "lock"));
        byte[] text = new byte[16];
        int read = file.ReadAsync(0, text, CancellationToken.None).GetAwaiter().GetResult();
        return int.TryParse(Encoding.ASCII.GetString(text, 0, read).Trim(), CultureInfo.InvariantCulture, out int pid) ? pid : 0;
    }

    /// <summary>The process that stands by, as soon as there is one.</summary>
    private int Heir(int serving)
    {
        long end = Environment.TickCount64 + (long)s_patience.TotalMilliseconds;
        for (; Environment.TickCount64 < end; Thread.Sleep(5))
        {
            string children = string.Join(
                ' ', Directory.GetDirectories($"/proc/{_supervisor!.Id}/task").Select(t => File.ReadAllText($"{t}/children")));
            int[] others = [.. children.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(
                c => int.Parse(c, CultureInfo.InvariantCulture)).Where(c => c != serving)];
            if (others is [int only] && File.ReadAllText($"/proc/{only}/stat").Contains(") S", StringComparison.Ordinal))
            {
                return only;
            }
        }

        throw new TimeoutException("Nobody stands by.");
    }

    private static void WaitUntilGone(int pid)
    {
        for (long end = Environment.TickCount64 + (long)s_patience.TotalMilliseconds; Libc.kill(pid, 0) == 0; Thread.Sleep(5))
        {
            Assert.True(Environment.TickCount64 < end, $"process {pid} did not end");
        }
    }

    private string Told(string beginning)
    {
        _systemd.ReceiveTimeout = (int)s_patience.TotalMilliseconds;
        while (true)
        {
            byte[] bytes = new byte[4096];
            string told = Encoding.UTF8.GetString(bytes, 0, _systemd.Receive(bytes));
            if (told.StartsWith(beginning, StringComparison.Ordinal))
            {
                return told;
            }
        }
    }
}
