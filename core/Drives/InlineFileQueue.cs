// Files in memory (tmpfs): read and written inside Submit by system calls.
//
// io_uring hands every request for tmpfs to a worker thread, because tmpfs knows no non-blocking I/O: two context switches for a memory
// copy. The copy itself never waits for a device, so the reactor makes the system call at once. Mapping the file would save that call,
// but a file that somebody truncates would then kill the process (SIGBUS).

using System.Runtime.CompilerServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;

namespace Polyblk.Core.Drives;

/// <summary>A reactor's queue of a file that lives in memory.</summary>
internal sealed unsafe class InlineFileQueue(FileDrive drive, Reactor reactor) : InlineQueue(reactor)
{
    private readonly int _fd = drive.Fd;
    private readonly long _blockMask = drive.Limits.LogicalBlockSize - 1;
    private readonly bool _readOnly = drive.Limits.ReadOnly;

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
            return BlockingIo.ExecuteRange(_fd, request, done, length, isBlockDevice: false, flush: false);
        }

        if ((request.Traits & BufferTraits.CpuAccessible) == 0)
        {
            return -Errno.EFAULT;
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
}
