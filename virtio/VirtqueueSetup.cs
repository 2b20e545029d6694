// What a transport (vhost-user, VDUSE) hands over to start a queue.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;
using Polyblk.Virtio.Memory;

namespace Polyblk.Virtio;

/// <summary>Where the three areas of a virtqueue lie (VIRTIO 1.3, section 2.6).</summary>
/// <param name="Descriptor">The descriptor table, or the descriptor ring of a packed queue.</param>
/// <param name="Driver">The driver area: the available ring, or the driver's event suppression structure.</param>
/// <param name="Device">The device area: the used ring, or the device's event suppression structure.</param>
/// <param name="AreUserAddresses">
/// Whether these are the front-end's own addresses (vhost-user) instead of guest-physical or I/O virtual ones (VDUSE).
/// </param>
public readonly record struct VirtqueueAddresses(ulong Descriptor, ulong Driver, ulong Device, bool AreUserAddresses);

/// <summary>
/// Everything a <see cref="VirtioBlkQueue"/> starts with. The queue takes references of what it keeps; the caller keeps its own.
/// </summary>
public sealed record VirtqueueSetup
{
    /// <summary>A name for messages.</summary>
    public string Name { get; init; } = "virtqueue";

    /// <summary>Where the queue runs.</summary>
    public required Reactor Reactor { get; init; }

    /// <summary>What it serves; the queue opens it on the reactor and closes its own queue when it is disposed.</summary>
    public required IBlockDevice Device { get; init; }

    /// <summary>The virtio-blk device to which the queue belongs: shared by all queues of a session.</summary>
    public required VirtioBlkDevice Virtio { get; init; }

    /// <summary>The guest's memory.</summary>
    public required GuestMemory Memory { get; init; }

    /// <summary>Where the ring lies.</summary>
    public required VirtqueueAddresses Addresses { get; init; }

    /// <summary>Number of descriptors: 1 to 32768, a power of two for split queues.</summary>
    public required int Size { get; init; }

    /// <summary>The negotiated features (<see cref="VirtioFeatures"/>); they say whether the queue is packed.</summary>
    public required ulong Features { get; init; }

    /// <summary>
    /// Where to start, encoded as vhost-user VRING_BASE: the next available index of a split queue; for a packed queue bits 0-14
    /// are the next available index, bit 15 its wrap counter, and bits 16-31 the same for the used index. See <see
    /// cref="PackedStart"/>. With an inflight region that holds a crashed predecessor's state, that state decides instead.
    /// </summary>
    public uint Base { get; init; }

    /// <summary>Eventfd that the driver kicks, or null: the queue must then be polled all the time.</summary>
    public SafeFileHandle? Kick { get; init; }

    /// <summary>How the driver is notified, or null when it polls.</summary>
    public IVirtqueueNotifier? Call { get; init; }

    /// <summary>Told when the driver breaks the ring, or null.</summary>
    public IVirtqueueNotifier? Error { get; init; }

    /// <summary>The log of requests in flight, or null.</summary>
    public InflightLog? Inflight { get; init; }

    /// <summary>The dirty log, or null: see <see cref="VirtioBlkQueue.SetDirtyLogAsync"/>.</summary>
    public DirtyLog? DirtyLog { get; init; }

    /// <summary>Guest-physical address under which writes to the used ring are logged (VHOST_VRING_F_LOG), or null.</summary>
    public ulong? UsedLogAddress { get; init; }

    /// <summary>
    /// Start without taking requests (vhost-user: not enabled yet); <see cref="VirtioBlkQueue.ResumeAsync"/> lets it.
    /// </summary>
    public bool StartPaused { get; init; }

    /// <summary>
    /// Most requests in flight, 1 to <see cref="VirtioBlkQueue.MaxInFlight"/>, where the queue's size allows as many. Each takes
    /// up to 33 KB when it has the most segments.
    /// </summary>
    public int MostInFlight { get; init; } = VirtioBlkQueue.MaxInFlight;

    /// <summary>Most requests popped in a turn.</summary>
    public int BatchSize { get; init; } = 32;

    /// <summary>
    /// A seam for the test that kills a device between any two stores to shared memory: called after each store that the inflight
    /// log's guarantee depends on.
    /// </summary>
    internal Action? AfterStore { get; init; }

    /// <summary><see cref="Base"/> of a packed queue that nobody used before: both indices 0, both wrap counters 1.</summary>
    public const uint PackedStart = 0x8000_8000;
}

