// The daemon as a process: succeeded by another under load; killed under load with two volumes, and everything is back; a drive
// that is missing beside a volume that is served; an export that is removed under its consumer; and what it tells systemd.

using System.Globalization;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using SystemProcess = System.Diagnostics.Process;

namespace Polyblk.Cli.Process.Tests;

public sealed class DaemonTests : DaemonProcessTestBase
{
    [Fact]
    public void AfterAKillUnderLoadEverythingIsBack()
    {
        string[] names = ["one", "two"];
        Array.ForEach(names, Create);
        Start();
        foreach (string name in names)
        {
            Sandbox.Must("export", "add", name, "--frontend", "vhost-user", "--socket", Socket(name), "--queues", "1");
            Sandbox.Must("export", "add", name, "--frontend", "nbd", "--read-only");
        }

        VhostUserClient[] clients = [.. names.Select(name => new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = Socket(name), Depth = InFlight, BufferBytes = BlockBytes, Inflight = true,
        }))];
        for (int round = 0; round < 2; round++)
        {
            for (int i = 0; i < clients.Length; i++)
            {
                DriverCalls.WriteAll(clients[i], seed: 10 * round + i, Blocks);

                // None of these is awaited when the daemon dies.
                DriverCalls.SubmitWrites(clients[i], seed: 100 + 10 * round + i, firstBlock: 0, InFlight);
            }

            End(SigKill);
            Start();
            Assert.Equal(
                ["one/nbd/0 serving", "one/vhost-user/0 serving", "two/nbd/0 serving", "two/vhost-user/0 serving"],
                Exports().Select(e => $"{e.Id} {e.State}").Order(StringComparer.Ordinal));
            for (int i = 0; i < clients.Length; i++)
            {
                clients[i].Reconnect();
                DriverCalls.AwaitAll(clients[i]);
                DriverCalls.CheckAll(clients[i], seed: 100 + 10 * round + i, InFlight);
                DriverCalls.CheckRange(clients[i], seed: 10 * round + i, InFlight, Blocks - InFlight);
            }
        }

        Array.ForEach(clients, c => c.Dispose());
        Assert.Equal(0, End(SigTerm));

        // A resync that was under way goes on at the next start; nothing else is wrong.
        Assert.All(names, name => Assert.Contains(Show(name).GetProperty("health").GetString(), (string[])["optimal", "dirty"]));
    }

    /// <summary>
    /// Two volumes; of one a driver that has writes under way all the time and checks what it wrote, of the other one that only
    /// reads at the end. Neither connects again.
    /// </summary>
    [Fact]
    public async Task ASuccessorTakesOverUnderLoadAndNobodyNotices()
    {
        string[] names = ["one", "two"];
        Array.ForEach(names, Create);
        Start();
        foreach (string name in names)
        {
            Sandbox.Must("export", "add", name, "--frontend", "vhost-user", "--socket", Socket(name), "--queues", "1");
            Sandbox.Must("export", "add", name, "--frontend", "nbd", "--socket", Socket(name + "-nbd"), "--read-only");
        }

        using VhostUserClient busy = Attach("one");
        using VhostUserClient calm = Attach("two");
        DriverCalls.WriteAll(calm, seed: 77, Blocks);
        using var enough = new CancellationTokenSource();
        Task<int> load = Task.Run(() =>
        {
            int round = 0;
            for (; !enough.IsCancellationRequested; round++)
            {
                DriverCalls.WriteAll(busy, round, Blocks);
                DriverCalls.CheckAll(busy, round, Blocks);
            }

            return round;
        });
        int pid = Daemon!.Id;
        try
        {
            for (int round = 0; round < 3; round++)
            {
                string said = Sandbox.Must("daemon", "restart").Output;
                int successor = int.Parse(said.Split(' ')[1], CultureInfo.InvariantCulture);
                Assert.Equal($"Process {successor} has taken over from process {pid}.", said.Trim());
                Assert.NotEqual(pid, successor);
                Assert.Equal($"MAINPID={successor}", Told("MAINPID="));
                Assert.Contains("serves 2 of 2 volumes", Told("READY=1"), StringComparison.Ordinal);
                pid = successor;
                Assert.All(Exports(), e => Assert.Equal("serving", e.State));
                Assert.True(File.Exists(Socket("one-nbd")));
                Sandbox.Must("volume", "set", "one", "--rebuild-rate", $"{round + 1}M");
            }
        }
        finally
        {
            // It uses memory that goes with the client.
            await enough.CancelAsync();
            await Task.WhenAny(load);
        }

        Assert.Equal(0, WaitForEnd(Daemon));
        Assert.True(await load > 0);
        DriverCalls.CheckAll(calm, seed: 77, Blocks);
        Assert.False(busy.IsDisconnected || calm.IsDisconnected);

        // The last of them ends as every daemon does.
        busy.Detach();
        calm.Detach();
        Assert.Equal(0, Libc.kill(pid, SigTerm));
        while (Libc.kill(pid, 0) == 0)
        {
            Thread.Sleep(10);
        }

        Assert.All(names, name => Assert.Contains(Show(name).GetProperty("health").GetString(), (string[])["optimal", "dirty"]));
    }

    [Fact]
    public void AMissingDriveIsWaitedForWhileAnotherVolumeIsServedAndTheEndDoesNotWait()
    {
        Create("late");
        Create("prompt");
        Start();
        Sandbox.Must("export", "add", "late", "--frontend", "vhost-user");
        Sandbox.Must("export", "add", "prompt", "--frontend", "vhost-user", "--socket", Socket("prompt"));
        Assert.Equal(0, Sandbox.Run("check").ExitCode);
        Assert.Equal(0, End(SigTerm));
        RunOutput unserved = Sandbox.Run("check");
        Assert.Equal(2, unserved.ExitCode);
        Assert.Contains("no daemon serves it", unserved.Output, StringComparison.Ordinal);
        File.Move(Member("late", 1), Member("late", 1) + ".away");

        string told = Start("--wait", "3600");
        Assert.Contains($"late waits for {Member("late", 1)}", told, StringComparison.Ordinal);
        Assert.Equal("waiting", Show("late").GetProperty("status").GetString());
        Assert.Equal(1, Sandbox.Run("check", "late").ExitCode);
        Assert.Equal(0, Sandbox.Run("check", "prompt").ExitCode);
        using (VhostUserClient client = Attach("prompt"))
        {
            DriverCalls.WriteAll(client, seed: 7, Blocks);
            DriverCalls.CheckAll(client, seed: 7, Blocks);
            client.Detach();
        }

        Assert.Equal(0, End(SigTerm));

        // All of its members are gone: it fails, and the other one is served.
        for (int i = 0; i < 3; i++)
        {
            File.Delete(Member("late", i));
        }

        Start("--wait", "0");
        RunOutput check = Sandbox.Run("check");
        Assert.Equal(2, check.ExitCode);
        Assert.Contains("prompt: optimal", check.Output, StringComparison.Ordinal);
        Assert.All(Sandbox.Must("volume", "list").Output.Split('\n'), line => Assert.True(line.Length <= 80, line));
        Assert.Equal(["failed", "serving"], Exports().Select(e => e.State));
        Assert.Equal(0, End(SigTerm));
    }

    [Fact]
    public void AnExportIsNotRemovedUnderItsConsumerUnlessForced()
    {
        Create("data");
        Start();
        Sandbox.Must("export", "add", "data", "--frontend", "vhost-user", "--socket", Socket("data"));
        Sandbox.Must("export", "add", "data", "--frontend", "vhost-user", "--socket", Socket("other"));
        using VhostUserClient kept = Attach("other");
        DriverCalls.WriteAll(kept, seed: 1, Blocks);
        using (VhostUserClient client = Attach("data"))
        {
            RunOutput refused = Sandbox.Run("export", "remove", "data/vhost-user/0");
            Assert.Equal(4, refused.ExitCode);
            Assert.Contains("--force", refused.Errors, StringComparison.Ordinal);
            DriverCalls.CheckAll(client, seed: 1, Blocks);
            Sandbox.Must("export", "remove", "data/vhost-user/0", "--force");
            Assert.False(File.Exists(Socket("data")));
        }

        DriverCalls.CheckAll(kept, seed: 1, Blocks);
        Assert.Equal(["serving"], Exports().Select(e => e.State));
        kept.Detach();
        Assert.Equal(0, End(SigTerm));
    }
}
