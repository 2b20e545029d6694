// The front-end's side of the protocol: requests and their replies over one connection.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>Sends requests, and waits for the replies that they have. One thread.</summary>
internal sealed unsafe class VhostUserFrontendLink(string socketPath, int timeoutMs) : IDisposable
{
    private readonly VhostUserChannel _channel = new(UnixSocket.Connect(socketPath));

    /// <summary>Whether REPLY_ACK was negotiated: each request is then acknowledged.</summary>
    public bool ReplyAck { get; set; }

    /// <summary>A request without payload that is answered by a number.</summary>
    public ulong Get(VhostUserRequest request)
    {
        Check(_channel.Send((uint)request, 0, [], timeoutMs: timeoutMs), request);
        return ReadReply<ulong>(request);
    }

    /// <summary>A request without payload.</summary>
    public void Set(VhostUserRequest request) => Finish(request, _channel.Send((uint)request, Flags, [], timeoutMs: timeoutMs));

    /// <summary>A request with a payload.</summary>
    public void Set<T>(VhostUserRequest request, in T payload)
        where T : unmanaged => Finish(request, _channel.Send((uint)request, Flags, payload, timeoutMs: timeoutMs));

    /// <summary>A request with a payload and a descriptor.</summary>
    public void Set<T>(VhostUserRequest request, in T payload, int fd)
        where T : unmanaged => Finish(request, _channel.Send((uint)request, Flags, payload, [fd], timeoutMs));

    /// <summary>A request without payload and with a descriptor, which is closed here afterwards.</summary>
    public void SendAndClose(VhostUserRequest request, int fd)
    {
        SocketResult result = _channel.Send((uint)request, Flags, [], [fd], timeoutMs);
        _ = Libc.close(fd);
        Finish(request, result);
    }

    /// <summary>Shares one region of memory.</summary>
    public void ShareMemory(in VhostUserMemoryRegion region, int fd, bool bySlot)
    {
        if (bySlot)
        {
            Set(ADD_MEM_REG, new VhostUserMemRegMsg { region = region }, fd);
            return;
        }

        Span<byte> payload = stackalloc byte[8 + sizeof(VhostUserMemoryRegion)];
        MemoryMarshal.Write(payload, new VhostUserMemory { nregions = 1 });
        MemoryMarshal.Write(payload[8..], region);
        Finish(SET_MEM_TABLE, _channel.Send((uint)SET_MEM_TABLE, Flags, payload, [fd], timeoutMs));
    }

    /// <summary>GET_CONFIG of the whole configuration.</summary>
    public virtio_blk_config GetConfig()
    {
        const int headBytes = 12;
        Span<byte> payload = stackalloc byte[headBytes + sizeof(virtio_blk_config)];
        payload.Clear();
        MemoryMarshal.Write(payload, new VhostUserConfig { size = (uint)sizeof(virtio_blk_config) });
        Check(_channel.Send((uint)GET_CONFIG, 0, payload, timeoutMs: timeoutMs), GET_CONFIG);
        Receive(GET_CONFIG, payload.Length);
        return MemoryMarshal.Read<virtio_blk_config>(_channel.Payload[headBytes..]);
    }

    /// <summary>GET_VRING_BASE: stops the ring and returns where.</summary>
    public uint GetVringBase(uint index)
    {
        Check(_channel.Send((uint)GET_VRING_BASE, 0, new vhost_vring_state { index = index }, timeoutMs: timeoutMs), GET_VRING_BASE);
        return ReadReply<vhost_vring_state>(GET_VRING_BASE).num;
    }

    /// <summary>GET_INFLIGHT_FD: a buffer of the back-end's making.</summary>
    public (VhostUserInflight Description, SafeFileHandle File) GetInflight(in VhostUserInflight wanted)
    {
        Check(_channel.Send((uint)GET_INFLIGHT_FD, 0, wanted, timeoutMs: timeoutMs), GET_INFLIGHT_FD);
        using var fds = new FdList();
        Receive(GET_INFLIGHT_FD, sizeof(VhostUserInflight), fds);
        return fds.Count == 1
            ? (_channel.Read<VhostUserInflight>(), new SafeFileHandle(fds.Take(), ownsHandle: true))
            : throw new IOException("The back-end gave no inflight buffer.");
    }

    /// <summary>Whether the other side has closed the connection. Only between a reply and the next request.</summary>
    public bool IsClosed()
    {
        using var fds = new FdList();
        return _channel.Receive(fds, timeoutMs: 0) is SocketResult.Closed or SocketResult.Broken;
    }

    /// <summary>Breaks the connection.</summary>
    public void Shutdown() => _channel.Shutdown();

    /// <inheritdoc/>
    public void Dispose() => _channel.Dispose();

    private uint Flags => ReplyAck ? VhostUserAbi.NEED_REPLY : 0;

    private void Finish(VhostUserRequest request, SocketResult sent)
    {
        Check(sent, request);
        if (ReplyAck && ReadReply<ulong>(request) != 0)
        {
            throw new IOException($"The back-end refused {request}.");
        }
    }

    private T ReadReply<T>(VhostUserRequest request)
        where T : unmanaged
    {
        Receive(request, sizeof(T));
        return _channel.Read<T>();
    }

    private void Receive(VhostUserRequest request, int bytes)
    {
        using var fds = new FdList();
        Receive(request, bytes, fds);
    }

    private void Receive(VhostUserRequest request, int bytes, FdList fds)
    {
        Check(_channel.Receive(fds, timeoutMs), request);
        if (_channel.Request != request || (_channel.Header.flags & VhostUserAbi.REPLY) == 0 || _channel.Header.size != bytes)
        {
            throw new IOException(
                $"The back-end answered {request} with message {_channel.Header.request}, flags 0x{_channel.Header.flags:x}, {_channel.Header.size} bytes.");
        }
    }

    private static void Check(SocketResult result, VhostUserRequest request)
    {
        if (result != SocketResult.Done)
        {
            throw new IOException($"The connection to the back-end ended at {request} ({result}).");
        }
    }
}
