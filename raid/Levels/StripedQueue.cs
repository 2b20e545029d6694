// RAID 0, and the way of healthy reads for every level that stripes without copies.
//
// Theory of operation. A request within one chunk is one child on one member, with the parent's own vectors. A larger request is
// cut at the chunks. A discard or write-zeroes over whole stripes is one contiguous range on every member, so it costs one child
// a member however long it is.

using System.Numerics;
using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;

namespace Polyblk.Raid.Levels;

/// <summary>A queue of a RAID 0 array; base of the parity queue.</summary>
internal unsafe class StripedQueue : RaidQueue
{
    private readonly int _dataCount;
    private readonly int _chunkShift;
    private readonly long _maxPieceBytes;

    public StripedQueue(RaidArray array, Reactor reactor, QueueShape shape)
        : base(array, reactor, shape)
    {
        _dataCount = Geometry.DataCount;
        _chunkShift = BitOperations.Log2((uint)Geometry.ChunkSize);
        ChunkMask = Geometry.ChunkSize - 1;
        _maxPieceBytes = array.MaxPieceBytes(BlockOperation.Read);
    }

    protected long ChunkMask { get; }

    protected int ChunkShift => _chunkShift;

    protected override bool HasRoom => Children.Available >= Geometry.MemberCount;

    protected override bool StartRead(BlockRequest request) => StartDirect(request);

    protected override bool StartWrite(BlockRequest request) =>
        request.HasData ? StartDirect(request) : StartOperation(request);

    protected override bool AdvanceData(TransferOp operation)
    {
        while (operation.Next < operation.SegmentEnd)
        {
            if (operation.Status != 0)
            {
                operation.Next = operation.SegmentEnd;
                return true;
            }

            bool issued = !operation.Parent.HasData && (operation.Next & ChunkMask) == 0
                && operation.SegmentEnd - operation.Next >= Geometry.StripeDataSize && operation.Next % Geometry.StripeDataSize == 0
                    ? SendWholeStripes(operation)
                    : SendPiece(operation);
            if (!issued)
            {
                return false;
            }
        }

        return true;
    }

    protected override bool SettleFailure(BlockRequest child)
    {
        int member = (int)(child.Tag & MemberMask);
        if (child.Operation == BlockOperation.Read)
        {
            Array.Members[member].CountReadError();
        }
        else if (child.Operation != BlockOperation.Discard)
        {
            // As of a single drive: the request fails and the next one is tried. Only a drive that is not there any more breaks
            // the array.
            BlockErrorKind kind = BlockErrors.KindOf(child.Status);
            Array.Members[member].NoteWriteError(kind);
            if (child.Operation == BlockOperation.Flush)
            {
                State.NoteLostFlush();
            }

            if (kind == BlockErrorKind.Gone)
            {
                GiveUp(1UL << member, 1UL << member);
            }

            child.Status = BlockErrors.ForConsumer(child.Status);
        }

        return true;
    }

    /// <summary>Finds the place of a volume offset.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    protected void Locate(long offset, out long stripe, out int dataIndex)
    {
        ulong chunk = (ulong)offset >> _chunkShift;
        if (chunk <= uint.MaxValue)
        {
            // A 32-bit division is several times as fast, and lasts for 16 TiB with the smallest chunk.
            stripe = (uint)chunk / (uint)_dataCount;
            dataIndex = (int)((uint)chunk - ((uint)stripe * (uint)_dataCount));
        }
        else
        {
            stripe = (long)(chunk / (ulong)_dataCount);
            dataIndex = (int)((long)chunk - (stripe * _dataCount));
        }
    }

    /// <summary>Starts a read or write that has its data: as one child when it lies within a chunk.</summary>
    protected bool StartDirect(BlockRequest request)
    {
        long offset = request.OffsetBytes;
        if ((offset & ChunkMask) + request.LengthBytes > Geometry.ChunkSize || request.LengthBytes > _maxPieceBytes
            || request.VectorCount > Array.Limits.MaxSegments)
        {
            return StartOperation(request);
        }

        Locate(offset, out long stripe, out int dataIndex);
        int member = Geometry.DataMember(stripe, dataIndex);
        if (Geometry.HasParity && (((State.LostMask | State.SlowMask | State.BadMask) >> member) & 1) != 0)
        {
            return StartOperation(request);
        }

        BlockRequest? child = Children.TryRent();
        if (child is null)
        {
            return false;
        }

        Borrow(child, request, operation: null);
        Send(child, member, Geometry.StripeOffset(stripe) + (offset & ChunkMask));
        return true;
    }

    /// <summary>Sends the part of an operation that lies in the present chunk.</summary>
    protected bool SendPiece(TransferOp operation)
    {
        long offset = operation.Next;
        Locate(offset, out long stripe, out int dataIndex);
        return SendPieceTo(operation, Geometry.DataMember(stripe, dataIndex), Geometry.StripeOffset(stripe) + (offset & ChunkMask));
    }

    /// <summary>Sends the part of an operation that lies in the present chunk to its place.</summary>
    protected bool SendPieceTo(TransferOp operation, int member, long memberOffset)
    {
        BlockRequest? child = Children.TryRent();
        if (child is null)
        {
            return false;
        }

        long offset = operation.Next;
        long length = Math.Min(operation.SegmentEnd - offset, Geometry.ChunkSize - (offset & ChunkMask));
        length = Math.Min(length, Array.MaxPieceBytes(operation.Parent.Operation));
        if (!Slice(child, operation, ref length, out operation.Cursor))
        {
            Children.Return(child);
            operation.Status = -Errno.EINVAL;
            operation.Next = operation.SegmentEnd;
            return true;
        }

        operation.Next = offset + length;
        operation.Pending++;
        Send(child, member, memberOffset);
        return true;
    }

    private bool SendWholeStripes(TransferOp operation)
    {
        if (Children.Available < Geometry.MemberCount)
        {
            return false;
        }

        long stripe = operation.Next / Geometry.StripeDataSize;
        long stripes = (operation.SegmentEnd - operation.Next) / Geometry.StripeDataSize;
        long most = Math.Max(1, Array.MaxPieceBytes(operation.Parent.Operation) >> _chunkShift);
        stripes = Math.Min(stripes, most);
        operation.Next += stripes * Geometry.StripeDataSize;
        for (int member = 0; member < Geometry.MemberCount; member++)
        {
            BlockRequest child = Children.TryRent()!;
            long length = stripes << _chunkShift;
            Slice(child, operation, ref length, out _);
            operation.Pending++;
            Send(child, member, Geometry.StripeOffset(stripe));
        }

        return true;
    }
}
