using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Fakes;
using Polyblk.Frontends;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>A session counts from the connection on, and has to prove itself.</summary>
public sealed class ProvingTests
{
    [Fact]
    public void A_connection_without_a_word_is_ended_after_a_while()
    {
        var time = new ManualTime();
        using var fixture = new ExportFixture(time: time);
        using RawFrontend silent = fixture.Connect();
        using RawFrontend half = fixture.Connect();
        half.Channel.SendRaw([1, 0, 0, 0, 1]);
        using RawFrontend talking = fixture.Connect();
        talking.Get(GET_FEATURES);
        using VhostUserClient client = fixture.Attach();
        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 4, "all are attached");

        time.Advance(TimeSpan.FromSeconds(60));
        Assert.True(silent.IsEnded());
        Assert.True(half.IsEnded());
        talking.Get(GET_FEATURES);
        Assert.Equal(0, client.Queues[0].Do(ClientOperation.Read, 0, 4096));
        ExportFixture.Until(
            () => fixture.Log.Lines.Any(l => l.Contains("it said nothing for 10 s", StringComparison.Ordinal)), "the log says why");
    }

    [Fact]
    public void Connections_that_say_nothing_do_not_keep_others_out()
    {
        using var fixture = new ExportFixture(options: new Dictionary<string, string> { ["max-sessions"] = "4" });
        using VhostUserClient first = AttachAndUse(fixture);
        var silent = new List<RawFrontend>();
        for (int i = 0; i < 20; i++)
        {
            silent.Add(fixture.Connect());
        }

        using VhostUserClient second = fixture.Attach();
        Assert.Equal(0, first.Queues[0].Do(ClientOperation.Write, 0, 4096));
        Assert.Equal(0, second.Queues[0].Do(ClientOperation.Read, 0, 4096));
        silent.ForEach(f => f.Dispose());
    }

    [Fact]
    public void Of_those_without_memory_the_silent_ones_go_first_and_those_in_use_never()
    {
        using var fixture = new ExportFixture(options: new Dictionary<string, string> { ["max-sessions"] = "3" });
        using VhostUserClient used = AttachAndUse(fixture);
        using RawFrontend talking = fixture.Connect();
        talking.Negotiate();
        using RawFrontend silent = fixture.Connect();
        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 3, "all are attached");

        using VhostUserClient second = AttachAndUse(fixture);
        Assert.True(silent.IsEnded());
        talking.Get(GET_FEATURES);

        using VhostUserClient third = AttachAndUse(fixture);
        Assert.True(talking.IsEnded());
        ExportFixture.Until(
            () => fixture.Log.Lines.Any(l => l.Contains("another connection needed its place", StringComparison.Ordinal)),
            "the log says why");

        using RawFrontend refused = fixture.Connect();
        Assert.True(refused.IsEnded());
        foreach (VhostUserClient client in new[] { used, second, third })
        {
            Assert.Equal(0, client.Queues[0].Do(ClientOperation.Read, 0, 4096));
        }
    }

    /// <summary>With rings that run, which no newcomer drives out: a part of the places is for other processes.</summary>
    [Fact]
    public void One_process_gets_three_quarters_of_the_sessions_and_another_one_still_gets_in()
    {
        using var fixture = new ExportFixture(options: new Dictionary<string, string> { ["max-sessions"] = "4" });
        VhostUserClient[] own = [AttachAndUse(fixture), AttachAndUse(fixture), AttachAndUse(fixture)];
        using RawFrontend refused = fixture.Connect();
        Assert.True(refused.IsEnded());
        ExportFixture.Until(
            () => fixture.Log.Lines.Any(l => l.Contains(
                $"process {Environment.ProcessId} has 3 sessions, and no process gets more", StringComparison.Ordinal)),
            "the log says why");
        Assert.Equal("20 bytes", OfAnotherProcess(fixture.SocketPath));

        // One of its own that has not proved itself makes room for its newcomers.
        own[2].Dispose();
        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 2, "the others have ended");
        using RawFrontend talking = fixture.Connect();
        talking.Get(GET_FEATURES);
        using VhostUserClient next = AttachAndUse(fixture);
        Assert.True(talking.IsEnded());
        Array.ForEach(own[..2], c => Assert.Equal(0, c.Queues[0].Do(ClientOperation.Read, 0, 4096)));
        own[0].Dispose();
        own[1].Dispose();
    }

    /// <summary>Has another process connect and ask for the features; says how long the answer was.</summary>
    private static string OfAnotherProcess(string path)
    {
        const string Script = "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die; connect(S, sockaddr_un($ARGV[0])) or die;"
            + "syswrite(S, pack('LLL', 1, 1, 0)); my $n = sysread(S, my $answer, 100); print $n // 0, ' bytes';";
        var start = new System.Diagnostics.ProcessStartInfo("perl", ["-e", Script, path]) { RedirectStandardOutput = true };
        using var perl = System.Diagnostics.Process.Start(start)!;
        Assert.True(perl.WaitForExit(60_000), "the other process got no answer");
        return perl.StandardOutput.ReadToEnd();
    }

    /// <summary>A ring of it has run for certain.</summary>
    private static VhostUserClient AttachAndUse(ExportFixture fixture)
    {
        VhostUserClient client = fixture.Attach();
        Assert.Equal(0, client.Queues[0].Do(ClientOperation.Read, 0, 4096));
        return client;
    }

    [Fact]
    public async Task A_flood_of_connections_writes_a_few_lines()
    {
        using var fixture = new ExportFixture();
        for (int i = 0; i < 300; i++)
        {
            using RawFrontend f = fixture.Connect();
            f.Get(GET_FEATURES);
        }

        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 0, "all have ended");
        Assert.InRange(fixture.Log.Lines.Count, 1, SessionLogs.SourceLines + 1);
        await fixture.Export.StopAsync(StopMode.Force, CancellationToken.None);
        Assert.Contains(fixture.Log.Lines, l => l.Contains("more lines about sessions of user", StringComparison.Ordinal));
    }

    [Fact]
    public void A_session_that_is_refused_again_and_again_writes_a_few_lines()
    {
        using var fixture = new ExportFixture();
        using RawFrontend f = fixture.Connect();
        f.Negotiate();
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(1UL, f.Acked(REM_MEM_REG, default(VhostUserMemRegMsg)));
        }

        Assert.InRange(fixture.Log.Lines.Count, 1, SessionLogs.SessionLines);
    }
}

