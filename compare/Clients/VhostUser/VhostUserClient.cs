// A vhost-user front-end with a virtio-blk driver, in user space: the load of a comparison where no third-party driver is
// installed, and the opposite side of the back-end in tests.
//
// It does what a virtual machine monitor and its guest do together: negotiate, share memory, set up rings, and then drive them
// from any thread, one thread a queue. After the back-end's death Reconnect hands the same memory, rings and inflight buffer to
// its successor.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>A connection to a vhost-user-blk back-end with running queues.</summary>
public sealed unsafe class VhostUserClient : IVirtioDisk
{
    private const ulong PageBytes = 4096;
    private const int SlotBytes = 64;

    private readonly VhostUserClientOptions _options;
    private readonly ClientQueue[] _queues;
    private readonly QueueLayout[] _layouts;
    private readonly ClientMemory _memory;
    private readonly int _queueSize;
    private VhostUserFrontendLink _link;
    private UnixSocket? _backendRequests;
    private SafeFileHandle? _inflightFile;
    private VhostUserInflight _inflight;

    /// <summary>Attaches.</summary>
    /// <exception cref="IOException">Nobody answers, or the back-end refuses or lacks something; the message says
    /// what.</exception>
    public VhostUserClient(VhostUserClientOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Queues, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.Queues, 256);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Depth, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(QueueSizeFor(options), 32768);
        ArgumentOutOfRangeException.ThrowIfNotEqual(options.BufferBytes % (int)PageBytes, 0);
        _options = options;
        _queueSize = QueueSizeFor(options);
        _link = new VhostUserFrontendLink(options.SocketPath, options.TimeoutMs);
        try
        {
            Negotiate();
            _layouts = Layouts(options, _queueSize, out ulong bytes);
            _memory = new ClientMemory(bytes, options.SealableMemory);
            bool eventIndex = (Features & VirtioFeatures.VIRTIO_F_EVENT_IDX) != 0;
            _queues = [.. _layouts.Select(layout => options.Packed
                ? (ClientQueue)new PackedClientQueue(_memory, layout, options, _queueSize, eventIndex)
                : new SplitClientQueue(_memory, layout, options, _queueSize, eventIndex))];
            SetUp(fresh: true);
        }
        catch
        {
            _link.Dispose();
            throw;
        }
    }

    /// <summary>The negotiated features.</summary>
    public ulong Features { get; private set; }

    /// <summary>The negotiated protocol features.</summary>
    public VhostUserProtocolFeatures ProtocolFeatures { get; private set; }

    /// <summary>The device's configuration as it was last read.</summary>
    public virtio_blk_config Config { get; private set; }

    /// <summary>Size of the device in bytes, as last read.</summary>
    public long CapacityBytes => (long)Config.capacity * VirtioBlkDevice.SectorBytes;

    /// <summary>The queues.</summary>
    public IReadOnlyList<ClientQueue> Queues => _queues;

    IReadOnlyList<IVirtioQueue> IVirtioDisk.Queues => _queues;

    /// <summary>What it shares with the back-end.</summary>
    public ClientMemory Memory => _memory;

    /// <summary>Reads the configuration again.</summary>
    public void ReadConfig() => Config = _link.GetConfig();

    /// <summary>Waits for the back-end to say that the configuration has changed.</summary>
    /// <returns>False when it did not in time, or cannot.</returns>
    public bool WaitForConfigChange(int timeoutMs)
    {
        if (_backendRequests is null)
        {
            return false;
        }

        VhostUserHeader header;
        using var fds = new FdList();
        return _backendRequests.Receive((byte*)&header, sizeof(VhostUserHeader), fds, timeoutMs) == SocketResult.Done
            && header.request == (uint)VhostUserBackendRequest.CONFIG_CHANGE_MSG;
    }

    /// <summary>Whether the back-end has closed the connection, as its death does.</summary>
    public bool IsDisconnected => _link.IsClosed();

    /// <summary>
    /// Breaks the connection as the death of this process would; memory and rings stay. See <see cref="Reconnect"/>.
    /// </summary>
    public void Disconnect() => _link.Shutdown();

    /// <summary>Stops the rings in order, each when nothing of it is in flight any more, and closes the connection.</summary>
    public void Detach()
    {
        for (uint i = 0; i < _queues.Length; i++)
        {
            _link.GetVringBase(i);
        }

        _link.Shutdown();
    }

    /// <summary>
    /// Connects again and hands over the same memory, rings and inflight buffer. Requests in flight are finished by the back-end
    /// that answers now, provided that there is an inflight buffer. No thread uses the queues meanwhile.
    /// </summary>
    public void Reconnect()
    {
        _link.Dispose();
        _link = new VhostUserFrontendLink(_options.SocketPath, _options.TimeoutMs);
        Negotiate();
        SetUp(fresh: false);
        foreach (ClientQueue queue in _queues)
        {
            queue.Kick();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _link.Dispose();
        _backendRequests?.Dispose();
        _inflightFile?.Dispose();
        foreach (ClientQueue queue in _queues)
        {
            queue.Dispose();
        }

        _memory.Dispose();
    }

    /// <summary>Entries that the ring needs for the slots: three descriptors for each, or one with indirect tables.</summary>
    private static int QueueSizeFor(VhostUserClientOptions options) =>
        (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(2, options.Depth * (options.Indirect ? 1 : 3)));

    private static QueueLayout[] Layouts(VhostUserClientOptions options, int size, out ulong totalBytes)
    {
        ulong at = 0;
        ulong Take(ulong bytes)
        {
            ulong start = at;
            at = (at + bytes + PageBytes - 1) & ~(PageBytes - 1);
            return start;
        }

        var layouts = new QueueLayout[options.Queues];
        for (int i = 0; i < layouts.Length; i++)
        {
            layouts[i] = new QueueLayout(
                Take((ulong)size * RingLayout.DescriptorBytes),
                Take(RingLayout.AvailBytes(size, eventIdx: true)),
                Take(RingLayout.UsedBytes(size, eventIdx: true)),
                Take((ulong)options.Depth * SlotBytes),
                Take((ulong)options.Depth * SlotBytes),
                Take((ulong)options.Depth * (ulong)options.BufferBytes));
        }

        totalBytes = at;
        return layouts;
    }

    private void Negotiate()
    {
        ulong offered = _link.Get(GET_FEATURES);
        if ((offered & VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES) == 0)
        {
            throw new IOException("The back-end has no protocol features, and so no configuration space.");
        }

        const VhostUserProtocolFeatures wanted = VhostUserProtocolFeatures.MQ | VhostUserProtocolFeatures.CONFIG
            | VhostUserProtocolFeatures.REPLY_ACK | VhostUserProtocolFeatures.INFLIGHT_SHMFD
            | VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS | VhostUserProtocolFeatures.BACKEND_REQ;
        ProtocolFeatures = (VhostUserProtocolFeatures)_link.Get(GET_PROTOCOL_FEATURES) & wanted;
        _link.Set(SET_PROTOCOL_FEATURES, (ulong)ProtocolFeatures);
        _link.ReplyAck = ProtocolFeatures.HasFlag(VhostUserProtocolFeatures.REPLY_ACK);
        _link.Set(SET_OWNER);
        if (ProtocolFeatures.HasFlag(VhostUserProtocolFeatures.MQ) && _link.Get(GET_QUEUE_NUM) is ulong most && most < (ulong)_options.Queues)
        {
            throw new IOException($"The back-end has {most} queues; {_options.Queues} are wanted.");
        }

        ulong features = VirtioFeatures.VIRTIO_F_VERSION_1 | VhostUserAbi.VHOST_USER_F_PROTOCOL_FEATURES | VirtioFeatures.VIRTIO_BLK_F_FLUSH
            | VirtioFeatures.VIRTIO_BLK_F_DISCARD | VirtioFeatures.VIRTIO_BLK_F_WRITE_ZEROES | VirtioFeatures.VIRTIO_BLK_F_RO
            | VirtioFeatures.VIRTIO_BLK_F_BLK_SIZE | VirtioFeatures.VIRTIO_BLK_F_MQ;
        features |= _options.EventIndex ? VirtioFeatures.VIRTIO_F_EVENT_IDX : 0;
        features |= _options.Indirect ? VirtioFeatures.VIRTIO_F_INDIRECT_DESC : 0;
        features |= _options.Packed ? VirtioFeatures.VIRTIO_F_RING_PACKED : 0;
        Features = features & offered;
        if (_options.Packed && (Features & VirtioFeatures.VIRTIO_F_RING_PACKED) == 0)
        {
            throw new IOException("The back-end has no packed rings.");
        }

        _link.Set(SET_FEATURES, Features);
        ReadConfig();
    }

    private void SetUp(bool fresh)
    {
        SetUpBackendChannel();
        SetUpInflight(fresh);
        var region = new VhostUserMemoryRegion
        {
            guest_phys_addr = ClientMemory.GuestBase, memory_size = _memory.SizeBytes, userspace_addr = (ulong)_memory.Address,
        };
        int file = (int)_memory.File.DangerousGetHandle();
        _link.ShareMemory(region, file, _options.MemorySlots && ProtocolFeatures.HasFlag(VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS));
        for (uint i = 0; i < _queues.Length; i++)
        {
            SetUpQueue(i, fresh);
        }
    }

    private void SetUpQueue(uint index, bool fresh)
    {
        ClientQueue queue = _queues[index];
        QueueLayout layout = _layouts[index];
        ulong start = (ulong)_memory.Address;
        _link.Set(SET_VRING_NUM, new vhost_vring_state { index = index, num = (uint)_queueSize });
        _link.Set(SET_VRING_BASE, new vhost_vring_state
        {
            index = index, num = !fresh ? queue.Base : _options.Packed ? VirtqueueSetup.PackedStart : 0,
        });
        _link.Set(SET_VRING_ADDR, new vhost_vring_addr
        {
            index = index,
            desc_user_addr = start + layout.Descriptors,
            avail_user_addr = start + layout.Driver,
            used_user_addr = start + layout.Device,
        });
        _link.Set(SET_VRING_KICK, (ulong)index, queue.KickFd);
        _link.Set(SET_VRING_CALL, (ulong)index, queue.CallFd);
        _link.Set(SET_VRING_ENABLE, new vhost_vring_state { index = index, num = 1 });
    }

    private void SetUpBackendChannel()
    {
        if (ProtocolFeatures.HasFlag(VhostUserProtocolFeatures.BACKEND_REQ))
        {
            _backendRequests?.Dispose();
            (_backendRequests, int right) = UnixSocket.Pair();
            _link.SendAndClose(SET_BACKEND_REQ_FD, right);
        }
    }

    private void SetUpInflight(bool fresh)
    {
        if (!_options.Inflight || !ProtocolFeatures.HasFlag(VhostUserProtocolFeatures.INFLIGHT_SHMFD))
        {
            return;
        }

        if (fresh)
        {
            var wanted = new VhostUserInflight { num_queues = (ushort)_queues.Length, queue_size = (ushort)(_options.InflightEntries > 0 ? _options.InflightEntries : _queueSize) };
            (_inflight, _inflightFile) = _link.GetInflight(wanted);
        }

        _link.Set(SET_INFLIGHT_FD, _inflight, (int)_inflightFile!.DangerousGetHandle());
    }
}