/// <summary>
/// A way to notify the driver: an eventfd, an ioctl. Called on the reactor, at most once a batch; must not block or throw.
/// </summary>
public interface IVirtqueueNotifier
{
    /// <summary>Notifies.</summary>
    void Notify();
}

/// <summary>
/// Why a ring is broken. The driver, or memory that went away, is to blame, but for one; the queue stops until it is set up anew.
/// </summary>
public enum VirtqueueFault
{
    /// <summary>It is not.</summary>
    None = 0,

    /// <summary>A ring address is not mapped, or not aligned.</summary>
    RingNotMapped,

    /// <summary>The available index ran ahead by more than the queue's size.</summary>
    AvailIndexJump,

    /// <summary>A descriptor index is not below the table's size.</summary>
    BadDescriptorIndex,

    /// <summary>A chain is a circle or longer than the queue allows.</summary>
    ChainTooLong,

    /// <summary>A chain has more segments than a request can carry.</summary>
    TooManySegments,

    /// <summary>An indirect table is nested, of a bad length, or in an unmapped place.</summary>
    BadIndirectTable,

    /// <summary>A readable descriptor follows a writable one.</summary>
    ReadableAfterWritable,

    /// <summary>
    /// The buffer in which a request's status would go is not in the guest's memory. (Where only others are not, the request
    /// fails and the queue goes on.) To give the request back without a status would not do: drivers then read a stale one, which
    /// may say that all is well.
    /// </summary>
    BufferNotMapped,

    /// <summary>A buffer's total length is 4 GiB or more.</summary>
    ChainTooLarge,

    /// <summary>A request has no header of 16 bytes or no byte for its status.</summary>
    BadRequest,

    /// <summary>The driver made a descriptor available that the device has not given back.</summary>
    DescriptorInUse,

    /// <summary>The inflight log is malformed or contradicts the ring.</summary>
    BadInflightLog,

    /// <summary>A part of the guest's memory has gone: its owner made the file shorter.</summary>
    MemoryLost,

    /// <summary>
    /// Not the driver's doing: an error of ours. The reactor has dropped the queue; the session should end. What was in flight is
    /// not answered.
    /// </summary>
    InternalError,
}

/// <summary>What happened to a broken queue.</summary>
/// <param name="Fault">The kind.</param>
/// <param name="Text">A sentence for the log.</param>
public sealed record VirtqueueFaultReport(VirtqueueFault Fault, string Text);

/// <summary>Counters of a queue.</summary>
public sealed record VirtioBlkQueueStatistics
{
    /// <summary>Reads completed.</summary>
    public long Reads { get; init; }

    /// <summary>Bytes read.</summary>
    public long ReadBytes { get; init; }

    /// <summary>Writes completed.</summary>
    public long Writes { get; init; }

    /// <summary>Bytes written.</summary>
    public long WriteBytes { get; init; }

    /// <summary>Flushes completed.</summary>
    public long Flushes { get; init; }

    /// <summary>Discards and write-zeroes completed.</summary>
    public long Discards { get; init; }

    /// <summary>Requests that ended with an error status.</summary>
    public long Errors { get; init; }

    /// <summary>Notifications sent to the driver.</summary>
    public long Notifications { get; init; }

    /// <summary>Requests in flight now.</summary>
    public long InFlight { get; init; }

    /// <summary>Requests resubmitted from the inflight log.</summary>
    public long Recovered { get; init; }

    /// <summary>How long requests took that succeeded.</summary>
    public LatencyTable Latencies { get; init; } = LatencyTable.Empty;

    /// <summary>The sum of two queues, or of a queue's present and past.</summary>
    public VirtioBlkQueueStatistics Plus(VirtioBlkQueueStatistics other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return new VirtioBlkQueueStatistics
        {
            Reads = Reads + other.Reads,
            ReadBytes = ReadBytes + other.ReadBytes,
            Writes = Writes + other.Writes,
            WriteBytes = WriteBytes + other.WriteBytes,
            Flushes = Flushes + other.Flushes,
            Discards = Discards + other.Discards,
            Errors = Errors + other.Errors,
            Notifications = Notifications + other.Notifications,
            InFlight = InFlight + other.InFlight,
            Recovered = Recovered + other.Recovered,
            Latencies = Latencies.Plus(other.Latencies),
        };
    }
}
