// The messages of the front-end, one method for each (QEMU, docs/interop/vhost-user.rst, "Front-end message types").

using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.Frontends.VhostUser;

internal sealed partial class Backend
{
    /// <summary>Protocol features that are offered.</summary>
    public const VhostUserProtocolFeatures OfferedProtocolFeatures =
        VhostUserProtocolFeatures.MQ | VhostUserProtocolFeatures.LOG_SHMFD | VhostUserProtocolFeatures.REPLY_ACK
        | VhostUserProtocolFeatures.BACKEND_REQ | VhostUserProtocolFeatures.CONFIG | VhostUserProtocolFeatures.INFLIGHT_SHMFD
        | VhostUserProtocolFeatures.RESET_DEVICE | VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS | VhostUserProtocolFeatures.STATUS;

    /// <summary>Where the device's configuration begins in the registers of virtio-mmio (VIRTIO 1.3, section 4.2.2).</summary>
    private const uint VirtioMmioConfig = 0x100;

    /// <summary>
    /// How long a front-end may leave a reply unread: others (a resize, a stop) wait for the message to be handled.
    /// </summary>
    private const int ReplyTimeoutMs = 5000;

    /// <summary>DEVICE_NEEDS_RESET of the device status (VIRTIO 1.3, section 2.1).</summary>
    private const ulong DeviceNeedsReset = 64;

    /// <summary>Handles the message that the channel holds, and replies where a reply is due.</summary>
    /// <param name="channel">Holds the message; takes the reply.</param>
    /// <param name="fds">The message's descriptors; those that are not taken out of it are closed by the caller.</param>
    /// <exception cref="ProtocolException">The session must end; the message says why.</exception>
    public void Handle(VhostUserChannel channel, FdList fds)
    {
        MessageRule rule = MessageRules.Check(channel.Header, fds.Count, _protocolFeatures);
        bool wantsReply = (channel.Header.flags & VhostUserAbi.NEED_REPLY) != 0 && !rule.HasReply;
        ulong result = 0;
        try
        {
            Dispatch(channel, fds);
        }
        catch (RefusedException e)
        {
            bool canTell = wantsReply && (_protocolFeatures & VhostUserProtocolFeatures.REPLY_ACK) != 0;
            if (e.IsFatal && !canTell)
            {
                throw new ProtocolException($"{channel.Request} failed: {e.Message}");
            }

            _log.LogWarning("{Session}: {Request} refused: {Reason}", _name, channel.Request, e.Message);
            result = 1;
        }

        // Looked at afterwards: the message that negotiates REPLY_ACK may itself want a reply.
        if (wantsReply && (_protocolFeatures & VhostUserProtocolFeatures.REPLY_ACK) != 0)
        {
            ReplyNumber(channel, result);
        }
    }

