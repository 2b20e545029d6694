// One ublk queue on one reactor: the data path.
//
// Theory of operation
//   * Each tag is a command that the driver holds: FETCH at first, COMMIT_AND_FETCH ever after. The command completes when there is a
//     request; its description then lies in the shared descriptor of the tag. We submit it to the volume, and its completion fills the
//     next COMMIT_AND_FETCH, which hands the result over and fetches again. Nothing is allocated: a tag has its request and buffer.
//   * The commands fit in 64-byte entries, so they go over the reactor's main ring, where the drives' commands are: one io_uring_enter
//     a turn serves both, and buffers that the driver registers there can be used by the drives.
//   * The character device is no registered file of the ring: before Linux 6.13 a ring lets registered files go in the order of their use,
//     and a tag of another device that is being fetched for hours would keep this one's file open, for which DEL_DEV waits.
//   * The driver binds a queue to the thread that fetched it: everything here runs on the reactor's thread.
//   * A read is committed with its full length or an error, never short; flush, discard and write-zeroes are committed with 0.
//   * The descriptor needs no barrier of ours: the driver writes it before it posts the completion, which the ring reads with acquire.
//   * Draining parks requests that arrive. Stopping is the driver's: STOP_DEV and QUIESCE_DEV complete the commands with -ENODEV.

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;
using Polyblk.Core.Uring;
using static Polyblk.Frontends.Ublk.UblkAbi;

namespace Polyblk.Frontends.Ublk;

/// <summary>What a queue is made of.</summary>
/// <param name="QueueId">Its number.</param>
/// <param name="Depth">Its tags.</param>
/// <param name="CharFd">/dev/ublkcN.</param>
/// <param name="Plan">How data is moved.</param>
/// <param name="MaxIoBytes">Largest read or write in bytes.</param>
/// <param name="BufferAlignment">The volume's <see cref="BlockLimits.BufferAlignment"/>.</param>
/// <param name="FirstBuffer">First entry of the ring's buffer table that belongs to the queue, or -1.</param>
/// <param name="ReadOnly">Whether to fail whatever would change the volume: the kernel sends none of that to a device that it
/// knows to be so.</param>
internal sealed record UblkQueueSettings(
    int QueueId, int Depth, int CharFd, UblkPlan Plan, int MaxIoBytes, int BufferAlignment, int FirstBuffer, bool ReadOnly = false);

/// <summary>
/// The tags of a queue. All members are for the reactor's thread, but for the counters and <see cref="Ended"/>.
/// </summary>
internal sealed unsafe class UblkQueue : IUringHandler, IBlockCompletion, IPoller, IDisposable
{
    private const int SectorShift = 9;

    private readonly UblkQueueSettings _settings;
    private readonly IoUring _ring;
    private readonly IBlockQueue _device;
    private readonly ublksrv_io_desc* _descriptors;
    private readonly UblkBuffers? _buffers;
    private readonly RequestPool _pool;
    private readonly BlockRequest[] _requests;
    private readonly bool[] _buffered;
    private readonly int[] _parked;
    private readonly int[] _uncommitted;
    private readonly int[] _uncommittedResults;
    private readonly long[] _takenNs;
    private readonly TurnLatencies _latencies;
    private readonly Reactor _reactor;
    private readonly int _handler;
    private readonly bool _addressInCommand;
    private readonly bool _registers;
    private readonly bool _copies;
    private readonly bool _readOnly;
    private readonly TaskCompletionSource _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource<int> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private int _parkedCount, _uncommittedCount, _fetched, _endedCount, _begun;
    private bool _isDropped;
    private bool _draining, _abandoned;
    private TaskCompletionSource? _drained;
    private long _reads, _readBytes, _writes, _writeBytes, _flushes, _discards, _errors, _inFlight;

