namespace Polyblk.Core.Block;

/// <summary>What a device needs and can do. Frontends pass these on and choose their copy mode from them, once.</summary>
public sealed record BlockLimits
{
    /// <summary>Smallest addressable unit in bytes: 512 or 4096. Offsets and lengths are multiples of it.</summary>
    public int LogicalBlockSize { get; init; } = 512;

    /// <summary>Unit that the medium writes atomically without read-modify-write, in bytes.</summary>
    public int PhysicalBlockSize { get; init; } = 4096;

    /// <summary>Preferred smallest write in bytes (RAID: the chunk); a multiple of the logical block size.</summary>
    public int MinimumIoSize { get; init; } = 4096;

    /// <summary>Preferred write in bytes (RAID: the data of a stripe), or 0 when there is none.</summary>
    public int OptimalIoSize { get; init; }

    /// <summary>
    /// Alignment in bytes that a segment's address and length should have so that no copy is needed; 1 when any will do.
    /// A device takes segments of any alignment and copies them through a buffer of its own where it must.
    /// </summary>
    public int BufferAlignment { get; init; } = 1;

    /// <summary>Largest read or write in bytes that a submitter may send as one request.</summary>
    public long MaxTransferBytes { get; init; } = 4L << 20;

    /// <summary>Largest number of segments that a submitter may send in one request.</summary>
    public int MaxSegments { get; init; } = 256;

    /// <summary>Whether writes may sit in a volatile cache until a flush or FUA.</summary>
    public bool VolatileCache { get; init; } = true;

    /// <summary>
    /// Whether <see cref="BlockOperation.Discard"/> does anything. A device without it completes discards with 0.
    /// </summary>
    public bool Discard { get; init; }

    /// <summary>Granularity of discard in bytes.</summary>
    public int DiscardGranularity { get; init; } = 4096;

    /// <summary>Largest discard in bytes as one request.</summary>
    public long MaxDiscardBytes { get; init; } = 1L << 30;

    /// <summary>Largest write-zeroes in bytes as one request. Every device can write zeroes.</summary>
    public long MaxWriteZeroesBytes { get; init; } = 1L << 30;

    /// <summary>Whether the device keeps nothing: writes vanish, and a read leaves the buffer as it is.</summary>
    public bool KeepsNothing { get; init; }

    /// <summary>Whether what the device holds ends with this process.</summary>
    public bool IsEphemeral { get; init; }

    /// <summary>Whether the device refuses writes.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>
    /// Whether the device's code must itself read the data of writes (parity, checksums). A frontend whose data only the kernel
    /// can reach (ublk zero copy) must then use a mode with <see cref="BufferTraits.CpuAccessible"/> buffers.
    /// </summary>
    public bool NeedsCpuAccessForWrites { get; init; }

    /// <summary>
    /// As <see cref="NeedsCpuAccessForWrites"/>, for reads (RAM devices). Also without it a read may be refused with -EFAULT
    /// where the buffer is not <see cref="BufferTraits.CpuAccessible"/>: a parity array that has lost a member computes blocks.
    /// The submitter then sends the request again with a buffer that is.
    /// </summary>
    public bool NeedsCpuAccessForReads { get; init; }
}
