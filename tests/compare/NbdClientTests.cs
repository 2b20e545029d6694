// The NBD client against servers that a test plays: at the other end of a pair of streams in this process, no socket and no
// server.

using System.Buffers.Binary;
using Nerdbank.Streams;
using Polyblk.Compare.Clients.Nbd;

namespace Polyblk.Compare.Tests;

public sealed class NbdClientTests
{
    private const uint Ack = 1;
    private const uint Info = 3;
    private const uint Unknown = 0x80000006;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task The_size_of_the_export_is_read_however_the_bytes_arrive()
    {
        using NbdClient client = await ConnectAsync(async server =>
        {
            await SendByteByByteAsync(server, Greeting());
            Assert.Equal("disk", await ReadGoAsync(server));
            await SendByteByByteAsync(server, Reply(Info, InfoExport(sizeBytes: 5 << 20)));
            await SendByteByByteAsync(server, Reply(Ack, []));
        });
        Assert.Equal(5 << 20, client.SizeBytes);
        Assert.False(client.IsBroken);
    }

    [Fact]
    public async Task Information_that_it_does_not_know_is_passed_over()
    {
        using NbdClient client = await ConnectAsync(async server =>
        {
            await server.WriteAsync(Greeting());
            await ReadGoAsync(server);
            await server.WriteAsync(Reply(Info, [0, 3, 0, 0, 2, 0, 0, 0, 16, 0, 0, 2, 0, 0])); // NBD_INFO_BLOCK_SIZE
            await server.WriteAsync(Reply(Info, InfoExport(sizeBytes: 4096)));
            await server.WriteAsync(Reply(Ack, []));
        });
        Assert.Equal(4096, client.SizeBytes);
    }

    [Fact]
    public async Task An_export_that_is_refused_is_said_with_the_reply()
    {
        IOException e = await Assert.ThrowsAsync<IOException>(() => ConnectAsync(async server =>
        {
            await server.WriteAsync(Greeting());
            await ReadGoAsync(server);
            await server.WriteAsync(Reply(Unknown, "no such export"u8));
        }));
        Assert.Equal("the server: The server refuses the export (reply 0x80000006).", e.Message);
    }

