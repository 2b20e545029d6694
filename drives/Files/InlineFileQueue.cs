// Files in memory (tmpfs) and block devices that are memory: read and written inside Submit by system calls.
//
// io_uring hands every request for tmpfs or zram to a worker thread, because these know no non-blocking I/O: two context switches
// for a memory copy. The copy itself never waits for a device, so the reactor makes the system call at once. Mapping a file would
// save that call, but a file that somebody truncates would then kill the process (SIGBUS).

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Files;

/// <summary>A reactor's queue of a file or block device that lives in memory.</summary>
internal sealed unsafe class InlineFileQueue(FileDrive drive, Reactor reactor) : InlineQueue(reactor)
{
    private readonly int _fd = drive.Fd;
    private readonly long _blockMask = drive.Limits.LogicalBlockSize - 1;
    private readonly bool _readOnly = drive.Limits.ReadOnly;
    private readonly bool _isBlockDevice = drive.File.IsBlockDevice;
    private readonly nuint _addressMask = (nuint)drive.File.MemoryAlignment - 1;
    private readonly BouncePool? _bounce = drive.IsDirect ? new BouncePool(1) : null;

    public override void Submit(BlockRequest request)
    {
        int status = RequestCheck.Validate(request, drive.SizeBytes, _blockMask, _readOnly);
        if (status == 0)
        {
            if (request.LengthBytes > DataPieceBytes)
            {
                Wait(request);
                return;
            }

            status = Execute(request, 0, request.LengthBytes);
        }

        request.Complete(status);
    }

    protected override int Execute(BlockRequest request, long done, long length)
    {
        if (!request.HasData)
        {
            return BlockingIo.ExecuteRange(_fd, request, done, length, _isBlockDevice, flush: false);
        }

        if ((request.Traits & BufferTraits.CpuAccessible) == 0)
        {
            return -Errno.EFAULT;
        }

        if (_bounce is not null && (request.Traits & BufferTraits.Aligned) == 0
            && !BouncePool.IsAligned(request, _addressMask, (nuint)_blockMask))
        {
            return BlockingIo.TransferBounced(_fd, request, done, length, flags: 0, _bounce.Address(0));
        }

        // The common case in one call: one segment, whole.
        if (request.VectorCount == 1 && request.Vectors->Length >= (nuint)(done + length))
        {
            byte* data = request.Vectors->Base + done;
            long offset = request.OffsetBytes + done;
            long result = request.Operation == BlockOperation.Read
                ? Libc.pread(_fd, data, (nuint)length, offset)
                : Libc.pwrite(_fd, data, (nuint)length, offset);
            if (result == length)
            {
                return 0;
            }
        }

        return BlockingIo.Transfer(_fd, request, done, length, flags: 0);
    }

    protected override void DisposeCore() => _bounce?.Dispose();
}