    private void Dispatch(VhostUserChannel channel, FdList fds)
    {
        switch (channel.Request)
        {
            case GET_FEATURES: ReplyNumber(channel, _offered); break;
            case SET_FEATURES: SetFeatures(channel.Read<ulong>()); break;
            case GET_PROTOCOL_FEATURES: ReplyNumber(channel, (ulong)OfferedProtocolFeatures); break;
            case SET_PROTOCOL_FEATURES: SetProtocolFeatures(channel.Read<ulong>()); break;
            case SET_OWNER: SetOwner(); break;
            case RESET_OWNER: break; // deprecated, and ignored
            case GET_QUEUE_NUM: ReplyNumber(channel, (ulong)_queues.Length); break;
            case GET_MAX_MEM_SLOTS: ReplyNumber(channel, BackendMemory.MaxSlots); break;
            case SET_MEM_TABLE: SetMemTable(channel, fds); break;
            case ADD_MEM_REG: AddMemReg(channel.Read<VhostUserMemRegMsg>().region, fds); break;
            case REM_MEM_REG: RemMemReg(channel.Read<VhostUserMemRegMsg>().region); break;
            case SET_LOG_BASE: SetLogBase(channel, fds); break;
            case SET_LOG_FD: break; // Optional: the front-end reads the log when it wants to. The descriptor is closed.
            case SET_VRING_NUM: SetVringNum(channel.Read<vhost_vring_state>()); break;
            case SET_VRING_ADDR: SetVringAddr(channel.Read<vhost_vring_addr>()); break;
            case SET_VRING_BASE: SetVringBase(channel.Read<vhost_vring_state>()); break;
            case GET_VRING_BASE: GetVringBase(channel); break;
            case SET_VRING_KICK: SetVringKick(channel.Read<ulong>(), fds); break;
            case SET_VRING_CALL: QueueOf(channel.Read<ulong>(), fds, out ForeignDescriptor? call).SetCall(call); break;
            case SET_VRING_ERR: QueueOf(channel.Read<ulong>(), fds, out ForeignDescriptor? error).SetError(error); break;
            case SET_VRING_ENABLE: SetVringEnable(channel.Read<vhost_vring_state>()); break;
            case SET_BACKEND_REQ_FD: SetBackendReqFd(fds); break;
            case GET_CONFIG: GetConfig(channel); break;
            case SET_CONFIG: SetConfig(channel); break;
            case GET_INFLIGHT_FD: GetInflightFd(channel); break;
            case SET_INFLIGHT_FD: SetInflightFd(channel, fds); break;
            case RESET_DEVICE: ResetDevice(); break;
            case SET_STATUS: SetStatus(channel.Read<ulong>()); break;
            case GET_STATUS: ReplyNumber(channel, _status | (AnyQueueBroken ? DeviceNeedsReset : 0)); break;
            default: throw new ProtocolException($"message {channel.Request} is not handled");
        }
    }

    /// <summary>
    /// The connection is the session, so this says little; but a second one on the same connection says that another device
    /// begins. QEMU does that when a device is removed and one added while the chardev stays. What belonged to the one before
    /// goes; protocol features and the channel to the front-end were given anew before this message.
    /// </summary>
    private void SetOwner()
    {
        if (_hasOwner)
        {
            ResetDevice();
            _dirtyLog?.Dispose();
            _dirtyLog = null;
            UseMemory(_memory.Replace([]), onlyAdded: false);
        }

        _hasOwner = true;
    }

    private bool AnyQueueBroken => Array.Exists(_queues, q => q.Live?.Fault is not null);

    private void SetFeatures(ulong features)
    {
        if ((features & ~_offered) != 0)
        {
            throw new ProtocolException($"SET_FEATURES asks for 0x{features & ~_offered:x}, which was not offered");
        }

        ulong changed = features ^ _features;
        if ((changed & ~VhostUserAbi.VHOST_F_LOG_ALL) != 0 && IsInUse)
        {
            throw new ProtocolException($"SET_FEATURES changes 0x{changed:x} while queues run");
        }

        _features = features;
        _virtio.SetFeatures(features);
        UpdateLogging();
    }

    private void SetProtocolFeatures(ulong features)
    {
        ulong unknown = features & ~(ulong)OfferedProtocolFeatures;
        if (unknown != 0)
        {
            throw new ProtocolException($"SET_PROTOCOL_FEATURES asks for 0x{unknown:x}, which was not offered");
        }

        _protocolFeatures = (VhostUserProtocolFeatures)features;
    }

    private void SetMemTable(VhostUserChannel channel, FdList fds)
    {
        uint count = channel.Read<VhostUserMemory>().nregions;
        ReadOnlySpan<byte> payload = channel.Payload[8..];
        if (count > VhostUserAbi.MaxTableRegions || payload.Length < (int)count * 32)
        {
            throw new ProtocolException($"SET_MEM_TABLE names {count} regions in {payload.Length} bytes");
        }

        if (fds.Count != count)
        {
            throw new ProtocolException($"SET_MEM_TABLE names {count} regions and carries {fds.Count} descriptors");
        }

        var regions = new List<SharedRegion>();
        try
        {
            foreach (ref readonly VhostUserMemoryRegion region in MemoryMarshal.Cast<byte, VhostUserMemoryRegion>(payload)[..(int)count])
            {
                regions.Add(_memory.Map(region, fds.TakeForeign()));
            }
        }
        catch
        {
            BackendMemory.DisposeAll(regions);
            throw;
        }

        UseMemory(_memory.Replace(regions), onlyAdded: false);
    }