    /// <summary>Makes a queue on a ring. The caller keeps the descriptors mapped until <see cref="Ended"/>.</summary>
    public UblkQueue(UblkQueueSettings settings, Reactor reactor, IoUring ring, IBlockQueue device, ublksrv_io_desc* descriptors)
    {
        _settings = settings;
        _ring = ring;
        _device = device;
        _descriptors = descriptors;
        _addressInCommand = settings.Plan.Mode == UblkCopyMode.Copy;
        _registers = settings.Plan.Mode == UblkCopyMode.ZeroCopy;
        _copies = !_addressInCommand;
        _readOnly = settings.ReadOnly;

        // With zero copy there are buffers too, for requests that turn out to need the CPU; untouched they cost address space
        // only.
        _buffers = new UblkBuffers(settings.Depth, settings.MaxIoBytes);
        _pool = new RequestPool(settings.Depth, 1);
        _requests = new BlockRequest[settings.Depth];
        _buffered = new bool[settings.Depth];
        _parked = new int[settings.Depth];
        _uncommitted = new int[settings.Depth];
        _uncommittedResults = new int[settings.Depth];
        _takenNs = new long[settings.Depth];
        _latencies = new TurnLatencies(reactor);
        _reactor = reactor;
        for (int tag = 0; tag < settings.Depth; tag++)
        {
            _requests[tag] = _pool.TryRent()!;
            _requests[tag].Tag = tag;
        }

        _handler = ring.Attach(this);
    }

    /// <summary>
    /// Finishes when the driver has taken every tag back: with 0, or with the negative errno of the first command that it
    /// refused.
    /// </summary>
    public Task<int> Ended => _ended.Task;

    /// <summary>Whether the driver has or had tags of this queue; only then <see cref="Ended"/> finishes.</summary>
    public bool HasFetched => Volatile.Read(ref _fetched) != 0;

    /// <summary>The first error of a command other than the ordinary end, or 0.</summary>
    public int Failure { get; private set; }

    /// <summary>Requests that the volume holds now.</summary>
    public long InFlight => Volatile.Read(ref _inFlight);

    /// <summary>Finishes when a command is refused: nothing goes on with this queue.</summary>
    public Task Failed => _failed.Task;

    /// <summary>Fetches every tag. Returns 0, or -EBUSY when the ring takes no more; the device must then be stopped.</summary>
    public int FetchAll()
    {
        while (_fetched < _settings.Depth)
        {
            io_uring_sqe* sqe = _ring.TryGetSqe(_handler, (uint)_fetched);
            if (sqe is null)
            {
                return -Errno.EBUSY;
            }

            Fill(sqe, UBLK_U_IO_FETCH_REQ, _fetched++, 0);
        }

        return 0;
    }

    /// <summary>A command ended: there is a request, or the tag is taken back.</summary>
    public void OnUringCompletion(uint tag, int result, uint flags)
    {
        if (result != UBLK_IO_RES_OK)
        {
            End(result);
            return;
        }

        _begun++;
        if (_abandoned)
        {
            // Handed over without the driver's help: the successor gets this request.
            return;
        }

        if (_draining)
        {
            _parked[_parkedCount++] = (int)tag;
            return;
        }

        Start((int)tag);
    }

    /// <summary>The volume has finished a request.</summary>
    public void OnCompleted(BlockRequest request)
    {
        int tag = (int)request.Tag;
        int status = request.Status;
        if (status is -Errno.EFAULT or -Errno.EOPNOTSUPP && request.RegisteredBuffer >= 0)
        {
            // The volume needs the CPU after all (an array that lost a member): take the other way.
            StartBuffered(tag, request);
            return;
        }

        // The block layer knows no other word for what has no room (EDQUOT, EFBIG): they would be EIO to the user.
        int result = BlockErrors.KindOf(status) == BlockErrorKind.NoSpace ? -Errno.ENOSPC : status;
        if (status == 0)
        {
            result = request.HasData ? (int)request.LengthBytes : 0;
            if (_copies && request.Operation == BlockOperation.Read && _buffered[tag] && !CopyOut(tag, request.LengthBytes))
            {
                result = -Errno.EIO;
            }
        }

        Count(request, result);
        Finish(tag, result);
    }

    /// <inheritdoc/>
    public int Poll()
    {
        int work = _begun;
        _begun = 0;
        if (_uncommittedCount != 0)
        {
            CommitAgain();
        }

        return work;
    }

    /// <inheritdoc/>
    public bool TryArm() => _uncommittedCount == 0;

    /// <inheritdoc/>
    public void Disarm()
    {
    }

    /// <inheritdoc/>
    public void OnDropped(Exception error)
    {
        _isDropped = true;
        Failure = Failure == 0 ? -Errno.EIO : Failure;
        _failed.TrySetResult();
        _drained?.TrySetResult();
        _drained = null;
    }

    /// <summary>Parks requests from now on; the task finishes when the volume holds none.</summary>
    public Task Drain()
    {
        _draining = true;
        if (_inFlight == 0 || _isDropped)
        {
            return Task.CompletedTask;
        }

        _drained ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return _drained.Task;
    }

