// Requests as blocking system calls: for files in memory on the reactor itself, and for the I/O threads where there is no
// io_uring.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using static Polyblk.Drives.DriveCalls;

namespace Polyblk.Drives.Files;

/// <summary>
/// Does requests, or parts of them, with blocking system calls. Returns 0 or a negative errno; no state, any thread.
/// </summary>
internal static unsafe class BlockingIo
{
    private const int VectorsPerCall = 64;

    /// <summary>Reads or writes a part of a request; short transfers are continued.</summary>
    /// <param name="fd">The file.</param>
    /// <param name="request">A read or write whose buffers the CPU, and O_DIRECT if it is on, can take.</param>
    /// <param name="done">Bytes of the request that are done.</param>
    /// <param name="length">Bytes to do now.</param>
    /// <param name="flags">RWF_* flags.</param>
    public static int Transfer(int fd, BlockRequest request, long done, long length, int flags)
    {
        IoVec* vectors = stackalloc IoVec[VectorsPerCall];
        long end = done + length;
        while (done < end)
        {
            var cursor = new IoVecCursor(request.Vectors, request.VectorCount);
            cursor.Skip(done);
            if (cursor.Take(end - done, vectors, VectorsPerCall, out int count) == 0)
            {
                return -Errno.EINVAL;
            }

            long offset = request.OffsetBytes + done;
            long result = request.Operation == BlockOperation.Read
                ? Libc.preadv2(fd, vectors, count, offset, flags)
                : Libc.pwritev2(fd, vectors, count, offset, flags);
            if (result == 0)
            {
                // The end of a file that somebody made shorter.
                return -Errno.EIO;
            }

            if (result > 0)
            {
                done += result;
            }
            else if (result != -Errno.EINTR && result != -Errno.EAGAIN)
            {
                return (int)result;
            }
        }

        return 0;
    }

    /// <summary>
    /// As <see cref="Transfer"/>, for buffers that O_DIRECT does not take: through an aligned one, a piece at a time.
    /// </summary>
    /// <param name="fd">The file.</param>
    /// <param name="request">A read or write whose buffers the CPU can take.</param>
    /// <param name="done">Bytes of the request that are done.</param>
    /// <param name="length">Bytes to do now.</param>
    /// <param name="flags">RWF_* flags.</param>
    /// <param name="bounce">A buffer of <see cref="BouncePool.BufferBytes"/>.</param>
    public static int TransferBounced(int fd, BlockRequest request, long done, long length, int flags, byte* bounce)
    {
        bool isRead = request.Operation == BlockOperation.Read;
        for (long end = done + length; done < end;)
        {
            long piece = Math.Min(end - done, BouncePool.BufferBytes);
            if (!isRead)
            {
                _ = RequestCopy.Copy(request, done, bounce, piece, toRequest: false);
            }

            int status = TransferBuffer(fd, isRead, bounce, piece, request.OffsetBytes + done, flags);
            if (status < 0)
            {
                return status;
            }

            if (isRead)
            {
                _ = RequestCopy.Copy(request, done, bounce, piece, toRequest: true);
            }

            done += piece;
        }

        return 0;
    }

    /// <summary>Reads into or writes from contiguous memory; short transfers are continued.</summary>
    private static int TransferBuffer(int fd, bool isRead, byte* buffer, long length, long offset, int flags)
    {
        long done = 0;
        while (done < length)
        {
            var vector = new IoVec(buffer + done, (nuint)(length - done));
            long result = isRead ? Libc.preadv2(fd, &vector, 1, offset + done, flags) : Libc.pwritev2(fd, &vector, 1, offset + done, flags);
            if (result == 0)
            {
                return -Errno.EIO;
            }

            if (result > 0)
            {
                done += result;
            }
            else if (result != -Errno.EINTR && result != -Errno.EAGAIN)
            {
                return (int)result;
            }
        }

        return 0;
    }

    /// <summary>Does a part of a flush, discard or write-zeroes.</summary>
    public static int ExecuteRange(int fd, BlockRequest request, long done, long length, bool isBlockDevice, bool flush)
    {
        long offset = request.OffsetBytes + done;
        int status;
        switch (request.Operation)
        {
            case BlockOperation.Flush:
                return flush ? Retry(fd) : 0;
            case BlockOperation.Discard:
                status = isBlockDevice ? DiscardDevice(fd, offset, length) : Libc.fallocate(fd, PunchHole, offset, length);
                return status == -Errno.EOPNOTSUPP ? 0 : status;
            default:
                int mode = ZeroMode(request.Flags);
                status = Libc.fallocate(fd, mode, offset, length);
                if (status == -Errno.EOPNOTSUPP)
                {
                    status = WriteZeroes(fd, offset, length);
                }

                return status == 0 && flush && (request.Flags & BlockFlags.Fua) != 0 ? Retry(fd) : status;
        }
    }

    /// <summary>The mode of fallocate(2) for zeroing: a hole where the device may deallocate, else allocated zeroes.</summary>
    public static int ZeroMode(BlockFlags flags) =>
        (flags & BlockFlags.Unmap) != 0 ? PunchHole : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

    public static int PunchHole => FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

    private static int Retry(int fd)
    {
        int status;
        do
        {
            status = Libc.fdatasync(fd);
        }
        while (status == -Errno.EINTR);
        return status;
    }

    private static int DiscardDevice(int fd, long offset, long length)
    {
        long* range = stackalloc long[2] { offset, length };
        return Libc.ioctl(fd, BLKDISCARD, range);
    }

    private static int WriteZeroes(int fd, long offset, long length)
    {
        byte* zeroes = ZeroBuffer.Address;
        while (length > 0)
        {
            long result = Libc.pwrite(fd, zeroes, (nuint)Math.Min(length, ZeroBuffer.Bytes), offset);
            if (result <= 0 && result != -Errno.EINTR)
            {
                return result == 0 ? -Errno.EIO : (int)result;
            }

            long written = Math.Max(result, 0);
            offset += written;
            length -= written;
        }

        return 0;
    }
}