    [Fact]
    public async Task What_is_no_NBD_server_is_said()
    {
        IOException e = await Assert.ThrowsAsync<IOException>(
            () => ConnectAsync(server => server.WriteAsync("SSH-2.0-OpenSSH_9.2 and more\n"u8.ToArray()).AsTask()));
        Assert.Equal("the server: This is no NBD server of the newstyle.", e.Message);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(17)]
    public async Task A_server_that_ends_within_its_greeting_is_an_error_and_no_wait(int bytes)
    {
        IOException e = await Assert.ThrowsAsync<IOException>(
            () => ConnectAsync(server => server.WriteAsync(Greeting().AsMemory(0, bytes)).AsTask()));
        Assert.Contains("The connection was lost", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_read_returns_the_servers_bytes_and_an_error_of_it_is_returned_as_a_number()
    {
        (Stream near, Stream far) = FullDuplexStream.CreatePair();
        Task server = Task.Run(async () =>
        {
            await AnswerHandshakeAsync(far);
            await far.WriteAsync(SimpleReply(await ReadRequestAsync(far), error: 0));
            await far.WriteAsync("content!"u8.ToArray());
            await far.WriteAsync(SimpleReply(await ReadRequestAsync(far), error: 5));
        });
        using NbdClient client = await ConnectAsync(near);
        byte[] data = new byte[8];
        Assert.Equal(0, await WithinPatience(() => client.Read(4096, data)));
        Assert.Equal("content!"u8.ToArray(), data);
        Assert.Equal(5, await WithinPatience(() => client.Read(4096, data)));
        Assert.False(client.IsBroken);
        await server.WaitAsync(s_patience);
    }

    [Fact]
    public async Task A_reply_to_another_request_breaks_the_connection()
    {
        (Stream near, Stream far) = FullDuplexStream.CreatePair();
        Task server = Task.Run(async () =>
        {
            await AnswerHandshakeAsync(far);
            await far.WriteAsync(SimpleReply(await ReadRequestAsync(far) + 1, error: 0));
        });
        using NbdClient client = await ConnectAsync(near);
        await Assert.ThrowsAsync<IOException>(() => WithinPatience(() => client.Read(0, new byte[8])));
        Assert.True(client.IsBroken);
        await server.WaitAsync(s_patience);
    }

    /// <summary>Connects to a server that does what is given and then closes its end.</summary>
    private static async Task<NbdClient> ConnectAsync(Func<Stream, Task> play)
    {
        (Stream near, Stream far) = FullDuplexStream.CreatePair();
        Task server = Task.Run(async () =>
        {
            await using (far)
            {
                await play(far);
            }
        });
        NbdClient client = await ConnectAsync(near);
        await server.WaitAsync(s_patience);
        return client;
    }

    private static Task<NbdClient> ConnectAsync(Stream near) => WithinPatience(() => new NbdClient(near, "the server", "disk"));

    /// <summary>The client blocks: a test must not wait for ever for it.</summary>
    private static Task<T> WithinPatience<T>(Func<T> call) => Task.Run(call).WaitAsync(s_patience);

    private static async Task AnswerHandshakeAsync(Stream server)
    {
        await server.WriteAsync(Greeting());
        await ReadGoAsync(server);
        await server.WriteAsync(Reply(Info, InfoExport(sizeBytes: 1 << 20)));
        await server.WriteAsync(Reply(Ack, []));
    }

    private static async Task SendByteByByteAsync(Stream server, byte[] bytes)
    {
        foreach (byte b in bytes)
        {
            await server.WriteAsync(new[] { b });
            await server.FlushAsync();
        }
    }

    private static byte[] Greeting() => [.. "NBDMAGICIHAVEOPT"u8, 0, 3];

    /// <summary>Reads the client's flags and NBD_OPT_GO; returns the name in it.</summary>
    private static async Task<string> ReadGoAsync(Stream server)
    {
        byte[] head = new byte[4 + 16];
        await server.ReadExactlyAsync(head);
        Assert.Equal([0, 0, 0, 3, .. "IHAVEOPT"u8, 0, 0, 0, 7], head[..16]);
        byte[] payload = new byte[BinaryPrimitives.ReadInt32BigEndian(head.AsSpan(16))];
        await server.ReadExactlyAsync(payload);
        Assert.Equal(payload.Length - 6, BinaryPrimitives.ReadInt32BigEndian(payload));
        return System.Text.Encoding.UTF8.GetString(payload, 4, payload.Length - 6);
    }

    /// <summary>Reads a request without data; returns its cookie.</summary>
    private static async Task<ulong> ReadRequestAsync(Stream server)
    {
        byte[] request = new byte[28];
        await server.ReadExactlyAsync(request);
        Assert.Equal(0x25609513u, BinaryPrimitives.ReadUInt32BigEndian(request));
        return BinaryPrimitives.ReadUInt64BigEndian(request.AsSpan(8));
    }

    private static byte[] InfoExport(long sizeBytes)
    {
        byte[] info = new byte[12];
        BinaryPrimitives.WriteInt64BigEndian(info.AsSpan(2), sizeBytes);
        return info;
    }

    private static byte[] Reply(uint type, ReadOnlySpan<byte> payload)
    {
        byte[] reply = new byte[20 + payload.Length];
        BinaryPrimitives.WriteUInt64BigEndian(reply, 0x0003e889045565a9);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(8), 7);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(12), type);
        BinaryPrimitives.WriteInt32BigEndian(reply.AsSpan(16), payload.Length);
        payload.CopyTo(reply.AsSpan(20));
        return reply;
    }

    private static byte[] SimpleReply(ulong cookie, uint error)
    {
        byte[] reply = new byte[16];
        BinaryPrimitives.WriteUInt32BigEndian(reply, 0x67446698);
        BinaryPrimitives.WriteUInt32BigEndian(reply.AsSpan(4), error);
        BinaryPrimitives.WriteUInt64BigEndian(reply.AsSpan(8), cookie);
        return reply;
    }
}