/// <summary>What queues cost that are offered and not used. Alone, because others allocate as well.</summary>
[Collection("alone")]
public sealed class UnusedQueueTests
{
    private const int Sessions = 32;

    [Fact]
    public void Queues_that_nobody_sets_up_cost_next_to_nothing()
    {
        long one = BytesOfSessions(queues: 1);
        long all = BytesOfSessions(queues: 256);
        Assert.InRange((all - one) / (Sessions * 255), -512, 512);
    }

    private static long BytesOfSessions(int queues)
    {
        using var fixture = new ExportFixture(queues: queues);
        long before = GC.GetTotalMemory(forceFullCollection: true);
        var sessions = new List<RawFrontend>();
        for (int i = 0; i < Sessions; i++)
        {
            sessions.Add(fixture.Connect());
            sessions[i].Negotiate();
            Assert.Equal((ulong)queues, sessions[i].Get(GET_QUEUE_NUM));
        }

        long bytes = GC.GetTotalMemory(forceFullCollection: true) - before;
        Assert.All(fixture.Reactors.Group.Plan, assigned => Assert.Equal(0, assigned));
        sessions.ForEach(f => f.Dispose());
        return bytes;
    }
}

/// <summary>The process has no descriptor left. Alone, because the other tests need some.</summary>
[Collection("alone")]
public sealed class DescriptorTests
{
    [Fact]
    public void Without_descriptors_connections_are_refused_at_once_and_sessions_go_on()
    {
        using var fixture = new ExportFixture();
        using VhostUserClient client = fixture.Attach();
        using RawFrontend waiting = fixture.Connect();
        waiting.Get(GET_FEATURES);

        // A socket that is not connected yet, and then no descriptor more for anybody.
        int socket = Libc.socket(Libc.AF_UNIX, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0);
        using var connecting = new UnixSocket(socket);
        using (new NoDescriptors())
        {
            Assert.Equal(0, ConnectTo(socket, fixture.SocketPath));
            Assert.True(IsClosed(connecting));
            Assert.Equal(0, client.Queues[0].Do(ClientOperation.Write, 0, 4096));
            waiting.Get(GET_FEATURES);
        }

        using VhostUserClient late = fixture.Attach();
        Assert.Equal(0, late.Queues[0].Do(ClientOperation.Read, 0, 4096));
        ExportFixture.Until(
            () => fixture.Log.Lines.Any(l => l.Contains("(ulimit -n)", StringComparison.Ordinal)), "the log says what to do");
    }

