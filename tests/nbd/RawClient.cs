using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Polyblk.Nbd.Tests;

/// <summary>
/// A client that sends whatever a test wants, byte by byte. Numbers are those of doc/proto.md, written out on purpose.
/// </summary>
internal sealed class RawClient : IDisposable
{
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };

    public RawClient(string path)
    {
        _socket.Connect(new UnixDomainSocketEndPoint(path));
        byte[] greeting = Read(18);
        Assert.Equal("NBDMAGICIHAVEOPT", Encoding.ASCII.GetString(greeting, 0, 16));
        Assert.Equal(3, BinaryPrimitives.ReadUInt16BigEndian(greeting.AsSpan(16)));
    }

    /// <summary>Connects and goes to transmission by NBD_OPT_GO, with structured replies if wanted.</summary>
    public static RawClient Transmitting(string path, bool structured = false)
    {
        var client = new RawClient(path);
        client.Send(U32(3));
        if (structured)
        {
            client.SendOption(8, []);
            Assert.Equal(1u, client.ReadOptionReply(out _));
        }

        client.Go();
        return client;
    }

    /// <summary>Goes to transmission by NBD_OPT_GO.</summary>
    public void Go()
    {
        SendOption(7, [.. U32(0), .. U16(0)]);
        while (ReadOptionReply(out _) != 1)
        {
        }
    }

    public void Send(byte[] bytes) => _socket.Send(bytes);

    public void SendOption(uint option, byte[] data) => Send([.. Encoding.ASCII.GetBytes("IHAVEOPT"), .. U32(option), .. U32((uint)data.Length), .. data]);

    public void SendRequest(ushort type, ulong cookie, long offset, uint length, ushort flags = 0, byte[]? payload = null) =>
        Send([.. U32(0x25609513), .. U16(flags), .. U16(type), .. U64(cookie), .. U64((ulong)offset), .. U32(length), .. payload ?? []]);

    /// <summary>Reads an option reply; returns its type.</summary>
    public uint ReadOptionReply(out byte[] data)
    {
        byte[] header = Read(20);
        Assert.Equal(0x0003e889045565a9ul, BinaryPrimitives.ReadUInt64BigEndian(header));
        data = Read((int)BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(16)));
        return BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(12));
    }

    /// <summary>Reads a simple reply; returns its error.</summary>
    public uint ReadSimpleReply(ulong cookie)
    {
        byte[] reply = Read(16);
        Assert.Equal(0x67446698u, BinaryPrimitives.ReadUInt32BigEndian(reply));
        Assert.Equal(cookie, BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(8)));
        return BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(4));
    }

    public byte[] Read(int count)
    {
        byte[] bytes = new byte[count];
        for (int have = 0; have < count;)
        {
            int read = _socket.Receive(bytes, have, count - have, SocketFlags.None);
            Assert.True(read > 0, $"the server closed the connection after {have} of {count} bytes");
            have += read;
        }

        return bytes;
    }

    /// <summary>Whether the server closes the connection (what it still sends is read away).</summary>
    public bool IsClosedByServer()
    {
        byte[] rest = new byte[4096];
        try
        {
            while (_socket.Receive(rest) != 0)
            {
            }

            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionReset)
        {
            return true;
        }
    }

    public void Dispose() => _socket.Dispose();

    public static byte[] U16(ushort value) => [(byte)(value >> 8), (byte)value];

    public static byte[] U32(uint value) => [.. U16((ushort)(value >> 16)), .. U16((ushort)value)];

    public static byte[] U64(ulong value) => [.. U32((uint)(value >> 32)), .. U32((uint)value)];
}
