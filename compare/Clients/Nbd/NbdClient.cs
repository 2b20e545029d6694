// A small NBD client over a Unix socket: fixed newstyle handshake with NBD_OPT_GO, simple replies, one request at a time. It
// exists for the restart test, which fio's and libnbd's clients do not survive. Source of the numbers: the NBD protocol document
// (doc/proto.md of nbd).

using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Polyblk.Compare.Clients.Nbd;

/// <summary>One connection. One thread at a time.</summary>
public sealed class NbdClient : IDisposable
{
    private const ulong InitMagic = 0x4e42444d41474943;
    private const ulong OptionMagic = 0x49484156454f5054;
    private const ulong OptionReplyMagic = 0x0003e889045565a9;
    private const uint RequestMagic = 0x25609513;
    private const uint SimpleReplyMagic = 0x67446698;
    private const uint FlagsFixedNewstyleNoZeroes = 3;
    private const uint OptGo = 7;
    private const uint RepAck = 1;
    private const uint RepInfo = 3;
    private const ushort InfoExport = 0;
    private const ushort CommandRead = 0;
    private const ushort CommandWrite = 1;
    private const int RequestBytes = 28;
    private const int PatienceMs = 20_000;

    private readonly Stream _stream;
    private readonly byte[] _request = new byte[RequestBytes];
    private ulong _cookie;

    /// <summary>Connects and chooses an export.</summary>
    /// <exception cref="IOException">Nobody answers, or there is no such export.</exception>
    public NbdClient(string socketPath, string exportName)
        : this(Connect(socketPath), socketPath, exportName)
    {
    }

    /// <summary>
    /// Chooses an export of the server at the other end of a stream, which belongs to this client from here on.
    /// </summary>
    /// <param name="stream">The connection.</param>
    /// <param name="serverName">What messages call it.</param>
    /// <param name="exportName">The export.</param>
    /// <exception cref="IOException">It is no server, or there is no such export.</exception>
    internal NbdClient(Stream stream, string serverName, string exportName)
    {
        _stream = stream;
        try
        {
            Negotiate(exportName);
        }
        catch (IOException e)
        {
            _stream.Dispose();
            throw new IOException($"{serverName}: {e.Message}", e);
        }
    }

    /// <summary>Size of the export in bytes.</summary>
    public long SizeBytes { get; private set; }

    /// <summary>Whether the connection was lost; a new one is needed.</summary>
    public bool IsBroken { get; private set; }

    /// <summary>Writes.</summary>
    /// <returns>0, or the error number of the reply.</returns>
    /// <exception cref="IOException">The connection was lost: whether it was done is not known.</exception>
    public int Write(long offsetBytes, ReadOnlySpan<byte> data)
    {
        Send(CommandWrite, offsetBytes, data.Length, data);
        return ReadReply();
    }

    /// <summary>Reads.</summary>
    /// <inheritdoc cref="Write"/>
    public int Read(long offsetBytes, Span<byte> data)
    {
        Send(CommandRead, offsetBytes, data.Length, []);
        int error = ReadReply();
        if (error == 0)
        {
            Receive(data);
        }

        return error;
    }

    /// <inheritdoc/>
    public void Dispose() => _stream.Dispose();

    private static NetworkStream Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
        {
            ReceiveTimeout = PatienceMs, SendTimeout = PatienceMs,
        };
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new IOException($"{path}: {e.Message}", e);
        }
    }

    private void Negotiate(string exportName)
    {
        Span<byte> greeting = stackalloc byte[18];
        Receive(greeting);
        if (BinaryPrimitives.ReadUInt64BigEndian(greeting) != InitMagic || BinaryPrimitives.ReadUInt64BigEndian(greeting[8..]) != OptionMagic)
        {
            throw new IOException("This is no NBD server of the newstyle.");
        }

        byte[] name = Encoding.UTF8.GetBytes(exportName);
        byte[] go = new byte[4 + 16 + 4 + name.Length + 2];
        BinaryPrimitives.WriteUInt32BigEndian(go, FlagsFixedNewstyleNoZeroes);
        BinaryPrimitives.WriteUInt64BigEndian(go.AsSpan(4), OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(go.AsSpan(12), OptGo);
        BinaryPrimitives.WriteUInt32BigEndian(go.AsSpan(16), (uint)(4 + name.Length + 2));
        BinaryPrimitives.WriteUInt32BigEndian(go.AsSpan(20), (uint)name.Length);
        name.CopyTo(go, 24);
        Transmit(go);
        while (!ReadOptionReply())
        {
        }
    }

    /// <returns>True for the last one.</returns>
    private bool ReadOptionReply()
    {
        Span<byte> header = stackalloc byte[20];
        Receive(header);
        uint type = BinaryPrimitives.ReadUInt32BigEndian(header[12..]);
        byte[] payload = new byte[Math.Min(BinaryPrimitives.ReadUInt32BigEndian(header[16..]), 1 << 16)];
        Receive(payload);
        if (BinaryPrimitives.ReadUInt64BigEndian(header) != OptionReplyMagic || type is not (RepAck or RepInfo))
        {
            throw new IOException($"The server refuses the export (reply 0x{type:x}).");
        }

        if (type == RepInfo && payload.Length >= 10 && BinaryPrimitives.ReadUInt16BigEndian(payload) == InfoExport)
        {
            SizeBytes = BinaryPrimitives.ReadInt64BigEndian(payload.AsSpan(2));
        }

        return type == RepAck;
    }

    private void Send(ushort command, long offsetBytes, int length, ReadOnlySpan<byte> data)
    {
        BinaryPrimitives.WriteUInt32BigEndian(_request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(_request.AsSpan(6), command);
        BinaryPrimitives.WriteUInt64BigEndian(_request.AsSpan(8), ++_cookie);
        BinaryPrimitives.WriteInt64BigEndian(_request.AsSpan(16), offsetBytes);
        BinaryPrimitives.WriteInt32BigEndian(_request.AsSpan(24), length);
        Transmit(_request);
        Transmit(data);
    }

    private int ReadReply()
    {
        Span<byte> reply = stackalloc byte[16];
        Receive(reply);
        if (BinaryPrimitives.ReadUInt32BigEndian(reply) != SimpleReplyMagic || BinaryPrimitives.ReadUInt64BigEndian(reply[8..]) != _cookie)
        {
            IsBroken = true;
            throw new IOException("The server's reply belongs to no request.");
        }

        return BinaryPrimitives.ReadInt32BigEndian(reply[4..]);
    }

    private void Transmit(ReadOnlySpan<byte> data)
    {
        try
        {
            _stream.Write(data);
        }
        catch (IOException e)
        {
            IsBroken = true;
            throw new IOException($"The connection was lost: {e.Message}", e);
        }
    }

    private void Receive(Span<byte> data)
    {
        try
        {
            _stream.ReadExactly(data);
        }
        catch (IOException e)
        {
            IsBroken = true;
            throw new IOException($"The connection was lost: {e.Message}", e);
        }
    }
}
