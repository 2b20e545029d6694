// One reactor's queue of a file or block device, over the reactor's io_uring.
//
// Theory of operation
//   * A request in flight has a slot. Its index is the operation's tag, so a completion finds it without a search. A request is one
//     operation as a rule, or a chain of them: what a short transfer, a bounce buffer or the number of segments left over is issued
//     again from Slot.Done on. What a request does first and next is its Step.
//   * A request that finds no slot, no bounce buffer or no room in the ring waits in an intrusive list, first come first served; a slot
//     whose next operation found no room is parked. Completions pump both lists; where the ring was full, so does the next turn.
//   * O_DIRECT wants aligned memory: other segments go through a bounce buffer, a piece at a time. A kernel that refuses memory which
//     the limits called good (-EINVAL) gets the same once more through a bounce buffer.
//   * What a device cannot do is learnt from its first answer and not asked again: zeroing by fallocate, polled completions.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;
using static Polyblk.Core.Uring.UringAbi;

namespace Polyblk.Drives.Files;

/// <summary>A queue of a <see cref="FileDrive"/> over io_uring.</summary>
internal sealed unsafe class UringQueue : ReactorWork, IBlockQueue, IUringHandler
{
    private const int Slots = 256;
    private const int BounceBuffers = 32;
    private const int ScratchVectors = 32;
    private const int MaxVectors = 1024;
    private const int MaxRetries = 100_000;
    private const long MaxOperationBytes = 1 << 30;
    private const int NoSlot = -1;

    /// <summary>_IO(0x12, 0) of &lt;linux/blkdev.h&gt;, Linux 6.12: discard as a ring command.</summary>
    private const uint BLOCK_URING_CMD_DISCARD = 0x1200;

    private readonly FileDrive _drive;
    private readonly Reactor _reactor;
    private readonly IoUring _ring;
    private readonly IoUring? _pollRing;
    private readonly IoThread? _thread;
    private readonly BouncePool? _bounce;
    private readonly Slot[] _slots = new Slot[Slots];
    private readonly IoVec* _scratch;
    private readonly int _handler, _pollHandler, _fileIndex, _pollFileIndex, _fd;
    private readonly long _blockMask;
    private readonly nuint _addressMask, _lengthMask;
    private readonly bool _readOnly, _isBlockDevice, _canDiscard;

    private bool _polls, _zeroByFallocate = true, _scheduled;
    private int _freeSlot, _parkedFirst = NoSlot, _parkedLast = NoSlot, _inFlight;
    private RequestList _waiting;

    /// <summary>Opens it, on the reactor's thread.</summary>
    /// <param name="drive">The drive.</param>
    /// <param name="reactor">A reactor with a ring.</param>
    /// <param name="poll">Whether to poll for completions where the kernel lets us.</param>
    public UringQueue(FileDrive drive, Reactor reactor, bool poll)
    {
        _drive = drive;
        drive.File.Keep();
        _reactor = reactor;
        _ring = reactor.Ring!;
        _fd = drive.Fd;
        _blockMask = drive.Limits.LogicalBlockSize - 1;
        _readOnly = drive.Limits.ReadOnly;
        _canDiscard = drive.Limits.Discard;
        _isBlockDevice = drive.File.IsBlockDevice;
        if (drive.IsDirect)
        {
            _addressMask = (nuint)drive.File.MemoryAlignment - 1;
            _lengthMask = (nuint)_blockMask;
            _bounce = new BouncePool(BounceBuffers);
        }

        _scratch = (IoVec*)NativeMemory.Alloc(Slots * ScratchVectors, (nuint)sizeof(IoVec));
        for (int i = 0; i < Slots; i++)
        {
            _slots[i] = new Slot { Next = i + 1 < Slots ? i + 1 : NoSlot, Bounce = BouncePool.None };
        }

        if (_isBlockDevice && _canDiscard && !HasRingDiscard)
        {
            _thread = new IoThread(drive, reactor);
        }

        _pollRing = poll && drive.IsDirect ? IoPollRing.Acquire(reactor, out _) : null;
        _polls = _pollRing is not null;
        _handler = _ring.Attach(this);
        _fileIndex = _ring.TryRegisterFile(_fd);
        _pollHandler = _pollRing?.Attach(this) ?? -1;
        _pollFileIndex = _pollRing?.TryRegisterFile(_fd) ?? -1;
    }

