// Writing a session down for a successor: see SessionScript.

using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.Frontends.VhostUser;

internal sealed partial class Backend
{
    /// <summary>
    /// Stops all queues, and writes down what a successor has to be told. What was taken from the rings is answered, but for
    /// gigabytes of zeroing, which are left in the record of requests in flight, where there is one.
    /// </summary>
    /// <param name="writer">Takes it down.</param>
    /// <returns>
    /// False where something that the front-end gave was not kept: the session cannot go over, and nothing has been stopped.
    /// </returns>
    /// <exception cref="IOException">There are too few descriptors.</exception>
    public bool TryWriteDown(SessionWriter writer)
    {
        if (_memory.Regions.Any(r => r.File is null) || _inflight is { File: null } || _dirtyLog is { File: null })
        {
            _log.LogInformation("{Session}: not all of its memory can be handed over: its front-end has to connect again", _name);
            return false;
        }

        foreach (BackendQueue queue in _queues.Where(q => q is { Live: null, DrainedAt: not null }))
        {
            // The successor cannot tell whether the ring that begins there is the one that the record belongs to.
            queue.Inflight?.Clear();
        }

        WaitAll(_queues, q => q.Live is null ? null
            : StopLiveAsync(q, q.Live, q.Inflight is null ? VirtqueueStop.Finish : VirtqueueStop.Abandon));
        WriteSession(writer);
        WriteMemory(writer);
        foreach (BackendQueue queue in _queues)
        {
            Write(writer, queue);
        }

        return true;
    }

    private void WriteSession(SessionWriter writer)
    {
        if (_protocolFeatures != VhostUserProtocolFeatures.None)
        {
            writer.Add(SET_PROTOCOL_FEATURES, (ulong)_protocolFeatures);
        }

        if (_hasOwner)
        {
            writer.Add(SET_OWNER, []);
        }

        writer.Add(SET_FEATURES, _features);
        if ((_features & VirtioFeatures.VIRTIO_BLK_F_CONFIG_WCE) != 0)
        {
            WriteConfig(writer);
        }

        if (_frontendChannel is not null)
        {
            using var descriptor = new SafeFileHandle(_frontendChannel.Descriptor, ownsHandle: false);
            writer.Add(SET_BACKEND_REQ_FD, [], descriptor);
        }

        if ((_protocolFeatures & VhostUserProtocolFeatures.STATUS) != 0 && _status != 0)
        {
            writer.Add(SET_STATUS, _status);
        }
    }

    /// <summary>The write-back byte is all of the configuration that is state.</summary>
    private void WriteConfig(SessionWriter writer)
    {
        Span<byte> payload = stackalloc byte[Marshal.SizeOf<VhostUserConfig>() + 1];
        MemoryMarshal.Write(payload, new VhostUserConfig
        {
            offset = (uint)Marshal.OffsetOf<virtio_blk_config>(nameof(virtio_blk_config.writeback)), size = 1,
        });
        payload[^1] = _virtio.Config.writeback;
        writer.Add(SET_CONFIG, payload);
    }

    private void WriteMemory(SessionWriter writer)
    {
        if ((_protocolFeatures & VhostUserProtocolFeatures.CONFIGURE_MEM_SLOTS) != 0)
        {
            foreach (SharedRegion region in _memory.Regions)
            {
                writer.Add(ADD_MEM_REG, new VhostUserMemRegMsg { region = Describe(region) }, region.File!.File);
            }
        }
        else if (_memory.Regions.Count > 0)
        {
            // It came in one such message, so it fits.
            byte[] table =
            [
                .. MemoryMarshal.AsBytes([new VhostUserMemory { nregions = (uint)_memory.Regions.Count }]),
                .. MemoryMarshal.AsBytes<VhostUserMemoryRegion>(_memory.Regions.Select(Describe).ToArray()),
            ];
            writer.Add(SET_MEM_TABLE, table, [.. _memory.Regions.Select(r => r.File!.File)]);
        }

        if (_dirtyLog is not null)
        {
            writer.Add(SET_LOG_BASE, _dirtyLog.Place, _dirtyLog.File!.File);
        }

        if (_inflight is not null)
        {
            writer.Add(SET_INFLIGHT_FD, _inflight.Description, _inflight.File!.File);
        }
    }

    private static VhostUserMemoryRegion Describe(SharedRegion shared) => new()
    {
        guest_phys_addr = shared.Region.GuestAddress,
        userspace_addr = shared.Region.UserAddress,
        memory_size = shared.Region.Mapping.SizeBytes,
        mmap_offset = shared.OffsetBytes,
    };

    /// <summary>The kick comes last: with it the ring runs.</summary>
    private static void Write(SessionWriter writer, BackendQueue queue)
    {
        uint index = (uint)queue.Index;
        if (queue.Size != 0)
        {
            writer.Add(SET_VRING_NUM, new vhost_vring_state { index = index, num = (uint)queue.Size });
        }

        if (queue.Base is uint at)
        {
            writer.Add(SET_VRING_BASE, new vhost_vring_state { index = index, num = at });
        }

        if (queue.Address is vhost_vring_addr address)
        {
            writer.Add(SET_VRING_ADDR, address);
        }

        if (queue.Call is not null)
        {
            writer.Add(SET_VRING_CALL, (ulong)index, queue.Call.Descriptor);
        }

        if (queue.Error is not null)
        {
            writer.Add(SET_VRING_ERR, (ulong)index, queue.Error.Descriptor);
        }

        if (queue.Enabled is bool enabled)
        {
            writer.Add(SET_VRING_ENABLE, new vhost_vring_state { index = index, num = enabled ? 1u : 0u });
        }

        if (queue.Kick is not null)
        {
            writer.Add(SET_VRING_KICK, (ulong)index, queue.Kick);
        }
        else if (queue.HasKick)
        {
            writer.Add(SET_VRING_KICK, index | VhostUserAbi.VRING_NOFD);
        }
    }
}