    private void AddMemReg(in VhostUserMemoryRegion region, FdList fds)
    {
        if (fds.Count != 1)
        {
            throw new ProtocolException("ADD_MEM_REG carries no descriptor");
        }

        SharedRegion added = _memory.Map(region, fds.TakeForeign());
        if (_memory.Contains(added))
        {
            // Once more the same: a device that is plugged in again behind a kept chardev of QEMU begins so.
            added.Dispose();
            return;
        }

        UseMemory(_memory.Add(added), onlyAdded: true);
    }

    // A descriptor that comes with it is closed unused, as the specification wants: some front-ends send one.
    private void RemMemReg(in VhostUserMemoryRegion region)
    {
        if (!_memory.Contains(region))
        {
            throw new RefusedException($"there is no memory region at 0x{region.guest_phys_addr:x} of 0x{region.memory_size:x} bytes", fatal: true);
        }

        UseMemory(_memory.Remove(region), onlyAdded: false);
    }

    private void SetLogBase(VhostUserChannel channel, FdList fds)
    {
        VhostUserLog description = channel.Read<VhostUserLog>();
        if (fds.Count != 1)
        {
            throw new ProtocolException("SET_LOG_BASE carries no descriptor");
        }

        using ForeignDescriptor file = fds.TakeForeign();
        SharedDirtyLog? old = _dirtyLog;
        using MappedRegion bitmap = _memory.Map("dirty log", file.File, description.mmap_offset, description.mmap_size);
        _dirtyLog = new SharedDirtyLog(new DirtyLog(bitmap), description, KeptFile.Keep(file));
        UpdateLogging();
        old?.Dispose();
        ReplyNumber(channel, 0);
    }

    private void SetVringNum(vhost_vring_state state)
    {
        BackendQueue queue = StoppedQueue(state.index, SET_VRING_NUM);
        if (state.num > (uint)_context.Options.QueueSizeLimit || !VirtioBlkQueue.IsValidSize((int)state.num, IsPacked))
        {
            throw new ProtocolException(
                $"SET_VRING_NUM gives queue {state.index} {state.num} entries; at most {_context.Options.QueueSizeLimit}, a power of two, are possible");
        }

        queue.Size = (int)state.num;
        Settle(queue);
    }

    private void SetVringAddr(in vhost_vring_addr address)
    {
        BackendQueue queue = QueueAt(address.index);
        bool moves = queue.Address is not { } old || old.desc_user_addr != address.desc_user_addr
            || old.avail_user_addr != address.avail_user_addr || old.used_user_addr != address.used_user_addr;
        if (moves)
        {
            Stop(queue);
        }

        // The same addresses again: live migration switches logging of the used ring by this message while the ring runs.
        queue.Address = address;
        UpdateLogging();
        Settle(queue);
    }

    private void SetVringBase(vhost_vring_state state)
    {
        BackendQueue queue = StoppedQueue(state.index, SET_VRING_BASE);
        if (queue.DrainedAt is uint end && end != state.num)
        {
            // Another ring begins in its place, to which the record would not belong: a front-end may only have disabled the ring
            // before (cloud-hypervisor's reset), where others read its base.
            queue.Inflight?.Clear();
        }

        queue.Base = state.num;
        Settle(queue);
    }

    private void GetVringBase(VhostUserChannel channel)
    {
        vhost_vring_state state = channel.Read<vhost_vring_state>();
        BackendQueue queue = QueueAt(state.index);
        StopAndForget(queue);
        Reply(channel, new vhost_vring_state { index = state.index, num = queue.Base ?? (IsPacked ? VirtqueueSetup.PackedStart : 0) });
    }

