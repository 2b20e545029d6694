// Volumes with a process each: one is killed under its driver and comes back, and the other one's driver does not notice; the
// daemon is killed, and finds them again; it is succeeded, and so are they; its end is theirs.

using System.Globalization;
using System.Text.Json;
using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Host.State;

namespace Polyblk.Cli.Process.Tests;

public sealed class IsolationTests : DaemonProcessTestBase
{
    public override void Dispose()
    {
        if (Daemon is { HasExited: false })
        {
            Daemon.Kill();
            Daemon.WaitForExit();
        }

        foreach (int pid in Holders().ToArray())
        {
            _ = Libc.kill(pid, SigKill);
        }

        Wait.Until(() => !Holders().Any(), "the processes of volumes");
        base.Dispose();
    }

    private string Run => Path.Combine(Sandbox.State, "run");

    [Fact]
    public void AProcessThatDiesComesBackAndOthersDoNotNotice()
    {
        Create("one", "--isolate", "on");
        Create("two", "--isolate", "on");
        Create("plain");
        Start();
        int daemon = Daemon!.Id;
        foreach (string name in (string[])["one", "two", "plain"])
        {
            Sandbox.Must("export", "add", name, "--frontend", "vhost-user", "--socket", Socket(name), "--queues", "1");
        }

        // What systemd shows of the daemon follows, also of processes that volumes have of their own.
        Assert.Contains("serves 3 of 3 volumes", Told("STATUS=serves 3"), StringComparison.Ordinal);

        int one = PidOf("one"), two = PidOf("two");
        Assert.Equal(3, new[] { one, two, daemon }.Distinct().Count());
        Assert.Equal(daemon, PidOf("plain"));
        Assert.Equal([("one", (int?)one), ("plain", null), ("two", two)], Volumes().Select(v => (v.Name, v.Pid)));

        using VhostUserClient first = Attach("one", inflight: true), second = Attach("two");
        DriverCalls.WriteAll(second, seed: 2, Blocks);
        DriverCalls.SubmitWrites(first, seed: 1, firstBlock: 0, InFlight);
        Assert.Equal(0, Libc.kill(one, SigKill));
        Wait.Until(() => PidOf("one") is var now && now != one && now != 0, "the process");
        first.Reconnect();
        DriverCalls.AwaitAll(first);
        DriverCalls.CheckAll(first, seed: 1, InFlight);
        DriverCalls.CheckAll(second, seed: 2, Blocks);
        Assert.Equal(two, PidOf("two"));
        Assert.Contains("Its process ended (137)", Sandbox.Must("events", "one").Output, StringComparison.Ordinal);

        // Commands about the volume go to its process, as to any; a volume that is stopped keeps it, and is served by it again.
        one = PidOf("one");
        first.Detach();
        Sandbox.Must("volume", "set", "one", "--rebuild-rate", "5M");
        Sandbox.Must("volume", "stop", "one", "--force");
        Assert.Equal(0, PidOf("one"));
        Sandbox.Must("volume", "start", "one");
        Assert.Equal(one, PidOf("one"));

        second.Detach();
        Assert.Equal(0, End(SigTerm));
        Assert.Empty(Holders());
    }

    [Fact]
    public void TheDaemonMayDieOrBeSucceededAndTheyGoOn()
    {
        Create("one", "--isolate", "on");
        Start();
        int daemon = Daemon!.Id;
        Sandbox.Must("export", "add", "one", "--frontend", "vhost-user", "--socket", Socket("one"), "--queues", "1");
        int one = PidOf("one");
        using VhostUserClient client = Attach("one");
        DriverCalls.WriteAll(client, seed: 5, Blocks);

        // What its process has counted is the daemon's to show, histograms as well.
        string text = ApiText("/metrics");
        Assert.Contains($"polyblk_volume_request_seconds_count{{volume=\"one\",operation=\"write\"}} {Blocks}\n", text, StringComparison.Ordinal);
        Assert.Contains(
            $"polyblk_session_request_seconds_count{{volume=\"one\",export=\"one/vhost-user/0\",session=\"one/vhost-user/0#1\",operation=\"write\"}} {Blocks}\n",
            text, StringComparison.Ordinal);
        Assert.Matches("polyblk_member_requests_total\\{volume=\"one\",member=\"0\",.*operation=\"write\"\\} [1-9]", text);
        End(SigKill);
        DriverCalls.CheckAll(client, seed: 5, Blocks);
        Start();
        daemon = Daemon!.Id;
        Wait.Until(() => Volumes() is [{ State: "served" }], "the volume");
        Assert.Equal(one, PidOf("one"));

        string said = Sandbox.Must("daemon", "restart").Output;
        Assert.EndsWith($"has taken over from process {daemon}.\n", said, StringComparison.Ordinal);
        int successor = int.Parse(said.Split(' ')[1], CultureInfo.InvariantCulture);
        int next = PidOf("one");
        Assert.Equal(3, new[] { one, next, successor }.Distinct().Count());
        DriverCalls.CheckAll(client, seed: 5, Blocks);
        Assert.False(client.IsDisconnected);
        client.Detach();

        // In the daemon's process from its next start on.
        Sandbox.Must("volume", "set", "one", "--isolate", "off");
        Assert.Equal(next, PidOf("one"));
        Sandbox.Must("volume", "stop", "one", "--force");
        Sandbox.Must("volume", "start", "one");
        Assert.Equal(successor, PidOf("one"));
        Assert.Null(HolderOf("_isolated-one"));
        Assert.Equal(0, Libc.kill(successor, SigTerm));
        Wait.Until(() => HolderOf("_daemon") is null, "the end");
    }

    [Fact]
    public void TheLastExportEndsTheProcessAndABadStartIsTold()
    {
        Create("one", "--isolate", "on");
        Start();
        Sandbox.Must("export", "add", "one", "--frontend", "nbd");
        Assert.NotNull(HolderOf("_isolated-one"));
        Sandbox.Must("export", "remove", "one/nbd/0");
        Assert.Null(HolderOf("_isolated-one"));
        RunOutput refused = Sandbox.Run("export", "add", "one", "--frontend", "nbd", "--socket", Path.Combine(Run, "one"));
        Assert.NotEqual(0, refused.ExitCode);
        Assert.Contains(Path.Combine(Run, "one"), refused.Errors, StringComparison.Ordinal);
        Assert.Null(HolderOf("_isolated-one"));
        Assert.Equal(0, End(SigTerm));
    }

    /// <summary>The process that has a place: the daemon's, or that of a volume.</summary>
    private int? HolderOf(string place) => VolumeLock.Holder(new StateDirectories(Sandbox.State, Run), place);

    private IEnumerable<int> Holders() =>
        (Directory.Exists(Run) ? Directory.GetDirectories(Run, "_*") : []).Select(f => HolderOf(Path.GetFileName(f))).OfType<int>();

    /// <summary>Who serves a volume; 0 for nobody.</summary>
    private int PidOf(string volume) =>
        Sandbox.Must("volume", "show", volume, "--json").Json.TryGetProperty("live", out JsonElement live)
            ? live.GetProperty("pid").GetInt32() : 0;

    /// <summary>The volumes of the daemon, as its API says.</summary>
    private (string Name, string State, int? Pid)[] Volumes() =>
    [
        .. Api("/v1/volumes").EnumerateArray().Select(v => (
            v.GetProperty("name").GetString()!, v.GetProperty("state").GetString()!,
                v.TryGetProperty("pid", out JsonElement pid) ? pid.GetInt32() : (int?)null)),
    ];
}