    private enum Step : byte
    {
        Transfer,
        Flush,
        Discard,
        Zero,
        ZeroByWriting,
    }

    /// <summary>Whether completions are being polled for: false from the first refusal of the kernel on.</summary>
    internal bool IsPolling => _polls;

    /// <summary>Whether the kernel has discard as a ring command.</summary>
    private static bool HasRingDiscard { get; } = OperatingSystem.IsLinux() && Environment.OSVersion.Version >= new Version(6, 12);

    public void Submit(BlockRequest request)
    {
        int status = RequestCheck.Validate(request, _drive.SizeBytes, _blockMask, _readOnly);
        if (status != 0)
        {
            request.Complete(status);
        }
        else if (!_waiting.IsEmpty || _freeSlot == NoSlot || !TryStart(request))
        {
            _waiting.Append(request);
        }
    }

    public void OnUringCompletion(uint tag, int result, uint flags)
    {
        int index = (int)tag;
        ref Slot slot = ref _slots[index];
        switch (slot.Step)
        {
            case Step.Transfer:
                OnTransferred(ref slot, index, result);
                break;
            case Step.ZeroByWriting:
                Advance(ref slot, index, result);
                break;
            case Step.Zero:
                OnZeroed(ref slot, index, result);
                break;
            case Step.Discard:
                // The device has no discard after all: that is advice anyway.
                Finish(index, result == -Errno.EOPNOTSUPP ? 0 : Math.Min(result, 0));
                break;
            default:
                OnFlushed(ref slot, index, result);
                break;
        }

        if (!_waiting.IsEmpty || _parkedFirst != NoSlot)
        {
            Pump();
        }
    }

    /// <summary>The turn after the ring was full, or a device asked to be tried again.</summary>
    public override void Run()
    {
        _scheduled = false;
        Pump();
    }

    public void Dispose()
    {
        if (_inFlight != 0 || !_waiting.IsEmpty)
        {
            throw new InvalidOperationException($"Requests to {_drive.Name} are in flight.");
        }

        _ring.Detach(_handler);
        _ring.UnregisterFile(_fileIndex);
        if (_pollRing is not null)
        {
            _pollRing.Detach(_pollHandler);
            _pollRing.UnregisterFile(_pollFileIndex);
            IoPollRing.Release(_reactor);
        }

        _thread?.Dispose();
        _bounce?.Dispose();
        NativeMemory.Free(_scratch);
        _drive.File.LetGo();
    }

    /// <summary>
    /// Gives a request a slot and issues its first operation; false, and nothing has happened, when it must wait.
    /// </summary>
    private bool TryStart(BlockRequest request)
    {
        int index = _freeSlot;
        ref Slot slot = ref _slots[index];
        slot.Done = 0;
        slot.Retries = 0;
        slot.NeedsBounce = false;
        switch (request.Operation)
        {
            case BlockOperation.Read:
            case BlockOperation.Write:
                slot.Step = Step.Transfer;
                if (request.RegisteredBuffer < 0)
                {
                    if ((request.Traits & BufferTraits.CpuAccessible) == 0)
                    {
                        request.Complete(-Errno.EFAULT);
                        return true;
                    }

                    slot.NeedsBounce = _bounce is not null && (request.Traits & BufferTraits.Aligned) == 0 && !BouncePool.IsAligned(request, _addressMask, _lengthMask);
                }

                break;
            case BlockOperation.Flush:
                slot.Step = Step.Flush;
                break;
            case BlockOperation.Discard when !_canDiscard:
                request.Complete(0);
                return true;
            case BlockOperation.Discard when _thread is not null:
                _thread.Post(request);
                return true;
            case BlockOperation.Discard:
                slot.Step = Step.Discard;
                break;
            default:
                slot.Step = _zeroByFallocate ? Step.Zero : Step.ZeroByWriting;
                break;
        }

        slot.Request = request;
        if (!TryIssue(ref slot, index))
        {
            slot.Request = null;
            return false;
        }

        _freeSlot = slot.Next;
        _inFlight++;
        return true;
    }