    private void SetVringKick(ulong payload, FdList fds)
    {
        BackendQueue queue = QueueOf(payload, fds, out ForeignDescriptor? kick);
        try
        {
            queue.SetKick(kick);
        }
        catch (IOException e)
        {
            throw new ProtocolException($"SET_VRING_KICK: {e.Message}");
        }

        Settle(queue);
    }

    private void SetVringEnable(vhost_vring_state state)
    {
        BackendQueue queue = QueueAt(state.index);
        if (state.num > 1)
        {
            throw new ProtocolException($"SET_VRING_ENABLE has the value {state.num}, neither 0 nor 1");
        }

        queue.Enabled = state.num == 1;
        Settle(queue);
    }

    private void SetBackendReqFd(FdList fds)
    {
        if (fds.Count != 1)
        {
            throw new ProtocolException("SET_BACKEND_REQ_FD carries no descriptor");
        }

        using ForeignDescriptor given = fds.TakeForeign();
        VhostUserChannel channel;
        try
        {
            channel = new VhostUserChannel(new UnixSocket(given));
        }
        catch (IOException e)
        {
            // The one before stays in use.
            throw new RefusedException($"the front-end's channel cannot be used: {e.Message}", fatal: false);
        }

        _frontendChannel?.Dispose();
        _frontendChannel = channel;
    }

    /// <summary>The reply has the length asked for, padded with zeroes; no payload at all is the specification's error.</summary>
    private void GetConfig(VhostUserChannel channel)
    {
        VhostUserConfig head = channel.Read<VhostUserConfig>();
        uint offset = OffsetInConfig(head.offset);
        if (head.size > VhostUserAbi.MaxConfigBytes || offset > VhostUserAbi.MaxConfigBytes - head.size)
        {
            Send(channel, []);
            return;
        }

        Span<byte> reply = stackalloc byte[12 + (int)head.size];
        MemoryMarshal.Write(reply, head);
        _virtio.ReadConfig((int)offset, reply[12..]);
        Send(channel, reply);
    }

    /// <summary>
    /// The offset counts from the beginning of the device's configuration; some front-ends count it from the beginning of
    /// virtio's registers (cloud-hypervisor until January 2026, issue 7615; Dragonball), where the configuration begins at 0x100.
    /// It is never that long itself.
    /// </summary>
    private static uint OffsetInConfig(uint offset) => offset >= VirtioMmioConfig ? offset - VirtioMmioConfig : offset;

    private void SetConfig(VhostUserChannel channel)
    {
        VhostUserConfig head = channel.Read<VhostUserConfig>();
        ReadOnlySpan<byte> data = channel.Payload[12..];
        if (head.size != data.Length || OffsetInConfig(head.offset) > VhostUserAbi.MaxConfigBytes)
        {
            throw new ProtocolException($"SET_CONFIG says {head.size} bytes and carries {data.Length}");
        }

        int offset = (int)OffsetInConfig(head.offset);
        if (head.flags == VhostUserAbi.SET_CONFIG_TYPE_MIGRATION)
        {
            // A migrated device brings its whole configuration; the write-back byte is all of it that is state.
            int writeback = (int)Marshal.OffsetOf<virtio_blk_config>(nameof(virtio_blk_config.writeback));
            if (offset > writeback || writeback >= offset + data.Length)
            {
                return;
            }

            data = data.Slice(writeback - offset, 1);
            offset = writeback;
        }

        if (!_virtio.TryWriteConfig(offset, data))
        {
            throw new RefusedException($"the configuration's bytes {head.offset} to {head.offset + head.size} are read-only", fatal: false);
        }
    }