    /// <summary>Starts what was parked and takes requests again.</summary>
    public void Resume()
    {
        _draining = false;
        int count = _parkedCount;
        _parkedCount = 0;
        for (int i = 0; i < count; i++)
        {
            Start(_parked[i]);
        }
    }

    /// <summary>Never touches the descriptors again: they are about to be unmapped while the driver still holds tags.</summary>
    public void Abandon() => _abandoned = true;

    /// <summary>Adds the counters to a sum. Any thread.</summary>
    public void AddTo(ref QueueTotals totals)
    {
        totals.Reads += Volatile.Read(ref _reads);
        totals.ReadBytes += Volatile.Read(ref _readBytes);
        totals.Writes += Volatile.Read(ref _writes);
        totals.WriteBytes += Volatile.Read(ref _writeBytes);
        totals.Flushes += Volatile.Read(ref _flushes);
        totals.Discards += Volatile.Read(ref _discards);
        totals.Errors += Volatile.Read(ref _errors);
        totals.InFlight += Volatile.Read(ref _inFlight);
        totals.Latencies = totals.Latencies?.Plus(_latencies.Read()) ?? _latencies.Read();
    }

    /// <summary>Frees everything. Only after <see cref="Ended"/>, with nothing in flight.</summary>
    public void Dispose()
    {
        _ring.Detach(_handler);
        foreach (BlockRequest request in _requests)
        {
            _pool.Return(request);
        }

        _pool.Dispose();
        _buffers?.Dispose();
    }

    /// <summary>Decodes the descriptor of a tag and submits it.</summary>
    private void Start(int tag)
    {
        _inFlight++;
        _takenNs[tag] = _reactor.TurnNs;
        ublksrv_io_desc descriptor = _descriptors[tag];
        long offset = (long)(descriptor.start_sector << SectorShift);
        long length = (long)descriptor.nr_sectors << SectorShift;
        BlockRequest request = _requests[tag];
        byte operation = (byte)descriptor.op_flags;
        if (_readOnly && operation is (UBLK_IO_OP_WRITE or UBLK_IO_OP_DISCARD or UBLK_IO_OP_WRITE_ZEROES))
        {
            _errors++;
            Finish(tag, -Errno.EROFS);
            return;
        }

        switch (operation)
        {
            case UBLK_IO_OP_READ:
                StartData(tag, request, BlockOperation.Read, offset, length, BlockFlags.None);
                return;
            case UBLK_IO_OP_WRITE:
                BlockFlags fua = (descriptor.op_flags & UBLK_IO_F_FUA) != 0 ? BlockFlags.Fua : BlockFlags.None;
                StartData(tag, request, BlockOperation.Write, offset, length, fua);
                return;
            case UBLK_IO_OP_FLUSH:
                request.Prepare(BlockOperation.Flush, 0, 0, null, 0, this);
                break;
            case UBLK_IO_OP_DISCARD:
                request.Prepare(BlockOperation.Discard, offset, length, null, 0, this);
                break;
            case UBLK_IO_OP_WRITE_ZEROES:
                request.Prepare(BlockOperation.WriteZeroes, offset, length, null, 0, this);
                request.Flags = (descriptor.op_flags & UBLK_IO_F_NOUNMAP) != 0 ? BlockFlags.None : BlockFlags.Unmap;
                request.Flags |= (descriptor.op_flags & UBLK_IO_F_FUA) != 0 ? BlockFlags.Fua : BlockFlags.None;
                break;
            default:
                _errors++;
                Finish(tag, -Errno.EOPNOTSUPP);
                return;
        }

        _device.Submit(request);
    }

    private void StartData(int tag, BlockRequest request, BlockOperation operation, long offset, long length, BlockFlags flags)
    {
        if (length == 0 || length > _settings.MaxIoBytes)
        {
            _errors++;
            Finish(tag, -Errno.EINVAL);
            return;
        }

        request.Prepare(operation, offset, length, request.OwnVectors, 1, this);
        request.Flags = flags;
        bool direct = operation == BlockOperation.Read ? _settings.Plan.ZeroCopyReads : _settings.Plan.ZeroCopyWrites;
        if (!direct)
        {
            StartBuffered(tag, request);
            return;
        }

        _buffered[tag] = false;
        request.OwnVectors[0] = new IoVec(null, (nuint)length);
        request.Traits = BufferTraits.None;
        request.RegisteredBuffer = _settings.FirstBuffer + tag;
        _device.Submit(request);
    }