    /// <summary>Issues the slot's next operation; false when there is no room in the ring or no bounce buffer now.</summary>
    private bool TryIssue(ref Slot slot, int index)
    {
        BlockRequest request = slot.Request!;
        bool onPollRing = _polls && slot.Step == Step.Transfer && request.RegisteredBuffer < 0;
        if (slot.NeedsBounce && slot.Step == Step.Transfer && slot.Bounce == BouncePool.None)
        {
            slot.Bounce = _bounce!.TryRent();
            if (slot.Bounce == BouncePool.None)
            {
                // Somebody else of this queue holds each of them, and pumps when he is done.
                return false;
            }
        }

        IoUring ring = onPollRing ? _pollRing! : _ring;
        io_uring_sqe* sqe = ring.TryGetSqe(onPollRing ? _pollHandler : _handler, (uint)index);
        if (sqe is null)
        {
            ReturnBounce(ref slot);
            Schedule();
            return false;
        }

        slot.OnPollRing = onPollRing;
        int fileIndex = onPollRing ? _pollFileIndex : _fileIndex;
        sqe->fd = fileIndex >= 0 ? fileIndex : _fd;
        sqe->flags = fileIndex >= 0 ? IOSQE_FIXED_FILE : (byte)0;
        Fill(sqe, ref slot, index, request);
        return true;
    }

    private void Fill(io_uring_sqe* sqe, ref Slot slot, int index, BlockRequest request)
    {
        long offset = request.OffsetBytes + slot.Done;
        long rest = request.LengthBytes - slot.Done;
        switch (slot.Step)
        {
            case Step.Transfer:
                sqe->off = (ulong)offset;
                sqe->rw_flags = (request.Flags & BlockFlags.Fua) != 0 && request.Operation == BlockOperation.Write ? RWF_DSYNC : 0;
                FillTransfer(sqe, ref slot, index, request, Math.Min(rest, MaxOperationBytes));
                break;
            case Step.Flush:
                sqe->opcode = IORING_OP_FSYNC;
                sqe->fsync_flags = IORING_FSYNC_DATASYNC;
                break;
            case Step.Discard when _isBlockDevice:
                sqe->opcode = IORING_OP_URING_CMD;
                sqe->cmd_op = BLOCK_URING_CMD_DISCARD;
                sqe->addr = (ulong)offset;
                sqe->addr3 = (ulong)rest;
                break;
            case Step.Discard:
                FillAllocate(sqe, BlockingIo.PunchHole, offset, rest);
                break;
            case Step.Zero:
                FillAllocate(sqe, BlockingIo.ZeroMode(request.Flags), offset, rest);
                break;
            default:
                sqe->opcode = IORING_OP_WRITE;
                sqe->off = (ulong)offset;
                sqe->addr = (ulong)ZeroBuffer.Address;
                sqe->len = (uint)Math.Min(rest, ZeroBuffer.Bytes);
                break;
        }
    }

