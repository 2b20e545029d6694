// The protocol as a client sees it, well-behaved and not: each hostile client loses its connection or gets an error, and nobody
// else does.

using System.Buffers.Binary;
using System.Text;
using Polyblk.Core.Block;
using Polyblk.Drives.Ram;

namespace Polyblk.Nbd.Tests;

public sealed class ProtocolTests
{
    private const int Mib = 1 << 20;
    private const ushort Read = 0, Write = 1, Disconnect = 2, Flush = 3, Trim = 4, Cache = 5, WriteZeroes = 6, BlockStatus = 7;
    private const uint EPERM = 1, EINVAL = 22, ENOSPC = 28;

    [Fact]
    public async Task Export_name_is_the_old_way_in()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(RawClient.U32(1));
        client.SendOption(1, Encoding.ASCII.GetBytes(NbdTestServer.Volume));
        byte[] reply = client.Read(134);
        Assert.Equal(16L * Mib, BinaryPrimitives.ReadInt64BigEndian(reply));
        Assert.Equal(1, BinaryPrimitives.ReadUInt16BigEndian(reply.AsSpan(8)) & 1);
        client.SendRequest(Flush, 7, 0, 0);
        Assert.Equal(0u, client.ReadSimpleReply(7));
    }

    [Fact]
    public async Task Options_that_are_unknown_or_malformed_get_errors_and_the_haggling_goes_on()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(RawClient.U32(3));
        client.SendOption(4711, [1, 2, 3]);
        Assert.Equal(0x80000001u, client.ReadOptionReply(out _));
        client.SendOption(7, [0xff, 0xff, 0xff, 0xff]);
        Assert.Equal(0x80000003u, client.ReadOptionReply(out _));
        client.SendOption(7, [.. RawClient.U32(5), .. Encoding.ASCII.GetBytes("wrong"), .. RawClient.U16(0)]);
        Assert.Equal(0x80000006u, client.ReadOptionReply(out byte[] message));
        Assert.Contains(NbdTestServer.Volume, Encoding.UTF8.GetString(message), StringComparison.Ordinal);
        client.SendOption(10, [.. RawClient.U32(0), .. RawClient.U32(1_000_000)]);
        Assert.Equal(0x80000003u, client.ReadOptionReply(out _));
        client.SendOption(5, []);
        Assert.Equal(0x80000002u, client.ReadOptionReply(out _));
        client.SendOption(3, []);
        Assert.Equal(2u, client.ReadOptionReply(out byte[] name));
        Assert.Equal(NbdTestServer.Volume, Encoding.UTF8.GetString(name, 4, name.Length - 4));
        Assert.Equal(1u, client.ReadOptionReply(out _));
        client.SendOption(2, []);
        Assert.Equal(1u, client.ReadOptionReply(out _));
        Assert.True(client.IsClosedByServer());
    }

    [Theory]
    [InlineData("GET / HTTP/1.1\r\n\r\n          ")]
    [InlineData("\0\0\0\u0003NOT-AN-OPTION-----")]
    public async Task Noise_instead_of_a_handshake_ends_the_connection(string noise)
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(Encoding.Latin1.GetBytes(noise));
        Assert.True(client.IsClosedByServer());
        using RawClient other = RawClient.Transmitting(server.Socket);
        other.SendRequest(Flush, 1, 0, 0);
        Assert.Equal(0u, other.ReadSimpleReply(1));
    }

    [Fact]
    public async Task An_option_of_a_gigabyte_ends_the_connection()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send([.. RawClient.U32(3), .. Encoding.ASCII.GetBytes("IHAVEOPT"), .. RawClient.U32(7), .. RawClient.U32(1 << 30)]);
        Assert.True(client.IsClosedByServer());
    }

    [Fact]
    public async Task Bad_requests_get_errors_and_the_connection_goes_on()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using RawClient client = RawClient.Transmitting(server.Socket);
        (ushort type, long offset, uint length, uint error)[] requests =
        [
            (Read, 16 * Mib, 4096, EINVAL), (Read, long.MaxValue - 511, 4096, EINVAL), (Read, -4096, 4096, EINVAL), (Read, 1, 512, EINVAL),
            (Read, 0, 100, EINVAL), (Read, 0, 0, EINVAL), (Trim, 16 * Mib, 4096, EINVAL), (WriteZeroes, 0, 0x8000_0000, ENOSPC),
            (99, 0, 512, EINVAL),
            (BlockStatus, 0, 4096, EINVAL), (Cache, 0, 4096, EINVAL), (Flush, 4096, 0, EINVAL), (Flush, 0, 512, EINVAL),
            (Read, 0, 33 * Mib, EINVAL),
            (Read, 0, uint.MaxValue, EINVAL), (Trim, 0, 0, EINVAL), (WriteZeroes, 0, 0, EINVAL),
        ];
        foreach ((ushort type, long offset, uint length, uint error) in requests)
        {
            client.SendRequest(type, 5, offset, length);
            Assert.Equal(error, client.ReadSimpleReply(5));
        }

        // The payload of a refused write is read past.
        client.SendRequest(Write, 6, 16 * Mib, 300 * 1024, payload: new byte[300 * 1024]);
        Assert.Equal(ENOSPC, client.ReadSimpleReply(6));
        client.SendRequest(Flush, 8, 0, 0);
        Assert.Equal(0u, client.ReadSimpleReply(8));
    }

    /// <summary>
    /// A volume that is larger than the largest request: only the limit refuses it. The data of such a write is read past.
    /// </summary>
    [Fact]
    public async Task Requests_beyond_the_limit_get_an_error_and_the_connection_goes_on()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(256 * Mib));
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(Read, 1, 0, (32 * Mib) + 512);
        Assert.Equal(EINVAL, client.ReadSimpleReply(1));
        client.SendRequest(Write, 2, 0, 33 * Mib);
        byte[] piece = new byte[Mib];
        for (int i = 0; i < 33; i++)
        {
            client.Send(piece);
        }

        Assert.Equal(EINVAL, client.ReadSimpleReply(2));
        client.SendRequest(Read, 3, 0, 32 * Mib);
        Assert.Equal(0u, client.ReadSimpleReply(3));
        client.Read(32 * Mib);
        using RawClient structured = RawClient.Transmitting(server.Socket, structured: true);
        structured.SendRequest(Read, 4, 0, 33 * Mib);
        byte[] error = structured.Read(26);
        Assert.Equal(0x8001, BinaryPrimitives.ReadUInt16BigEndian(error.AsSpan(6)));
        Assert.Equal(EINVAL, BinaryPrimitives.ReadUInt32BigEndian(error.AsSpan(20)));
    }

    /// <summary>What FUA asks for is on the drive before the reply: by the write itself, or by a flush behind it.</summary>
    [Theory]
    [InlineData(Write)]
    [InlineData(Trim)]
    [InlineData(WriteZeroes)]
    public async Task Fua_reaches_the_drive_before_the_reply_and_nothing_does_without_it(ushort command)
    {
        var drive = new GateDrive(16 * Mib);
        await drive.ReleaseAsync(forGood: true);
        await using NbdTestServer server = await NbdTestServer.StartAsync(drive);
        using RawClient client = RawClient.Transmitting(server.Socket);
        byte[]? payload = command == Write ? new byte[8192] : null;
        client.SendRequest(command, 1, 0, 8192, payload: payload);
        Assert.Equal(0u, client.ReadSimpleReply(1));
        (BlockOperation operation, BlockFlags flags) = Assert.Single(drive.Log);
        Assert.Equal(BlockFlags.None, flags & BlockFlags.Fua);
        drive.Log.Clear();

        client.SendRequest(command, 2, 0, 8192, flags: 1, payload);
        Assert.Equal(0u, client.ReadSimpleReply(2));
        if (command == Write)
        {
            Assert.Equal((operation, flags | BlockFlags.Fua), Assert.Single(drive.Log));
        }
        else
        {
            Assert.Equal([(operation, flags), (BlockOperation.Flush, BlockFlags.None)], drive.Log);
        }
    }

    /// <summary>
    /// doc/proto.md, "Command flags": FUA is taken with every command, anything else only where it is documented.
    /// </summary>
    [Theory]
    [InlineData(Read, 1, 0)]
    [InlineData(Read, 2, EINVAL)]
    [InlineData(Read, 4, EINVAL)]
    [InlineData(Read, 0x8000, EINVAL)]
    [InlineData(Write, 1, 0)]
    [InlineData(Write, 2, EINVAL)]
    [InlineData(Write, 0x20, EINVAL)]
    [InlineData(Flush, 1, 0)]
    [InlineData(Flush, 2, EINVAL)]
    [InlineData(Trim, 1, 0)]
    [InlineData(Trim, 2, EINVAL)]
    [InlineData(WriteZeroes, 3, 0)]
    [InlineData(WriteZeroes, 0x10, EINVAL)]
    public async Task A_flag_that_a_command_does_not_have_is_an_error(ushort command, ushort flags, uint error)
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(command, 1, 0, command == Flush ? 0u : 4096u, flags, command == Write ? new byte[4096] : null);
        Assert.Equal(error, client.ReadSimpleReply(1));
        if (command == Read && error == 0)
        {
            client.Read(4096);
        }

        client.SendRequest(Flush, 2, 0, 0);
        Assert.Equal(0u, client.ReadSimpleReply(2));
    }

    [Fact]
    public async Task Block_status_is_one_extent_and_takes_the_flag_that_asks_for_one()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(RawClient.U32(3));
        client.SendOption(8, []);
        Assert.Equal(1u, client.ReadOptionReply(out _));
        client.SendOption(10, Contexts("base:allocation"));
        Assert.Equal(4u, client.ReadOptionReply(out _));
        Assert.Equal(1u, client.ReadOptionReply(out _));
        client.Go();
        const ushort RequestOne = 8;
        client.SendRequest(BlockStatus, 1, 4096, 8192, RequestOne);
        byte[] reply = client.Read(32);
        Assert.Equal(5, BinaryPrimitives.ReadUInt16BigEndian(reply.AsSpan(6)));
        Assert.Equal(8192u, BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(24)));
        const ushort DontFragment = 4;
        client.SendRequest(BlockStatus, 2, 4096, 8192, DontFragment);
        Assert.Equal(EINVAL, BinaryPrimitives.ReadUInt32BigEndian(client.Read(26).AsSpan(20)));
        client.SendRequest(Read, 3, 0, 512, DontFragment);
        Assert.Equal(1, BinaryPrimitives.ReadUInt16BigEndian(client.Read(28 + 512).AsSpan(6)));
    }

    /// <summary>NBD_FLAG_SEND_DF "MUST leave this flag clear if structured replies have not been negotiated".</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Unfragmented_reads_are_offered_with_structured_replies_only(bool structured)
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(RawClient.U32(3));
        if (structured)
        {
            client.SendOption(8, []);
            Assert.Equal(1u, client.ReadOptionReply(out _));
        }

        client.SendOption(6, [.. RawClient.U32(0), .. RawClient.U16(0)]);
        Assert.Equal(3u, client.ReadOptionReply(out byte[] info));
        Assert.Equal(0, BinaryPrimitives.ReadUInt16BigEndian(info));
        Assert.Equal(structured, (BinaryPrimitives.ReadUInt16BigEndian(info.AsSpan(10)) & 0x80) != 0);
    }

    /// <summary>
    /// "Issuing this command replaces all previously-set metadata contexts (including when this command fails)".
    /// </summary>
    [Fact]
    public async Task Choosing_contexts_replaces_those_chosen_before_also_when_it_fails()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(RawClient.U32(3));
        client.SendOption(8, []);
        Assert.Equal(1u, client.ReadOptionReply(out _));
        client.SendOption(10, Contexts("base:allocation"));
        Assert.Equal(4u, client.ReadOptionReply(out _));
        Assert.Equal(1u, client.ReadOptionReply(out _));
        client.SendOption(10, [0xff]);
        Assert.Equal(0x80000003u, client.ReadOptionReply(out _));
        client.Go();
        client.SendRequest(BlockStatus, 1, 0, 4096);
        Assert.Equal(EINVAL, BinaryPrimitives.ReadUInt32BigEndian(client.Read(26).AsSpan(20)));
    }

    [Fact]
    public async Task An_option_that_is_too_big_is_refused_and_the_haggling_goes_on()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(RawClient.U32(3));
        client.SendOption(9, new byte[100_000]);
        Assert.Equal(0x80000009u, client.ReadOptionReply(out _));
        client.SendOption(5, [1]);
        Assert.Equal(0x80000003u, client.ReadOptionReply(out _));
        client.Go();
        client.SendRequest(Flush, 1, 0, 0);
        Assert.Equal(0u, client.ReadSimpleReply(1));
    }

    [Fact]
    public async Task Options_without_end_end_the_connection()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using var client = new RawClient(server.Socket);
        client.Send(RawClient.U32(3));
        for (int i = 0; i < 256; i++)
        {
            client.SendOption(4711, []);
        }

        Assert.True(client.IsClosedByServer());
    }

    [Fact]
    public async Task A_request_without_its_magic_ends_this_connection_alone()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using RawClient good = RawClient.Transmitting(server.Socket);
        using RawClient noisy = RawClient.Transmitting(server.Socket);
        noisy.Send(new byte[64]);
        Assert.True(noisy.IsClosedByServer());
        good.SendRequest(Flush, 1, 0, 0);
        Assert.Equal(0u, good.ReadSimpleReply(1));
    }

    [Fact]
    public async Task A_read_only_export_refuses_every_change()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib), readOnly: true);
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(Write, 1, 0, 512, payload: new byte[512]);
        Assert.Equal(EPERM, client.ReadSimpleReply(1));
        client.SendRequest(Trim, 2, 0, 4096);
        Assert.Equal(EPERM, client.ReadSimpleReply(2));
        client.SendRequest(WriteZeroes, 3, 0, 4096);
        Assert.Equal(EPERM, client.ReadSimpleReply(3));
        client.SendRequest(Read, 4, 0, 512);
        Assert.Equal(0u, client.ReadSimpleReply(4));
        Assert.Equal(new byte[512], client.Read(512));
    }

    [Fact]
    public async Task Structured_reads_are_single_chunks_and_errors_are_error_chunks()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using RawClient client = RawClient.Transmitting(server.Socket, structured: true);
        byte[] data = new byte[8192];
        new Random(3).NextBytes(data);
        client.SendRequest(Write, 1, 4096, 8192, payload: data);
        Assert.Equal(0u, client.ReadSimpleReply(1));
        client.SendRequest(Read, 2, 4096, 8192);
        byte[] header = client.Read(28);
        Assert.Equal(0x668e33efu, BinaryPrimitives.ReadUInt32BigEndian(header));
        Assert.Equal(1, BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(4)));
        Assert.Equal(1, BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(6)));
        Assert.Equal(8200u, BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(16)));
        Assert.Equal(4096L, BinaryPrimitives.ReadInt64BigEndian(header.AsSpan(20)));
        Assert.Equal(data, client.Read(8192));
        client.SendRequest(Read, 3, 16 * Mib, 512);
        byte[] error = client.Read(26);
        Assert.Equal(0x8001, BinaryPrimitives.ReadUInt16BigEndian(error.AsSpan(6)));
        Assert.Equal(EINVAL, BinaryPrimitives.ReadUInt32BigEndian(error.AsSpan(20)));
    }

    [Fact]
    public async Task A_client_that_sends_byte_by_byte_is_served()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using RawClient client = RawClient.Transmitting(server.Socket);
        byte[] request = [.. RawClient.U32(0x25609513), .. RawClient.U16(1), .. RawClient.U16(Write), .. RawClient.U64(9), .. RawClient.U64(0), .. RawClient.U32(512), .. Enumerable.Repeat((byte)0x5a, 512)];
        foreach (byte[] piece in request.Chunk(7))
        {
            client.Send(piece);
        }

        Assert.Equal(0u, client.ReadSimpleReply(9));
        client.SendRequest(Read, 10, 0, 512);
        Assert.Equal(0u, client.ReadSimpleReply(10));
        Assert.All(client.Read(512), b => Assert.Equal(0x5a, b));
    }

    [Fact]
    public async Task A_client_that_reads_no_replies_stops_only_itself()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(64 * Mib));
        using RawClient lazy = RawClient.Transmitting(server.Socket);
        for (ulong i = 0; i < 100; i++)
        {
            lazy.SendRequest(Read, i, 0, 8 * Mib);
        }

        using RawClient good = RawClient.Transmitting(server.Socket);
        for (ulong i = 0; i < 100; i++)
        {
            good.SendRequest(Read, i, 0, 4096);
            Assert.Equal(0u, good.ReadSimpleReply(i));
            good.Read(4096);
        }

        // It wakes up and gets everything that it asked for.
        for (ulong i = 0; i < 100; i++)
        {
            Assert.Equal(0u, lazy.ReadSimpleReply(i));
            lazy.Read(8 * Mib);
        }
    }

    [Fact]
    public async Task Drain_waits_resume_goes_on_and_stop_ends_all_connections()
    {
        NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using RawClient client = RawClient.Transmitting(server.Socket);
        client.SendRequest(Flush, 1, 0, 0);
        Assert.Equal(0u, client.ReadSimpleReply(1));
        await server.Export.DrainAsync(CancellationToken.None);
        client.SendRequest(Flush, 2, 0, 0);
        await server.Export.ResumeAsync(CancellationToken.None);
        Assert.Equal(0u, client.ReadSimpleReply(2));
        string socket = server.Socket;
        await server.DisposeAsync();
        Assert.True(client.IsClosedByServer());
        Assert.False(File.Exists(socket));
    }

    [Fact]
    public async Task Connections_that_come_and_go_leave_no_descriptor_behind()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        int before = 0;
        for (int i = 0; i < 60; i++)
        {
            using (RawClient client = RawClient.Transmitting(server.Socket))
            {
                client.SendRequest(i % 2 == 0 ? Flush : Disconnect, 1, 0, 0);
                if (i % 2 == 0)
                {
                    Assert.Equal(0u, client.ReadSimpleReply(1));
                }
            }

            Assert.True(SpinWait.SpinUntil(() => server.Export.GetStatistics().Sessions == 0, 30_000));
            before = i == 10 ? CountDescriptors() : before;
        }

        Assert.InRange(CountDescriptors(), 0, before + 3);
    }

    [Fact]
    public async Task A_hundred_thousand_requests_allocate_nothing_on_the_reactor()
    {
        await using NbdTestServer server = await NbdTestServer.StartAsync(new RamDrive(16 * Mib));
        using RawClient client = RawClient.Transmitting(server.Socket);
        string name = (await WaitForSessionAsync(server)).QueueReactors[0];
        Core.Reactors.Reactor reactor = server.Reactors.First(r => r.Name == name);
        await RunAsync(client, 2_000);
        long before = await reactor.InvokeAsync(GC.GetAllocatedBytesForCurrentThread);
        await RunAsync(client, 100_000);
        long after = await reactor.InvokeAsync(GC.GetAllocatedBytesForCurrentThread);

        // Handing the first answer back may take an object or two on the reactor's thread; the requests take none.
        Assert.InRange(after - before, 0, 256);
    }

    private static byte[] Contexts(string query) =>
        [.. RawClient.U32(0), .. RawClient.U32(1), .. RawClient.U32((uint)query.Length), .. Encoding.ASCII.GetBytes(query)];

    private static async Task<Frontends.ExportStatistics> WaitForSessionAsync(NbdTestServer server)
    {
        while (server.Export.GetStatistics().Sessions == 0)
        {
            await Task.Delay(10);
        }

        return server.Export.GetStatistics();
    }

    /// <summary>A mix of reads, writes, flushes and trims, sixteen at a time.</summary>
    private static Task RunAsync(RawClient client, int requests) => Task.Run(() =>
    {
        byte[] payload = new byte[4096];
        for (int i = 0; i < requests; i += 16)
        {
            for (int k = 0; k < 16; k++)
            {
                ushort type = (k % 4) switch { 0 => Write, 1 => Read, 2 => Flush, _ => Trim };
                client.SendRequest(type, (ulong)k, 4096 * k, type == Flush ? 0u : 4096u, payload: type == Write ? payload : null);
            }

            client.Read((16 * 16) + (4 * 4096));
        }
    });

    private static int CountDescriptors() => Directory.GetFileSystemEntries("/proc/self/fd").Length;
}
