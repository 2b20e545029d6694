// Whole vhost-user messages over a Unix socket: used by both sides.
//
// A message is read into one buffer of fixed size. A header that announces more than fits is answered by the caller with the end
// of the session: nothing of an unknown size is ever skipped or allocated.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Interop;

namespace Polyblk.Virtio.VhostUser;

/// <summary>Sends and receives messages. One thread sends and receives; <see cref="Wake"/> is any thread's.</summary>
public sealed unsafe class VhostUserChannel : IDisposable
{
    /// <summary>Largest payload in bytes that is taken; the largest one defined is GET_CONFIG's, 268.</summary>
    public const int MaxPayloadBytes = 1024;

    private readonly UnixSocket _socket;
    private readonly byte* _buffer = (byte*)NativeMemory.AlignedAlloc(VhostUserAbi.HeaderBytes + 4 + MaxPayloadBytes, 64);
    private readonly byte* _sendBuffer = (byte*)NativeMemory.AlignedAlloc(VhostUserAbi.HeaderBytes + MaxPayloadBytes, 64);
    private bool _disposed;

    /// <summary>Takes over a socket.</summary>
    public VhostUserChannel(UnixSocket socket) => _socket = socket;

    /// <summary>The header of the message last received.</summary>
    public VhostUserHeader Header;

    /// <summary>The request of the message last received.</summary>
    public VhostUserRequest Request => (VhostUserRequest)Header.request;

    /// <summary>The payload of the message last received; empty when its size was refused.</summary>
    public ReadOnlySpan<byte> Payload => new(PayloadAt, (int)Math.Min(Header.size, MaxPayloadBytes));

    // The payload begins 16 bytes into the buffer: aligned for its 64-bit fields.
    private byte* PayloadAt => _buffer + 16;

    /// <summary>
    /// Reads the next message. With a size above <see cref="MaxPayloadBytes"/> the payload is left unread: the connection cannot
    /// go on.
    /// </summary>
    public SocketResult Receive(FdList fds, int timeoutMs = -1)
    {
        VhostUserHeader header;
        SocketResult result = _socket.Receive((byte*)&header, sizeof(VhostUserHeader), fds, timeoutMs);
        Header = header;
        IsAmidMessage = _socket.IsAmidRead;
        if (result != SocketResult.Done || header.size == 0 || header.size > MaxPayloadBytes)
        {
            return result;
        }

        result = _socket.Receive(PayloadAt, (int)header.size, fds, timeoutMs);
        IsAmidMessage = result != SocketResult.Done;
        return result == SocketResult.Closed ? SocketResult.Broken : result;
    }

    /// <summary>The payload as a structure; the caller has checked its size.</summary>
    public T Read<T>()
        where T : unmanaged => MemoryMarshal.Read<T>(Payload);

    /// <summary>
    /// Whether the last <see cref="Receive"/> ended in the midst of a message, which cannot be read to its end any more.
    /// </summary>
    public bool IsAmidMessage { get; private set; }

    /// <summary>
    /// Gives the socket's descriptor to the caller, who owns it from here on; the connection stays, with what has come and was
    /// not read.
    /// </summary>
    public int Release() => _socket.Release();

    /// <summary>Sends a message.</summary>
    public SocketResult Send(uint request, uint flags, ReadOnlySpan<byte> payload, ReadOnlySpan<int> fds = default, int timeoutMs = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(payload.Length, MaxPayloadBytes);
        var header = new VhostUserHeader { request = request, flags = flags | VhostUserAbi.VERSION, size = (uint)payload.Length };
        Unsafe.CopyBlockUnaligned(_sendBuffer, &header, (uint)sizeof(VhostUserHeader));
        payload.CopyTo(new Span<byte>(_sendBuffer + sizeof(VhostUserHeader), MaxPayloadBytes));
        return _socket.Send(_sendBuffer, sizeof(VhostUserHeader) + payload.Length, fds, timeoutMs);
    }

    /// <summary>Sends a message whose payload is a structure.</summary>
    public SocketResult Send<T>(uint request, uint flags, in T payload, ReadOnlySpan<int> fds = default, int timeoutMs = -1)
        where T : unmanaged
    {
        fixed (T* p = &payload)
        {
            return Send(request, flags, new ReadOnlySpan<byte>(p, sizeof(T)), fds, timeoutMs);
        }
    }

    /// <summary>Sends bytes that need not be a message. For tests.</summary>
    internal SocketResult SendRaw(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* p = bytes)
        {
            return _socket.Send(p, bytes.Length);
        }
    }

    /// <summary>The socket's descriptor, to duplicate it; this object owns it.</summary>
    public int Descriptor => _socket.Descriptor;

    /// <summary>Who is at the other end.</summary>
    public PeerCredentials Peer => _socket.Peer;

    /// <summary>Ends every wait now and later. Any thread.</summary>
    public void Wake() => _socket.Wake();

    /// <summary>Breaks the connection. Any thread.</summary>
    public void Shutdown() => _socket.Shutdown();

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _socket.Dispose();
        NativeMemory.AlignedFree(_buffer);
        NativeMemory.AlignedFree(_sendBuffer);
    }
}