    private void FillTransfer(io_uring_sqe* sqe, ref Slot slot, int index, BlockRequest request, long length)
    {
        bool isRead = request.Operation == BlockOperation.Read;
        if (slot.Bounce != BouncePool.None)
        {
            byte* buffer = _bounce!.Address(slot.Bounce);
            length = Math.Min(length, BouncePool.BufferBytes);
            if (!isRead)
            {
                _ = RequestCopy.Copy(request, slot.Done, buffer, length, toRequest: false);
            }

            FillBuffer(sqe, isRead ? IORING_OP_READ : IORING_OP_WRITE, buffer, length);
        }
        else if (request.RegisteredBuffer >= 0)
        {
            // One contiguous piece an operation; the rest follows as after a short transfer.
            var cursor = new IoVecCursor(request.Vectors, request.VectorCount);
            cursor.Skip(slot.Done);
            IoVec run = cursor.NextRun(length);
            FillBuffer(sqe, isRead ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED, run.Base, (long)run.Length);
            sqe->buf_index = (ushort)request.RegisteredBuffer;
        }
        else if (request.VectorCount == 1)
        {
            byte* buffer = request.Vectors->Base + slot.Done;
            length = Math.Min(length, (long)request.Vectors->Length - slot.Done);
            int pinned = (slot.OnPollRing ? _pollRing! : _ring).Pinned.Find(buffer, (nuint)length);
            if (pinned >= 0)
            {
                FillBuffer(sqe, isRead ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED, buffer, length);
                sqe->buf_index = (ushort)pinned;
            }
            else
            {
                FillBuffer(sqe, isRead ? IORING_OP_READ : IORING_OP_WRITE, buffer, length);
            }
        }
        else
        {
            IoVec* vectors = request.Vectors;
            int count = request.VectorCount;
            if (slot.Done != 0 || count > MaxVectors || request.LengthBytes > length)
            {
                vectors = _scratch + ((long)index * ScratchVectors);
                var cursor = new IoVecCursor(request.Vectors, request.VectorCount);
                cursor.Skip(slot.Done);
                _ = cursor.Take(length, vectors, ScratchVectors, out count);
            }

            sqe->opcode = isRead ? IORING_OP_READV : IORING_OP_WRITEV;
            sqe->addr = (ulong)vectors;
            sqe->len = (uint)count;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FillBuffer(io_uring_sqe* sqe, byte opcode, byte* buffer, long length)
    {
        sqe->opcode = opcode;
        sqe->addr = (ulong)buffer;
        sqe->len = (uint)length;
    }

    /// <summary>IORING_OP_FALLOCATE takes the mode in len and the length in addr.</summary>
    private static void FillAllocate(io_uring_sqe* sqe, int mode, long offset, long length)
    {
        sqe->opcode = IORING_OP_FALLOCATE;
        sqe->off = (ulong)offset;
        sqe->addr = (ulong)length;
        sqe->len = (uint)mode;
    }

    private void OnTransferred(ref Slot slot, int index, int result)
    {
        if (slot.Bounce != BouncePool.None)
        {
            if (result > 0 && slot.Request!.Operation == BlockOperation.Read)
            {
                _ = RequestCopy.Copy(slot.Request, slot.Done, _bounce!.Address(slot.Bounce), result, toRequest: true);
            }

            ReturnBounce(ref slot);
        }

        if (result == -Errno.EOPNOTSUPP && slot.OnPollRing)
        {
            // The device has no poll queues (any more): interrupts from now on.
            _polls = false;
            IssueOrPark(ref slot, index);
        }
        else if (result == -Errno.EINVAL && _bounce is not null && !slot.NeedsBounce && slot.Request!.RegisteredBuffer < 0)
        {
            slot.NeedsBounce = true;
            IssueOrPark(ref slot, index);
        }
        else
        {
            Advance(ref slot, index, result);
        }
    }

    /// <summary>Some bytes of a transfer are done, or it failed.</summary>
    private void Advance(ref Slot slot, int index, int result)
    {
        BlockRequest request = slot.Request!;
        long done = slot.Done + result;
        if (result > 0 && done >= request.LengthBytes)
        {
            Complete(ref slot, index);
            return;
        }

        if (result is -Errno.EAGAIN or -Errno.EINTR && slot.Retries++ < MaxRetries)
        {
            Park(ref slot, index);
            Schedule();
            return;
        }

        // Direct I/O goes on at a block's start. No progress: the end of a file that somebody made shorter.
        done &= _bounce is not null ? ~_blockMask : -1;
        if (result <= 0 || done == slot.Done)
        {
            Finish(index, result < 0 ? result : -Errno.EIO);
            return;
        }

        slot.Done = done;
        IssueOrPark(ref slot, index);
    }

    private void OnZeroed(ref Slot slot, int index, int result)
    {
        if (result == -Errno.EOPNOTSUPP)
        {
            _zeroByFallocate = false;
            slot.Step = Step.ZeroByWriting;
            IssueOrPark(ref slot, index);
        }
        else if (result is -Errno.EAGAIN or -Errno.EINTR && slot.Retries++ < MaxRetries)
        {
            Park(ref slot, index);
            Schedule();
        }
        else if (result < 0)
        {
            Finish(index, result);
        }
        else
        {
            Complete(ref slot, index);
        }
    }

    private void OnFlushed(ref Slot slot, int index, int result)
    {
        if (result is -Errno.EAGAIN or -Errno.EINTR && slot.Retries++ < MaxRetries)
        {
            Park(ref slot, index);
            Schedule();
            return;
        }

        Finish(index, Math.Min(result, 0));
    }

    /// <summary>The data is there; write-zeroes with FUA still needs a flush (a write has RWF_DSYNC).</summary>
    private void Complete(ref Slot slot, int index)
    {
        if (slot.Request!.Operation == BlockOperation.WriteZeroes && (slot.Request.Flags & BlockFlags.Fua) != 0)
        {
            slot.Step = Step.Flush;
            IssueOrPark(ref slot, index);
            return;
        }

        Finish(index, 0);
    }

    private void Finish(int index, int status)
    {
        ref Slot slot = ref _slots[index];
        BlockRequest request = slot.Request!;
        slot.Request = null;
        slot.Next = _freeSlot;
        _freeSlot = index;
        _inFlight--;
        request.Complete(status);
    }

    private void IssueOrPark(ref Slot slot, int index)
    {
        if (!TryIssue(ref slot, index))
        {
            Park(ref slot, index);
        }
    }

    private void Park(ref Slot slot, int index)
    {
        slot.Next = NoSlot;
        if (_parkedFirst == NoSlot)
        {
            _parkedFirst = index;
        }
        else
        {
            _slots[_parkedLast].Next = index;
        }

        _parkedLast = index;
    }

    /// <summary>Issues what is parked, then what waits, as far as there is room.</summary>
    private void Pump()
    {
        while (_parkedFirst != NoSlot)
        {
            int index = _parkedFirst;
            ref Slot slot = ref _slots[index];
            int next = slot.Next;
            if (!TryIssue(ref slot, index))
            {
                return;
            }

            _parkedFirst = next;
        }

        // Out of the list first: a request that completes at once may be submitted again inside its completion.
        while (_freeSlot != NoSlot && _waiting.TakeFirst() is { } request)
        {
            if (!TryStart(request))
            {
                _waiting.PutBack(request);
                return;
            }
        }
    }

    private void Schedule()
    {
        if (!_scheduled)
        {
            _scheduled = true;
            _reactor.Defer(this);
        }
    }

    private void ReturnBounce(ref Slot slot)
    {
        if (slot.Bounce != BouncePool.None)
        {
            _bounce!.Return(slot.Bounce);
            slot.Bounce = BouncePool.None;
        }
    }

    private struct Slot
    {
        public BlockRequest? Request;
        public long Done;
        public int Next;
        public int Bounce;
        public int Retries;
        public Step Step;
        public bool NeedsBounce;
        public bool OnPollRing;
    }
}
