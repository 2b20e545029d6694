// Clients that come in crowds, hang, or take what they can get: they are bounded from accept on, and the others are served.

using System.Net.Sockets;
using System.Text;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Frontends.Nbd;

namespace Polyblk.Nbd.Tests;

public sealed class CrowdTests
{
    private const int Mib = 1 << 20;
    private const ushort Read = 0, Write = 1, Flush = 3;
    private const uint ErrPolicy = 0x80000002;

    [Fact]
    public async Task Connections_that_say_nothing_are_bounded_and_keep_nobody_out()
    {
        var limits = new NbdLimits { Handshakes = 8 };
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib), limits: limits);
        var silent = new List<Socket>();
        try
        {
            for (int i = 0; i < 200; i++)
            {
                silent.Add(Connect(server.Socket));
            }

            using RawClient good = RawClient.Transmitting(server.Socket);
            good.SendRequest(Flush, 1, 0, 0);
            Assert.Equal(0u, good.ReadSimpleReply(1));

            // The listener, those that the server keeps, and a few that nobody has accepted or closed yet.
            Assert.InRange(CountServersEnds(server), 2, 1 + 8 + 8);
            Assert.Equal(0, ReadToEnd(silent[0]));
        }
        finally
        {
            silent.ForEach(s => s.Dispose());
        }
    }

    [Fact]
    public void The_oldest_of_the_process_with_most_handshakes_goes_for_a_newcomer()
    {
        var admission = new NbdAdmission(new NbdLimits { Handshakes = 4 });
        NbdGuest honest = admission.Enter(1, out NbdGuest? crowdedOut);
        Assert.Null(crowdedOut);
        NbdGuest first = admission.Enter(2, out _);
        NbdGuest second = admission.Enter(2, out _);
        admission.Enter(2, out crowdedOut);
        Assert.Null(crowdedOut);
        admission.Enter(2, out crowdedOut);
        Assert.Same(first, crowdedOut);
        admission.Leave(first);
        Assert.True(first.Haggled.IsCompleted);
        admission.Enter(3, out crowdedOut);
        Assert.Same(second, crowdedOut);
        Assert.False(honest.IsDismissed);
    }

    /// <summary>Nobody waits for the end of one who was to go and got a seat meanwhile: that may be in months.</summary>
    [Fact]
    public void Who_takes_a_seat_does_not_haggle_any_more()
    {
        var admission = new NbdAdmission(new NbdLimits { Handshakes = 1 });
        NbdGuest first = admission.Enter(1, out _);
        admission.Enter(2, out NbdGuest? crowdedOut);
        Assert.Same(first, crowdedOut);
        Assert.False(first.Haggled.IsCompleted);
        Assert.Null(admission.TakeSeat(first));
        Assert.True(first.Haggled.IsCompleted);
        Assert.Equal(1, admission.Seated);
        admission.LeaveSeat(first);
        Assert.Equal(0, admission.Seated);
    }

    [Fact]
    public async Task Who_gets_no_seat_is_told_why_and_gets_one_when_another_goes()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(
            new RamDrive(16 * Mib), limits: new NbdLimits { Sessions = 3, SessionsOfProcess = 2 });
        RawClient first = RawClient.Transmitting(server.Socket);
        using RawClient second = RawClient.Transmitting(server.Socket);
        using var third = new RawClient(server.Socket);
        third.Send(RawClient.U32(3));
        third.SendOption(7, [.. RawClient.U32(0), .. RawClient.U16(0)]);
        Assert.Equal(ErrPolicy, third.ReadOptionReply(out byte[] message));
        Assert.Contains("2 connections", Encoding.UTF8.GetString(message), StringComparison.Ordinal);
        using (var old = new RawClient(server.Socket))
        {
            old.Send(RawClient.U32(1));
            old.SendOption(1, []);
            Assert.True(old.IsClosedByServer());
        }

        first.Dispose();
        do
        {
            await Task.Delay(5);
            third.SendOption(7, [.. RawClient.U32(0), .. RawClient.U16(0)]);
        }
        while (third.ReadOptionReply(out _) == ErrPolicy);

        while (third.ReadOptionReply(out _) != 1)
        {
        }

        third.SendRequest(Flush, 1, 0, 0);
        Assert.Equal(0u, third.ReadSimpleReply(1));
    }

    [Theory]
    [InlineData("")]
    [InlineData("\0\0\0\u0003IHAVE")]
    [InlineData("\0\0\0\u0003IHAVEOPT\0\0\0\u0007\0\0\u0010\0data")]
    public async Task A_handshake_has_its_time(string start)
    {
        var time = new ManualTime();
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib), clock: time);
        int quiet = time.Waiting;
        using var slow = new RawClient(server.Socket);
        slow.Send(Encoding.Latin1.GetBytes(start));
        Assert.True(SpinWait.SpinUntil(() => time.Waiting > quiet, 60_000));
        time.Advance(new NbdLimits().HandshakeTime - TimeSpan.FromTicks(1));
        Assert.Equal(quiet + 1, time.Waiting);
        time.Advance(TimeSpan.FromTicks(1));
        Assert.True(slow.IsClosedByServer());
    }

    /// <summary>
    /// A slow writer, in the header or in the data, and a client that does not read; who is idle and owes nothing stays.
    /// </summary>
    [Fact]
    public async Task Who_stands_still_in_the_middle_of_something_is_dropped_and_who_is_idle_is_not()
    {
        var limits = new NbdLimits { StallTime = TimeSpan.FromMilliseconds(200) };
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib), limits: limits);
        using RawClient idle = RawClient.Transmitting(server.Socket);
        using RawClient header = RawClient.Transmitting(server.Socket);
        using RawClient data = RawClient.Transmitting(server.Socket);
        using RawClient refused = RawClient.Transmitting(server.Socket);
        using RawClient deaf = RawClient.Transmitting(server.Socket);
        header.Send([0x25, 0x60, 0x95]);
        data.SendRequest(Write, 1, 0, 8192, payload: new byte[100]);
        refused.SendRequest(Write, 1, 1, 8192, payload: new byte[100]);
        deaf.SendRequest(Read, 1, 0, 32 * Mib);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (server.Export.GetStatistics().Sessions != 1)
        {
            await Task.Delay(5, limit.Token);
        }

        idle.SendRequest(Flush, 1, 0, 0);
        Assert.Equal(0u, idle.ReadSimpleReply(1));
    }

    /// <summary>
    /// Twenty clients that ask for all that they can get and read nothing: their memory is bounded, and one more is served.
    /// </summary>
    [Fact]
    public async Task Greedy_clients_leave_memory_for_others()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib));
        var greedy = new List<RawClient>();
        try
        {
            for (int i = 0; i < 20; i++)
            {
                RawClient client = RawClient.Transmitting(server.Socket);
                greedy.Add(client);
                for (ulong k = 0; k < 128; k++)
                {
                    client.SendRequest(Read, k, 0, 4 * Mib);
                }
            }

            using RawClient good = RawClient.Transmitting(server.Socket);
            for (ulong k = 0; k < 10; k++)
            {
                good.SendRequest(Read, k, 0, 128 * 1024);
                Assert.Equal(0u, good.ReadSimpleReply(k));
                good.Read(128 * 1024);
            }
        }
        finally
        {
            greedy.ForEach(c => c.Dispose());
        }
    }

    /// <summary>
    /// Neighbours that are always busy leave too little at a time for the largest request: it is served from the reserve.
    /// </summary>
    [Fact]
    public async Task The_largest_request_is_served_beside_busy_neighbours()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(
            new RamDrive(64 * Mib), limits: new NbdLimits { BudgetBytes = 0, LeastLaneBytes = 96 * Mib });
        using var stop = new CancellationTokenSource();
        RawClient[] busy = [.. Enumerable.Range(0, 8).Select(_ => RawClient.Transmitting(server.Socket))];
        
        // On threads of their own: those of the pool are the server's.
        Task[] loads = [.. busy.Select(c => Task.Factory.StartNew(
            () => Load(c, stop.Token), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default))];
        using RawClient large = RawClient.Transmitting(server.Socket);
        for (ulong k = 0; k < 3; k++)
        {
            large.SendRequest(Read, k, 0, 32 * Mib);
            Assert.Equal(0u, large.ReadSimpleReply(k));
            large.Read(32 * Mib);
        }

        await stop.CancelAsync();
        await Task.WhenAll(loads);
        Array.ForEach(busy, c => c.Dispose());
    }

    [Fact]
    public async Task A_stop_ends_256_stuck_connections()
    {
        var limits = new NbdLimits { SessionsOfProcess = 256 };
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib), limits: limits);
        RawClient[] stuck = [.. Enumerable.Range(0, 256).Select(_ => RawClient.Transmitting(server.Socket))];
        for (int i = 0; i < stuck.Length; i++)
        {
            // In the data of a write, in a reply, and in a header.
            switch (i % 3)
            {
                case 0:
                    stuck[i].SendRequest(Write, 1, 0, 4 * Mib, payload: new byte[1000]);
                    break;
                case 1:
                    stuck[i].SendRequest(Read, 1, 0, 4 * Mib);
                    break;
                default:
                    stuck[i].Send([0x25]);
                    break;
            }
        }

        using var silent = new RawClient(server.Socket);
        Task stop = server.Export.StopAsync(Frontends.StopMode.HandOver, CancellationToken.None);
        await stop.WaitAsync(TimeSpan.FromSeconds(60));
        Assert.All(stuck, c => Assert.True(c.IsClosedByServer()));
        Array.ForEach(stuck, c => c.Dispose());
    }

    /// <summary>
    /// Two thousand clients that break the protocol: what they make the export say is bounded, and how much it was is said.
    /// </summary>
    [Fact]
    public async Task A_flood_of_bad_clients_is_no_flood_in_the_log()
    {
        using var lines = new LogLines();
        NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib), logging: lines);
        for (int i = 0; i < 2000; i++)
        {
            using var client = new RawClient(server.Socket);
            client.Send(Encoding.Latin1.GetBytes("\n\u001b[31mERR all is lost\n"));
            Assert.True(client.IsClosedByServer());
        }

        await server.DisposeAsync();
        Assert.InRange(lines.All.Count, 1, 500);
        Assert.Contains(lines.All, l => l.Contains("more lines", StringComparison.Ordinal));
        Assert.DoesNotContain(lines.All, l => l.AsSpan().ContainsAny('\n', '\u001b'));
    }

    private static void Load(RawClient client, CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            for (ulong k = 0; k < 16; k++)
            {
                client.SendRequest(Read, k, 0, Mib);
            }

            client.Read(16 * (16 + Mib));
        }
    }

    private static Socket Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    /// <summary>Reads what there is; returns 0 at the end of the connection.</summary>
    private static int ReadToEnd(Socket socket)
    {
        byte[] bytes = new byte[4096];
        socket.ReceiveTimeout = 30_000;
        try
        {
            int read;
            while ((read = socket.Receive(bytes)) > 0)
            {
            }

            return read;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            return 0;
        }
    }

    /// <summary>Sockets of the kernel that bear the name of the server's, which is in a folder of its own.</summary>
    private static int CountServersEnds(NbdTestServer server) =>
        File.ReadLines("/proc/net/unix").Count(line => line.Contains(server.Folder, StringComparison.Ordinal));
}
