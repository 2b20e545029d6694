// A daemon with a process that stands by: killed under load, killed after it was succeeded, killed too often, asked to end, and
// one that cannot start.

using System.Globalization;
using System.Text;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class StandbyTests : DaemonProcessTestBase
{
    public override void Dispose()
    {
        if (Daemon is { HasExited: false } supervisor)
        {
            supervisor.Kill(entireProcessTree: true);

            // A successor is no child of it, and has its streams.
            if (ServingPid() is > 1 and int pid)
            {
                _ = Libc.kill(pid, SigKill);
            }

            supervisor.WaitForExit();
        }

        base.Dispose();
    }

    /// <summary>The second time the one that is killed is a successor, whom the supervisor has not started.</summary>
    [Fact]
    public void AfterAKillTheOneThatStandsByGoesOnAlsoAfterASuccession()
    {
        Create("data");
        Start("--standby");
        Sandbox.Must("export", "add", "data", "--frontend", "vhost-user", "--socket", Socket("data"), "--queues", "1");
        using var client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = Socket("data"), Depth = InFlight, BufferBytes = BlockBytes, Inflight = true,
        });
        for (int round = 0; round < 2; round++)
        {
            DriverCalls.WriteAll(client, seed: round, Blocks);
            DriverCalls.SubmitWrites(client, seed: 100 + round, firstBlock: 0, InFlight);
            int killed = ServingPid();
            Assert.NotEqual(Daemon!.Id, killed);
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
                    File.ReadAllText(Path.Combine(Sandbox.State, "log", "_daemon.log")), StringComparison.Ordinal);
            if (round == 0)
            {
                Sandbox.Must("daemon", "restart");
                Told("READY=1");
                Assert.NotEqual(heir, ServingPid());
                Assert.False(client.IsDisconnected);
            }
        }

        client.Detach();
        int last = ServingPid();
        int idle = Heir(last);
        Assert.Equal(0, Libc.kill(Daemon!.Id, SigTerm));
        Assert.True(Daemon.WaitForExit(Patience), "the supervisor did not end");
        Assert.Equal(0, Daemon.ExitCode);
        Assert.All((int[])[last, idle], WaitUntilGone);
        Assert.Contains(
            Sandbox.Must("volume", "show", "data", "--json").Json.GetProperty("health").GetString(),
                (string[])["optimal", "dirty"]);
    }

    [Fact]
    public void OneThatEndsByItselfIsNotReplaced()
    {
        Start("--standby");
        SystemProcess second = Sandbox.Start(["daemon", "--standby"]);
        string errors = second.StandardError.ReadToEnd();
        Assert.True(second.WaitForExit(Patience));
        Assert.Equal(4, second.ExitCode);
        Assert.Contains("A daemon works here already", errors, StringComparison.Ordinal);

        // Whoever ends the one that serves, and not its supervisor, means the daemon.
        Assert.Equal(0, Libc.kill(ServingPid(), SigTerm));
        Assert.True(Daemon!.WaitForExit(Patience), "the supervisor did not end");
        Assert.Equal(0, Daemon.ExitCode);
    }

    [Fact]
    public void WithoutItsSupervisorOneServesOnAndTheOneThatStandsByEnds()
    {
        Start("--standby");
        int serving = ServingPid();
        int idle = Heir(serving);
        Assert.Equal(0, Libc.kill(Daemon!.Id, SigKill));
        WaitUntilGone(idle);
        Sandbox.Must("export", "list");
        Assert.Equal(serving, ServingPid());
        Assert.Equal(0, Libc.kill(serving, SigTerm));
        WaitUntilGone(serving);
    }

    [Fact]
    public async Task WhatDiesAgainAndAgainIsReplacedAfterAPauseInWhichItCanBeEnded()
    {
        int killed = 0;
        var isGivenTime = new TaskCompletionSource();
        Start(
            line =>
            {
                if (line.Contains("dies again and again", StringComparison.Ordinal))
                {
                    isGivenTime.TrySetResult();
                }
            },
            "--standby");
        while (!isGivenTime.Task.IsCompleted)
        {
            if (ServingPid() is not 0 and int pid && pid != killed)
            {
                _ = Libc.kill(killed = pid, SigKill);
            }
        }

        await isGivenTime.Task;
        Assert.Equal(0, Libc.kill(Daemon!.Id, SigTerm));
        Assert.True(Daemon.WaitForExit(Patience), "the supervisor did not end");
    }

    /// <summary>The process that serves; 0 while none has the place.</summary>
    private int ServingPid()
    {
        // Without the lock that the framework's streams would take.
        using Drives.Files.DriveReader file = Drives.Files.DriveReader.Open(
            Path.Combine(Sandbox.State, "run", "_daemon", "lock"));
        byte[] text = new byte[16];
        int read = file.ReadAsync(0, text, CancellationToken.None).GetAwaiter().GetResult();
        return int.TryParse(Encoding.ASCII.GetString(text, 0, read).Trim(), CultureInfo.InvariantCulture, out int pid) ? pid : 0;
    }

    /// <summary>The process that stands by, as soon as there is one.</summary>
    private int Heir(int serving)
    {
        long end = Environment.TickCount64 + (long)Patience.TotalMilliseconds;
        for (; Environment.TickCount64 < end; Thread.Sleep(5))
        {
            string children = string.Join(
                ' ', Directory.GetDirectories($"/proc/{Daemon!.Id}/task").Select(t => File.ReadAllText($"{t}/children")));
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
        for (long end = Environment.TickCount64 + (long)Patience.TotalMilliseconds; Libc.kill(pid, 0) == 0; Thread.Sleep(5))
        {
            Assert.True(Environment.TickCount64 < end, $"process {pid} did not end");
        }
    }
}
