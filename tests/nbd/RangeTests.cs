// Trim and write-zeroes cost a client 28 bytes and may cover 4 GiB: they go to the device in pieces, which can be overtaken and
// cancelled.

using Polyblk.Frontends;

namespace Polyblk.Nbd.Tests;

public sealed class RangeTests
{
    private const int Mib = 1 << 20;
    private const ushort Read = 0, Disconnect = 2, Flush = 3, Trim = 4, WriteZeroes = 6;
    private const ushort Fua = 1;
    private const int MostAtATime = 4;

    [Theory]
    [InlineData(WriteZeroes)]
    [InlineData(Trim)]
    public async Task A_long_range_is_few_pieces_at_a_time_and_other_requests_overtake_it(ushort command)
    {
        var drive = new GateDrive(1024L * Mib);
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(command, 1, 0, 512 * Mib);
        await WaitAsync(() => drive.Held == MostAtATime);
        client.SendRequest(Read, 2, 0, 4096);
        Assert.Equal(0u, client.ReadSimpleReply(2));
        client.Read(4096);
        Assert.Equal(MostAtATime, drive.Seen);
        await drive.ReleaseAsync(forGood: true);
        Assert.Equal(0u, client.ReadSimpleReply(1));
        Assert.InRange(drive.Seen, 512 / 32, 512);
    }

    [Fact]
    public async Task Ranges_of_one_client_go_on_in_turn()
    {
        var drive = new GateDrive(1024L * Mib);
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(WriteZeroes, 1, 0, 512 * Mib);
        await WaitAsync(() => drive.Held == MostAtATime);
        client.SendRequest(WriteZeroes, 2, 512 * Mib, 1 * Mib);
        client.SendRequest(Flush, 3, 0, 0);
        Assert.Equal(0u, client.ReadSimpleReply(3));
        await drive.ReleaseAsync();
        await WaitAsync(() => drive.Held == MostAtATime);
        await drive.ReleaseAsync();

        // The short one is done long before the long one, though it came later.
        Assert.Equal(0u, client.ReadSimpleReply(2));
        await drive.ReleaseAsync(forGood: true);
        Assert.Equal(0u, client.ReadSimpleReply(1));
    }

    [Fact]
    public async Task What_the_device_does_not_have_yet_is_left_undone_when_the_client_is_gone()
    {
        var drive = new GateDrive(4096L * Mib);
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using (RawClient client = RawClient.Transmitting(server.Socket))
        {
            // More than a connection's slots: nothing more is read, and its end must be seen all the same.
            for (ulong i = 0; i < 140; i++)
            {
                client.SendRequest(WriteZeroes, i, 0, 4095u * Mib);
            }

            await WaitAsync(() => drive.Held == MostAtATime);
        }

        // A few more may go over before the end of the client is seen; all that it asked for are 140 times 1024.
        await ReleaseUntilAsync(drive, () => server.Export.GetStatistics().Sessions == 0);
        Assert.InRange(drive.Seen, MostAtATime, 140);
    }

    [Fact]
    public async Task A_stop_waits_for_the_pieces_at_the_device_only()
    {
        var drive = new GateDrive(4096L * Mib);
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        for (ulong i = 0; i < 32; i++)
        {
            client.SendRequest(WriteZeroes, i, 0, 4095u * Mib);
        }

        await WaitAsync(() => drive.Held == MostAtATime);
        Task stop = server.Export.StopAsync(StopMode.Force, CancellationToken.None);
        Assert.False(stop.IsCompleted);

        // A few more may go over before the stop is seen; all that was asked for are 32 times 1024.
        await ReleaseUntilAsync(drive, () => stop.IsCompleted);
        await stop;
        Assert.InRange(drive.Seen, MostAtATime, 140);
        Assert.True(client.IsClosedByServer());
    }

    [Fact]
    public async Task A_drain_waits_for_the_pieces_at_the_device_and_resume_goes_on()
    {
        var drive = new GateDrive(1024L * Mib);
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(WriteZeroes, 1, 0, 256 * Mib, Fua);
        await WaitAsync(() => drive.Held == MostAtATime);
        Task drained = server.Export.DrainAsync(CancellationToken.None);
        await drive.ReleaseAsync(forGood: true);
        await drained;
        int seen = drive.Seen;
        Assert.InRange(seen, MostAtATime, 2 * MostAtATime);
        await server.Export.ResumeAsync(CancellationToken.None);
        Assert.Equal(0u, client.ReadSimpleReply(1));
        Assert.True(drive.Seen > seen);
    }

    /// <summary>doc/proto.md: "The server MUST handle all outstanding requests" before it closes the connection.</summary>
    [Fact]
    public async Task A_client_that_says_goodbye_gets_all_that_it_asked_for_before()
    {
        var drive = new GateDrive(256L * Mib);
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(WriteZeroes, 1, 0, 64 * Mib);
        client.SendRequest(Read, 2, 0, 4096);
        client.SendRequest(Disconnect, 3, 0, 0);
        Assert.Equal(0u, client.ReadSimpleReply(2));
        client.Read(4096);
        await WaitAsync(() => drive.Held == MostAtATime);
        await drive.ReleaseAsync(forGood: true);
        Assert.Equal(0u, client.ReadSimpleReply(1));
        Assert.True(client.IsClosedByServer());
        Assert.Equal(64 / 4, drive.Seen);
    }

    [Fact]
    public async Task The_rest_of_a_range_is_not_tried_after_an_error()
    {
        var drive = new GateDrive(1024L * Mib) { Status = -5 };
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(WriteZeroes, 1, 0, 1023 * Mib, Fua);
        await WaitAsync(() => drive.Held == MostAtATime);
        await drive.ReleaseAsync(forGood: true);
        Assert.Equal(5u, client.ReadSimpleReply(1));
        Assert.InRange(drive.Seen, MostAtATime, 2 * MostAtATime);
    }

    /// <summary>
    /// Lets go what the device holds, again and again: what is seen of us first, this or the end, is not ours to say.
    /// </summary>
    private static async Task ReleaseUntilAsync(GateDrive drive, Func<bool> condition)
    {
        long started = Environment.TickCount64;
        while (!condition())
        {
            await drive.ReleaseAsync().WaitAsync(TimeSpan.FromSeconds(60));
            await Task.Delay(1);
            if (Environment.TickCount64 - started > 60_000)
            {
                string left = $"{drive.Seen} pieces seen, {drive.Held} held";
                await drive.ReleaseAsync(forGood: true);
                Assert.Fail($"The end does not come: {left}");
            }
        }
    }

    private static async Task WaitAsync(Func<bool> condition)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        while (!condition())
        {
            await Task.Delay(1, limit.Token);
        }
    }
}
