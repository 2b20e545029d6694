namespace Polyblk.Compare.Clients.VhostUser;

/// <summary>How a <see cref="VhostUserClient"/> attaches.</summary>
public sealed record VhostUserClientOptions
{
    /// <summary>The back-end's socket.</summary>
    public required string SocketPath { get; init; }

    /// <summary>Number of queues, 1 to 256.</summary>
    public int Queues { get; init; } = 1;

    /// <summary>Requests that each queue can have in flight.</summary>
    public int Depth { get; init; } = 32;

    /// <summary>Bytes of each request's buffer; a multiple of 4096.</summary>
    public int BufferBytes { get; init; } = 4096;

    /// <summary>Packed rings instead of split ones.</summary>
    public bool Packed { get; init; }

    /// <summary>One indirect table for each request instead of a chain of three descriptors.</summary>
    public bool Indirect { get; init; }

    /// <summary>Negotiate EVENT_IDX where it is offered.</summary>
    public bool EventIndex { get; init; } = true;

    /// <summary>
    /// Ask for an inflight buffer where it is offered, so that <see cref="VhostUserClient.Reconnect"/> loses nothing.
    /// </summary>
    public bool Inflight { get; init; }

    /// <summary>
    /// Entries for which the inflight buffer is asked; 0 for those that the queues have. QEMU may ask for fewer than its guest
    /// uses.
    /// </summary>
    public int InflightEntries { get; init; }

    /// <summary>Share memory by ADD_MEM_REG instead of SET_MEM_TABLE.</summary>
    public bool MemorySlots { get; init; }

    /// <summary>Whether the back-end may seal the memory against being made shorter; libblkio's memory cannot be sealed.</summary>
    public bool SealableMemory { get; init; } = true;

    /// <summary>Longest wait for a reply in milliseconds.</summary>
    public int TimeoutMs { get; init; } = 10_000;
}

/// <summary>What a request asks for (VIRTIO 1.3, section 5.2.6).</summary>
public enum ClientOperation : uint
{
    /// <summary>VIRTIO_BLK_T_IN.</summary>
    Read = 0,

    /// <summary>VIRTIO_BLK_T_OUT.</summary>
    Write = 1,

    /// <summary>VIRTIO_BLK_T_FLUSH.</summary>
    Flush = 4,

    /// <summary>VIRTIO_BLK_T_GET_ID: 20 bytes into the buffer.</summary>
    GetId = 8,

    /// <summary>VIRTIO_BLK_T_DISCARD.</summary>
    Discard = 11,

    /// <summary>VIRTIO_BLK_T_WRITE_ZEROES.</summary>
    WriteZeroes = 13,
}

/// <summary>A finished request.</summary>
/// <param name="Slot">Which.</param>
/// <param name="Status">VIRTIO_BLK_S_*: 0 is success.</param>
/// <param name="WrittenBytes">Bytes that the device says it wrote, the status included.</param>
public readonly record struct ClientCompletion(int Slot, byte Status, int WrittenBytes);