    /// <summary>Submits a prepared read or write with the tag's buffer.</summary>
    private void StartBuffered(int tag, BlockRequest request)
    {
        long length = request.LengthBytes;
        request.OwnVectors[0] = new IoVec(_buffers![tag], (nuint)length);
        request.RegisteredBuffer = -1;

        // The buffer is ours alone while the volume holds it: no guest can change it under a parity computation.
        request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable;
        request.Traits |= length % _settings.BufferAlignment == 0 ? BufferTraits.Aligned : 0;
        _buffered[tag] = true;
        if (_copies && request.Operation == BlockOperation.Write && !CopyIn(tag, length))
        {
            _errors++;
            Finish(tag, -Errno.EIO);
            return;
        }

        _device.Submit(request);
    }

    // pread and pwrite, not io_uring: the character device cannot say "not now", so the ring would hand each copy to a worker
    // thread.
    private bool CopyIn(int tag, long length)
    {
        byte* buffer = _buffers![tag];
        long position = UserCopyOffset(_settings.QueueId, tag);
        for (long done = 0; done < length;)
        {
            long n = Libc.pread(_settings.CharFd, buffer + done, (nuint)(length - done), position + done);
            if (n <= 0)
            {
                return false;
            }

            done += n;
        }

        return true;
    }

    private bool CopyOut(int tag, long length)
    {
        byte* buffer = _buffers![tag];
        long position = UserCopyOffset(_settings.QueueId, tag);
        for (long done = 0; done < length;)
        {
            long n = Libc.pwrite(_settings.CharFd, buffer + done, (nuint)(length - done), position + done);
            if (n <= 0)
            {
                return false;
            }

            done += n;
        }

        return true;
    }

    private void Count(BlockRequest request, int result)
    {
        if (result < 0)
        {
            _errors++;
            return;
        }

        _latencies.Answered(request.Operation, _takenNs[(int)request.Tag]);
        switch (request.Operation)
        {
            case BlockOperation.Read:
                _reads++;
                _readBytes += request.LengthBytes;
                break;
            case BlockOperation.Write:
                _writes++;
                _writeBytes += request.LengthBytes;
                break;
            case BlockOperation.Flush:
                _flushes++;
                break;
            default:
                _discards++;
                break;
        }
    }

    private void Finish(int tag, int result)
    {
        _inFlight--;
        io_uring_sqe* sqe = _ring.TryGetSqe(_handler, (uint)tag);
        if (sqe is null)
        {
            _uncommitted[_uncommittedCount] = tag;
            _uncommittedResults[_uncommittedCount++] = result;
        }
        else
        {
            Fill(sqe, UBLK_U_IO_COMMIT_AND_FETCH_REQ, tag, result);
        }

        if (_inFlight == 0 && _drained is not null)
        {
            _drained.SetResult();
            _drained = null;
        }
    }

    private void CommitAgain()
    {
        while (_uncommittedCount != 0)
        {
            int last = _uncommittedCount - 1;
            io_uring_sqe* sqe = _ring.TryGetSqe(_handler, (uint)_uncommitted[last]);
            if (sqe is null)
            {
                return;
            }

            Fill(sqe, UBLK_U_IO_COMMIT_AND_FETCH_REQ, _uncommitted[last], _uncommittedResults[last]);
            _uncommittedCount = last;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Fill(io_uring_sqe* sqe, uint command, int tag, int result)
    {
        sqe->opcode = UringAbi.IORING_OP_URING_CMD;
        sqe->fd = _settings.CharFd;
        sqe->cmd_op = command;

        // UBLK_F_AUTO_BUF_REG: struct ublk_auto_buf_reg in addr, the index in its lowest 16 bits, no flags.
        sqe->addr = _registers ? (ulong)(ushort)(_settings.FirstBuffer + tag) : 0;
        *(ublksrv_io_cmd*)sqe->cmd = new ublksrv_io_cmd
        {
            q_id = (ushort)_settings.QueueId,
            tag = (ushort)tag,
            result = result,
            addr = _addressInCommand ? (ulong)_buffers![tag] : 0,
        };
    }

    private void End(int result)
    {
        if (result != UBLK_IO_RES_ABORT && Failure == 0)
        {
            Failure = result;
            _failed.TrySetResult();
        }

        if (++_endedCount == _fetched)
        {
            _ended.TrySetResult(Failure);
        }
    }
}

/// <summary>Sums of queues' counters.</summary>
internal struct QueueTotals
{
    public long Reads, ReadBytes, Writes, WriteBytes, Flushes, Discards, Errors, InFlight;
    public LatencyTable? Latencies;
}
