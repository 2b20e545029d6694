using Microsoft.Win32.SafeHandles;
using Polyblk.Virtio;

namespace Polyblk.Frontends.Vduse;

/// <summary>What a session keeps about one queue. The object itself locks <see cref="Running"/> and <see cref="Past"/>.</summary>
internal sealed class VduseQueue(int index)
{
    /// <summary>Its number.</summary>
    public int Index { get; } = index;

    /// <summary>The queue at work, or null.</summary>
    public VirtioBlkQueue? Running { get; set; }

    /// <summary>Its doorbell.</summary>
    public SafeFileHandle? Kick { get; set; }

    /// <summary>Its log of requests in flight.</summary>
    public InflightLog? Log { get; set; }

    /// <summary>Where it goes on, in the encoding of <see cref="VirtqueueSetup.Base"/>; null where the driver says.</summary>
    public uint? Base { get; set; }

    /// <summary>Sum of the times when it ran before.</summary>
    public VirtioBlkQueueStatistics Past { get; set; } = new();

    /// <summary>The kernel's encoding of a base.</summary>
    public static vduse_vq_state_union Encode(uint value, bool packed) => !packed
        ? new vduse_vq_state_union { avail_index = (ushort)value }
        : new vduse_vq_state_union
        {
            last_avail_counter = (ushort)((value >> 15) & 1),
            last_avail_idx = (ushort)(value & 0x7FFF),
            last_used_counter = (ushort)(value >> 31),
            last_used_idx = (ushort)((value >> 16) & 0x7FFF),
        };

    /// <summary>The base of the kernel's encoding.</summary>
    public static uint Decode(vduse_vq_state_union state, bool packed) => !packed
        ? state.avail_index
        : (uint)(state.last_avail_idx & 0x7FFF) | ((state.last_avail_counter & 1u) << 15)
            | ((uint)(state.last_used_idx & 0x7FFF) << 16) | ((state.last_used_counter & 1u) << 31);
}
