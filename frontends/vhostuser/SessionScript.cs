// A session written down as the messages that bring a new back-end to where it is.
//
// What a front-end said in the course of time is said again in one go, by the protocol's own messages: so a successor checks what
// its predecessor tells it exactly as it checks what a front-end tells it, and there is no second format of a session's state
// that must be kept right.
//
// Layout, in the machine's byte order: the version and whether a ring has run (4 bytes each), then for each message its request,
// the number of its descriptors and the bytes of its payload (4 bytes each), and the payload. Descriptors are counted through, in
// the order of the messages.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Frontends.VhostUser;

/// <summary>Writes a session down.</summary>
internal sealed class SessionWriter : IDisposable
{
    private readonly MemoryStream _script = new();
    private readonly List<SafeFileHandle> _descriptors = [];

    /// <summary>Begins.</summary>
    /// <param name="hasRun">Whether a ring of the session runs, or did.</param>
    public SessionWriter(bool hasRun)
    {
        Write(SessionScript.Version);
        Write(hasRun ? 1u : 0u);
    }

    /// <summary>Adds a message.</summary>
    /// <param name="request">What it says.</param>
    /// <param name="payload">Its payload.</param>
    /// <param name="descriptors">What goes with it; duplicated.</param>
    /// <exception cref="IOException">There are too few descriptors.</exception>
    public void Add(VhostUserRequest request, ReadOnlySpan<byte> payload, params ReadOnlySpan<SafeFileHandle> descriptors)
    {
        Write((uint)request);
        Write((uint)descriptors.Length);
        Write((uint)payload.Length);
        _script.Write(payload);
        foreach (SafeFileHandle descriptor in descriptors)
        {
            _descriptors.Add(Libc.Duplicate(descriptor));
        }
    }

    /// <summary>Adds a message whose payload is a structure.</summary>
    public void Add<T>(VhostUserRequest request, in T payload, params ReadOnlySpan<SafeFileHandle> descriptors)
        where T : unmanaged => Add(request, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in payload)), descriptors);

    /// <summary>What was written, with the connection that it belongs to.</summary>
    public HandedOverSession Finish(SafeFileHandle connection)
    {
        var session = new HandedOverSession(connection, _script.ToArray(), [.. _descriptors]);
        _descriptors.Clear();
        return session;
    }

    /// <summary>Closes what was not handed over.</summary>
    public void Dispose()
    {
        foreach (SafeFileHandle descriptor in _descriptors)
        {
            descriptor.Dispose();
        }

        _script.Dispose();
    }

    private void Write(uint number)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, number);
        _script.Write(bytes);
    }
}

/// <summary>Tells a back-end what was written down.</summary>
internal static class SessionScript
{
    /// <summary>Changes when an older or newer program would take it for something else.</summary>
    public const uint Version = 1;

    private const int HeadBytes = 3 * sizeof(uint);

    /// <summary>Says all of it, message by message.</summary>
    /// <param name="session">What was written down.</param>
    /// <param name="backend">Who is told.</param>
    /// <param name="closer">Closes what the front-end gave.</param>
    /// <exception cref="ProtocolException">It is not understood, or something of it is not possible here.</exception>
    /// <exception cref="IOException">There are too few descriptors.</exception>
    public static void Replay(HandedOverSession session, Backend backend, DescriptorCloser closer)
    {
        (UnixSocket left, int right) = UnixSocket.Pair();
        using var teller = new VhostUserChannel(left);
        using var listener = new VhostUserChannel(new UnixSocket(right));
        ReadOnlySpan<byte> script = session.State.Span;
        var descriptors = new Queue<SafeFileHandle>(session.Descriptors);
        if (Take(ref script) is var version && version != Version)
        {
            throw new ProtocolException($"what was handed over has version {version}, and {Version} is understood");
        }

        if (Take(ref script) != 0)
        {
            backend.RememberRun();
        }

        while (script.Length >= HeadBytes)
        {
            (uint request, uint count, uint bytes) = (Take(ref script), Take(ref script), Take(ref script));
            if (bytes > script.Length || bytes > VhostUserChannel.MaxPayloadBytes || count > descriptors.Count || count > UnixSocket.MaxFds)
            {
                throw new ProtocolException("what was handed over is cut off");
            }

            SafeFileHandle[] its = [.. Enumerable.Range(0, (int)count).Select(_ => descriptors.Dequeue())];
            Tell((VhostUserRequest)request, script[..(int)bytes], its, teller, listener, backend, closer);
            script = script[(int)bytes..];
        }
    }

    private static void Tell(
        VhostUserRequest request, ReadOnlySpan<byte> payload, SafeFileHandle[] descriptors, VhostUserChannel teller, VhostUserChannel listener,
        Backend backend, DescriptorCloser closer)
    {
        int[] numbers = [.. descriptors.Select(d => (int)d.DangerousGetHandle())];
        using var fds = new FdList(closer);
        if (teller.Send((uint)request, 0, payload, numbers) != SocketResult.Done || listener.Receive(fds) != SocketResult.Done)
        {
            throw new ProtocolException($"{request} of what was handed over cannot be told");
        }

        // They have arrived as others: the process does not hold both for longer than for a message.
        foreach (SafeFileHandle descriptor in descriptors)
        {
            closer.Close(HandedOverExport.Take(descriptor));
        }

        // No acknowledgement is asked for: what cannot be done without ends the session; a queue that cannot start is in the log,
        // as it was before.
        backend.Handle(listener, fds);
        using var none = new FdList(closer);
        _ = teller.Receive(none, timeoutMs: 0);
    }

    private static uint Take(ref ReadOnlySpan<byte> script)
    {
        if (script.Length < sizeof(uint))
        {
            throw new ProtocolException("what was handed over is cut off");
        }

        uint number = BinaryPrimitives.ReadUInt32LittleEndian(script);
        script = script[sizeof(uint)..];
        return number;
    }
}