    private static unsafe int ConnectTo(int socket, string path)
    {
        Tmds.Linux.sockaddr_un address = UnixListener.Address(path, out uint length);
        return Libc.connect(socket, &address, length);
    }

    private static unsafe bool IsClosed(UnixSocket socket)
    {
        byte one;
        using var fds = new FdList();
        return socket.Receive(&one, 1, fds, 20_000) is SocketResult.Closed or SocketResult.Broken;
    }

    /// <summary>
    /// One descriptor is left for the channel, and none for what belongs to it: the front-end is told, the channel before stays,
    /// and nothing leaks.
    /// </summary>
    [Fact]
    public void A_channel_for_which_there_are_no_descriptors_is_refused_and_the_one_before_stays()
    {
        using var fixture = new ExportFixture();
        using RawFrontend f = fixture.Connect();
        f.Negotiate();
        (UnixSocket left, int right) = UnixSocket.Pair();
        using UnixSocket held = left;
        Assert.Equal(0UL, f.Acked(SET_BACKEND_REQ_FD, default, [right]));
        string[] before = HostileTests.Descriptors();
        using (var none = new NoDescriptors())
        {
            none.LeaveOne();
            Assert.Equal(1UL, f.Acked(SET_BACKEND_REQ_FD, default, [right]));
            none.TakeAll();
        }

        var watch = System.Diagnostics.Stopwatch.StartNew();
        while (HostileTests.OpenFds() > before.Length)
        {
            Assert.True(
                watch.ElapsedMilliseconds < 20_000,
                $"what was refused stays open: {string.Join(", ", HostileTests.Descriptors().Except(before))}; "
                + $"{DescriptorCloser.OfUser(f.Channel.Peer.UserId).Waiting} wait");
            Thread.Sleep(1);
        }

        fixture.Gated.Resize(2 << 20);
        _ = fixture.Export.ResizeAsync(CancellationToken.None);
        Assert.True(HasMessage(left), "the channel before is in use");
        f.Get(GET_FEATURES);
        _ = Libc.close(right);
    }

    private static unsafe bool HasMessage(UnixSocket socket)
    {
        byte one;
        using var fds = new FdList();
        return socket.Receive(&one, 1, fds, 20_000) == SocketResult.Done;
    }

    /// <summary>Takes every descriptor that the process may still have, with a limit close above those in use.</summary>
    private sealed class NoDescriptors : IDisposable
    {
        private readonly List<int> _taken = [];
        private readonly (ulong Soft, ulong Hard) _limit = Limits.Descriptors;

        public NoDescriptors()
        {
            ulong highest = Directory.GetFiles("/proc/self/fd").Select(f => ulong.Parse(Path.GetFileName(f))).Max();
            Limits.Descriptors = (highest + 8, _limit.Hard);
            TakeAll();
        }

        public void TakeAll()
        {
            for (int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC); fd >= 0; fd = Libc.eventfd(0, Libc.EFD_CLOEXEC))
            {
                _taken.Add(fd);
            }
        }

        public void LeaveOne()
        {
            _ = Libc.close(_taken[^1]);
            _taken.RemoveAt(_taken.Count - 1);
        }

        public void Dispose()
        {
            _taken.ForEach(fd => Libc.close(fd));
            Limits.Descriptors = _limit;
        }
    }
}

/// <summary>RLIMIT_NOFILE of this process.</summary>
internal static unsafe class Limits
{
    public static (ulong Soft, ulong Hard) Descriptors
    {
        get
        {
            Libc.rlimit limit;
            Assert.Equal(0, Libc.getrlimit(Libc.RLIMIT_NOFILE, &limit));
            return (limit.rlim_cur, limit.rlim_max);
        }

        set
        {
            Libc.rlimit limit = new() { rlim_cur = value.Soft, rlim_max = value.Hard };
            Assert.Equal(0, Libc.setrlimit(Libc.RLIMIT_NOFILE, &limit));
        }
    }
}
