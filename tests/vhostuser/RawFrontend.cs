using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

/// <summary>A front-end that sends exactly what a test says, right or wrong.</summary>
internal sealed class RawFrontend : IDisposable
{
    private const int TimeoutMs = 20_000;

    private readonly VhostUserChannel _channel;

    public RawFrontend(string path) => _channel = new VhostUserChannel(UnixSocket.Connect(path));

    /// <summary>Descriptors of the last reply.</summary>
    public FdList Fds { get; private set; } = new();

    public VhostUserChannel Channel => _channel;

    public void Send(VhostUserRequest request, ReadOnlySpan<byte> payload = default, ReadOnlySpan<int> fds = default, uint flags = 0) =>
        Assert.Equal(SocketResult.Done, _channel.Send((uint)request, flags, payload, fds, TimeoutMs));

    public void Send<T>(VhostUserRequest request, in T payload, ReadOnlySpan<int> fds = default, uint flags = 0)
        where T : unmanaged => Assert.Equal(SocketResult.Done, _channel.Send((uint)request, flags, payload, fds, TimeoutMs));

    /// <summary>Whether a message comes within a time; it is lost then.</summary>
    public bool HasReply(int withinMs)
    {
        using var fds = new FdList();
        return _channel.Receive(fds, withinMs) != SocketResult.TimedOut;
    }

    /// <summary>Reads a reply to a request.</summary>
    public ReadOnlySpan<byte> Reply(VhostUserRequest request)
    {
        Fds.Dispose();
        Fds = new FdList();
        Assert.Equal(SocketResult.Done, _channel.Receive(Fds, TimeoutMs));
        Assert.Equal(request, _channel.Request);
        Assert.Equal(VhostUserAbi.VERSION | VhostUserAbi.REPLY, _channel.Header.flags);
        return _channel.Payload;
    }

    public T Reply<T>(VhostUserRequest request)
        where T : unmanaged
    {
        ReadOnlySpan<byte> payload = Reply(request);
        Assert.Equal(Marshal.SizeOf<T>(), payload.Length);
        return MemoryMarshal.Read<T>(payload);
    }

    /// <summary>A request without payload, answered by a number.</summary>
    public ulong Get(VhostUserRequest request, uint flags = 0)
    {
        Send(request, flags: flags);
        return Reply<ulong>(request);
    }

    /// <summary>A request that wants an acknowledgement; returns it.</summary>
    public ulong Acked<T>(VhostUserRequest request, in T payload, ReadOnlySpan<int> fds = default)
        where T : unmanaged
    {
        Send(request, payload, fds, VhostUserAbi.NEED_REPLY);
        return Reply<ulong>(request);
    }

    public ulong Acked(VhostUserRequest request, ReadOnlySpan<byte> payload = default, ReadOnlySpan<int> fds = default)
    {
        Send(request, payload, fds, VhostUserAbi.NEED_REPLY);
        return Reply<ulong>(request);
    }

    /// <summary>Negotiates like an ordinary front-end.</summary>
    public void Negotiate(VhostUserProtocolFeatures without = VhostUserProtocolFeatures.None, ulong features = 0)
    {
        ulong offered = Get(GET_FEATURES);
        ulong protocol = Get(GET_PROTOCOL_FEATURES) & ~(ulong)without;
        Send(SET_PROTOCOL_FEATURES, protocol);
        Send(SET_OWNER);
        ulong wanted = (1UL << 32) | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES | features;
        Assert.Equal(wanted, wanted & offered);
        Send(SET_FEATURES, wanted);
    }

    /// <summary>Starts queue 0 on a ring in memory that was shared.</summary>
    public void Start(RawRing ring)
    {
        Send(SET_VRING_NUM, new vhost_vring_state { num = RawRing.Size });
        Send(SET_VRING_ADDR, ring.Address(0));
        Send(SET_VRING_CALL, 0UL, [ring.CallFd]);
        Send(SET_VRING_ENABLE, new vhost_vring_state { num = 1 });
        Assert.Equal(0UL, Acked(SET_VRING_KICK, 0UL, [ring.KickFd]));
    }

    /// <summary>Waits for the session's end; returns false when a message came instead.</summary>
    public bool IsEnded()
    {
        using var fds = new FdList();
        SocketResult result = _channel.Receive(fds, TimeoutMs);
        return result is SocketResult.Closed or SocketResult.Broken;
    }

    public void Dispose()
    {
        Fds.Dispose();
        _channel.Dispose();
    }

    /// <summary>The payload of SET_MEM_TABLE.</summary>
    public static byte[] Table(params VhostUserMemoryRegion[] regions)
    {
        byte[] payload = new byte[8 + (32 * regions.Length)];
        MemoryMarshal.Write(payload, new VhostUserMemory { nregions = (uint)regions.Length });
        MemoryMarshal.AsBytes(regions.AsSpan()).CopyTo(payload.AsSpan(8));
        return payload;
    }
}

/// <summary>A piece of memory to share: a memfd, mapped here.</summary>
internal sealed unsafe class SharedMemory : IDisposable
{
    private readonly MappedRegion _mapping;

    public SharedMemory(ulong sizeBytes, ulong guestAddress, bool sealable = true)
    {
        Fd = Libc.memfd_create("test", Libc.MFD_CLOEXEC | (sealable ? Libc.MFD_ALLOW_SEALING : 0));
        File = new SafeFileHandle(Fd, ownsHandle: true);
        Assert.Equal(0, Libc.ftruncate(Fd, (long)sizeBytes));
        _mapping = MappedRegion.Map(File, 0, sizeBytes);
        GuestAddress = guestAddress;
    }

    public int Fd { get; }

    public SafeFileHandle File { get; }

    public ulong GuestAddress { get; }

    public byte* Address => _mapping.Address;

    public VhostUserMemoryRegion Region => new()
    {
        guest_phys_addr = GuestAddress, memory_size = _mapping.SizeBytes, userspace_addr = (ulong)Address,
    };

    public VhostUserMemRegMsg Slot => new() { region = Region };

    public void Dispose()
    {
        _mapping.Dispose();
        File.Dispose();
    }
}
