// One block request, on its way down from a door to the drives or in one of the hops between.
//
// A request is owned by whoever rented it from its pool and lives and dies on one reactor: it is submitted there, and it is
// completed there, exactly once. Between Submit and OnCompleted it belongs to the device; the submitter does not touch it, but
// for who is told of the end (an array that gives up a drive that hangs): a device takes that from the request when it completes
// it. It may complete inside Submit. Its fields are public because every layer of the data path reads them in its inner loop.

using Polyblk.Core.Reactors;

namespace Polyblk.Core.Block;

/// <summary>Told that a request is done. Called on the reactor that submitted it, possibly inside Submit.</summary>
public interface IBlockCompletion
{
    /// <summary>
    /// <paramref name="request"/> is finished; its status is set and it belongs to the submitter again. Must not block, throw or
    /// allocate. May submit further requests, but a chain of those that can be unbounded goes through <see
    /// cref="Reactor.Defer"/>.
    /// </summary>
    void OnCompleted(BlockRequest request);
}

/// <summary>A block request with its segment list. Pooled: see <see cref="RequestPool"/>.</summary>
public sealed unsafe class BlockRequest : ReactorWork
{
    /// <summary>What to do.</summary>
    public BlockOperation Operation;

    /// <summary>Modifiers.</summary>
    public BlockFlags Flags;

    /// <summary>What may be done with the memory behind <see cref="Vectors"/>.</summary>
    public BufferTraits Traits;

    /// <summary>
    /// Index of the registered buffer (io_uring fixed buffer of the submitting reactor's main ring) that holds all segments, or
    /// -1. Without <see cref="BufferTraits.CpuAccessible"/> the vectors' addresses are offsets into that buffer.
    /// </summary>
    public int RegisteredBuffer = -1;

    /// <summary>First byte on the device. A multiple of the device's logical block size.</summary>
    public long OffsetBytes;

    /// <summary>
    /// Length in bytes; a multiple of the logical block size. Equals the sum of the segments for reads and writes; 0 for a flush.
    /// </summary>
    public long LengthBytes;

    /// <summary>The segments, or null for operations without data. Valid until the request completes.</summary>
    public IoVec* Vectors;

    /// <summary>Number of segments.</summary>
    public int VectorCount;

    /// <summary>0, or a negative errno. Valid from completion on.</summary>
    public int Status;

    /// <summary>Told at completion. Set by the submitter.</summary>
    public IBlockCompletion? Completion;

    /// <summary>For the submitter: the request that this one is a part of.</summary>
    public BlockRequest? Parent;

    /// <summary>For the layer that splits this request: parts still in flight.</summary>
    public int Pending;

    /// <summary>For the submitter: any object of its own.</summary>
    public object? Context;

    /// <summary>For the submitter: any number of its own.</summary>
    public long Tag;

    /// <summary>
    /// For the layer that sends this request to one of several drives: when it was sent, in nanoseconds of its reactor's clock;
    /// below 0 where the clock was read for it.
    /// </summary>
    public long SentNs;

    /// <summary>
    /// For the layer that sends this request to one of several drives: in which of its periods it was sent; 0 when it is at no
    /// drive.
    /// </summary>
    public byte SentPeriod;

    /// <summary>
    /// For the layer that sends this request to one of several drives: how often it was sent again after a passing error.
    /// </summary>
    public byte Tries;

    /// <summary>For the layer that sends this request to one of several drives: which one it goes to again.</summary>
    public byte RetryMember;

    /// <summary>
    /// For the same layer: which of the drives that this one has had the errors were, by a number that goes around.
    /// </summary>
    public byte RetryDrive;

    /// <summary>For the device that holds the request: links it into a waiting list.</summary>
    public BlockRequest? NextWaiting;

    /// <summary>For the pool: which of its requests this is.</summary>
    internal int PoolIndex { get; init; }

    /// <summary>
    /// Segment storage that belongs to this request; <see cref="Vectors"/> may point here or at somebody's list.
    /// </summary>
    public IoVec* OwnVectors { get; internal set; }

    /// <summary>How many segments <see cref="OwnVectors"/> holds.</summary>
    public int OwnVectorCapacity { get; internal set; }

    /// <summary>Whether the operation moves data through <see cref="Vectors"/>.</summary>
    public bool HasData => Operation <= BlockOperation.Write;

    /// <summary>Sets the fields that a submitter always sets, and clears the rest.</summary>
    public void Prepare(
        BlockOperation operation, long offsetBytes, long lengthBytes, IoVec* vectors, int vectorCount, IBlockCompletion completion)
    {
        Prepare(operation, offsetBytes, lengthBytes, vectors, vectorCount);
        Completion = completion;
    }

    /// <summary>
    /// The same for a request whose <see cref="Completion"/> stays: storing a reference costs more than all that is stored here.
    /// </summary>
    public void Prepare(BlockOperation operation, long offsetBytes, long lengthBytes, IoVec* vectors, int vectorCount)
    {
        Operation = operation;
        Flags = BlockFlags.None;
        Traits = BufferTraits.CpuAccessible;
        RegisteredBuffer = -1;
        OffsetBytes = offsetBytes;
        LengthBytes = lengthBytes;
        Vectors = vectors;
        VectorCount = vectorCount;
        Status = 0;
    }

    /// <summary>Finishes the request. Called by the device that holds it, once, on the submitter's reactor.</summary>
    /// <param name="status">0 or a negative errno.</param>
    public void Complete(int status)
    {
        Status = status;
        Completion!.OnCompleted(this);
    }

    /// <summary>
    /// Runs a deferred or posted request: see <see cref="ReactorWork"/>. Completes it with the status already set.
    /// </summary>
    public override void Run() => Completion!.OnCompleted(this);
}
