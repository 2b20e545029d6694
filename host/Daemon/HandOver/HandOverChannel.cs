// The connection between a daemon and its successor: frames of a length, a number of descriptors, and JSON; the descriptors
// follow, as many in a message of the socket as one may have, each time with one byte.

using System.Buffers.Binary;
using System.Text.Json;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;

namespace Polyblk.Host.Daemon.HandOver;

/// <summary>Sends and receives messages. One thread at a time.</summary>
internal sealed unsafe class HandOverChannel(UnixSocket socket) : IDisposable
{
    /// <summary>Most bytes of a message: the state of sessions is the largest part, about 100 KB for one of 256 queues.</summary>
    private const int MaxBytes = 64 << 20;

    private const int HeadBytes = 2 * sizeof(int);

    public void Dispose() => socket.Dispose();

    /// <summary>Ends every wait, now and later. Any thread.</summary>
    public void Wake() => socket.Wake();

    /// <summary>Sends a message; the descriptors stay the caller's.</summary>
    /// <exception cref="IOException">The other side is gone, or takes nothing.</exception>
    public void Send(HandOverMessage message, IReadOnlyList<SafeFileHandle>? descriptors = null)
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(message, HandOverJson.Default.HandOverMessage);
        int[] fds = [.. (descriptors ?? []).Select(d => (int)d.DangerousGetHandle())];
        Span<byte> head = stackalloc byte[HeadBytes];
        BinaryPrimitives.WriteInt32LittleEndian(head, json.Length);
        BinaryPrimitives.WriteInt32LittleEndian(head[sizeof(int)..], fds.Length);
        Send(head, []);
        Send(json, []);
        for (int first = 0; first < fds.Length; first += UnixSocket.MaxFds)
        {
            Send([0], fds.AsSpan(first, Math.Min(UnixSocket.MaxFds, fds.Length - first)));
        }

        GC.KeepAlive(descriptors);
    }

    /// <summary>Receives a message to which no descriptors belong; those that come all the same are closed.</summary>
    /// <exception cref="IOException">The other side is gone, or says what is no message.</exception>
    public HandOverMessage Receive()
    {
        HandOverMessage message = Receive(out Queue<SafeFileHandle> descriptors);
        CloseAll(descriptors);
        return message;
    }

    /// <summary>Closes what nobody takes.</summary>
    public static void CloseAll(Queue<SafeFileHandle> descriptors)
    {
        while (descriptors.TryDequeue(out SafeFileHandle? unused))
        {
            unused.Dispose();
        }
    }

    /// <summary>Receives a message.</summary>
    /// <param name="descriptors">What came with it; the caller owns them.</param>
    /// <exception cref="IOException">The other side is gone, says nothing, or says what is no message.</exception>
    public HandOverMessage Receive(out Queue<SafeFileHandle> descriptors)
    {
        descriptors = new Queue<SafeFileHandle>();
        using var none = new FdList();
        Span<byte> head = stackalloc byte[HeadBytes];
        Receive(head, none);
        int length = BinaryPrimitives.ReadInt32LittleEndian(head);
        int count = BinaryPrimitives.ReadInt32LittleEndian(head[sizeof(int)..]);
        if (length is < 1 or > MaxBytes || count < 0)
        {
            throw new IOException($"A message of {length} bytes and {count} descriptors is not possible.");
        }

        byte[] json = new byte[length];
        Receive(json, none);
        try
        {
            ReceiveDescriptors(count, descriptors);
            return JsonSerializer.Deserialize(json, HandOverJson.Default.HandOverMessage) ?? throw new IOException("An empty message.");
        }
        catch (Exception e) when (e is JsonException or IOException)
        {
            CloseAll(descriptors);
            throw e as IOException ?? new IOException($"No message: {e.Message}", e);
        }
    }

    private void ReceiveDescriptors(int count, Queue<SafeFileHandle> descriptors)
    {
        Span<byte> one = stackalloc byte[1];
        while (descriptors.Count < count)
        {
            using var fds = new FdList();
            Receive(one, fds);
            int before = descriptors.Count;
            for (int fd = fds.Take(); fd >= 0; fd = fds.Take())
            {
                descriptors.Enqueue(new SafeFileHandle(fd, ownsHandle: true));
            }

            if (descriptors.Count == before)
            {
                throw new IOException("Descriptors are missing: raise the limit (ulimit -n).");
            }
        }
    }

    private void Send(ReadOnlySpan<byte> bytes, ReadOnlySpan<int> fds)
    {
        fixed (byte* p = bytes)
        {
            SocketResult result = socket.Send(p, bytes.Length, fds);
            if (result != SocketResult.Done)
            {
                throw new IOException($"The other daemon is not told ({result}).");
            }
        }
    }

    private void Receive(Span<byte> bytes, FdList fds)
    {
        fixed (byte* p = bytes)
        {
            SocketResult result = socket.Receive(p, bytes.Length, fds);
            if (result != SocketResult.Done)
            {
                throw new IOException($"The other daemon says nothing ({result}).");
            }
        }
    }
}