    private void GetInflightFd(VhostUserChannel channel)
    {
        VhostUserInflight description = ReadInflight(channel);
        try
        {
            (BackendInflight buffer, ForeignDescriptor file) = BackendInflight.Create(description, IsPacked);
            using (file)
            {
                _inflight?.Dispose();
                _inflight = buffer;
                Reply(channel, buffer.Description, [(int)file.File.DangerousGetHandle()]);
            }
        }
        catch (RefusedException e)
        {
            // A reply without a buffer says no.
            _log.LogWarning("{Session}: GET_INFLIGHT_FD refused: {Reason}", _name, e.Message);
            description.mmap_size = 0;
            Reply(channel, description);
        }
    }

    private void SetInflightFd(VhostUserChannel channel, FdList fds)
    {
        VhostUserInflight description = ReadInflight(channel);
        if (fds.Count != 1)
        {
            throw new ProtocolException("SET_INFLIGHT_FD carries no descriptor");
        }

        BackendInflight buffer = BackendInflight.Open(description, fds.TakeForeign(), _memory);
        _inflight?.Dispose();
        _inflight = buffer;
    }

    private void ResetDevice()
    {
        ResetQueues();
        _features = 0;
        _status = 0;
        _virtio.Reset();
        _inflight?.Dispose();
        _inflight = null;
    }

    private void SetStatus(ulong status)
    {
        if (status > byte.MaxValue)
        {
            throw new ProtocolException($"SET_STATUS has the value 0x{status:x}; the status is one byte");
        }

        if (status == 0)
        {
            ResetQueues();
        }

        _status = status & ~DeviceNeedsReset;
    }

    private void ResetQueues()
    {
        AbandonAll();
        foreach (BackendQueue queue in _queues)
        {
            StopAndForget(queue);
            queue.Reset();
        }
    }

    private BackendQueue QueueAt(uint index) => index < (uint)_queues.Length
        ? _queues[index]
        : throw new ProtocolException($"there is no queue {index}; {_queues.Length} are offered");

    private BackendQueue StoppedQueue(uint index, VhostUserRequest request)
    {
        BackendQueue queue = QueueAt(index);
        return queue.Live is null ? queue : throw new ProtocolException($"{request} for queue {index}, which runs");
    }

    /// <summary>Reads the payload of KICK, CALL and ERR: an index, and a descriptor or the flag that none comes.</summary>
    private BackendQueue QueueOf(ulong payload, FdList fds, out ForeignDescriptor? file)
    {
        if ((payload & ~(VhostUserAbi.VRING_IDX_MASK | VhostUserAbi.VRING_NOFD)) != 0)
        {
            throw new ProtocolException($"a vring descriptor message has the payload 0x{payload:x}");
        }

        BackendQueue queue = QueueAt((uint)(payload & VhostUserAbi.VRING_IDX_MASK));
        bool hasFd = (payload & VhostUserAbi.VRING_NOFD) == 0;
        if (hasFd != (fds.Count == 1))
        {
            throw new ProtocolException($"a vring descriptor message for queue {queue.Index} carries {fds.Count} descriptors, which contradicts its payload");
        }

        file = hasFd ? fds.TakeForeign() : null;
        return queue;
    }

    private static VhostUserInflight ReadInflight(VhostUserChannel channel)
    {
        Span<byte> padded = stackalloc byte[24];
        padded.Clear();
        channel.Payload.CopyTo(padded);
        return MemoryMarshal.Read<VhostUserInflight>(padded);
    }

    private static void ReplyNumber(VhostUserChannel channel, ulong value) => Reply(channel, value);

    private static void Reply<T>(VhostUserChannel channel, in T value, ReadOnlySpan<int> fds = default)
        where T : unmanaged => CheckSent(channel.Send(channel.Header.request, VhostUserAbi.REPLY, value, fds, ReplyTimeoutMs));

    private static void Send(VhostUserChannel channel, ReadOnlySpan<byte> payload) =>
        CheckSent(channel.Send(channel.Header.request, VhostUserAbi.REPLY, payload, timeoutMs: ReplyTimeoutMs));

    private static void CheckSent(SocketResult result)
    {
        if (result != SocketResult.Done)
        {
            throw new ProtocolException($"a reply could not be sent ({result})");
        }
    }
}
