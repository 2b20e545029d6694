// What an error of a drive says, in one table: of the drive itself, of its surroundings, or of the request. Every layer that
// decides something by an error (send it again, give a drive up, fail the request alone) asks here.
//
//   Passing       the kernel or the path had no room or no time just now; the same request may well succeed in a moment
//   NoSpace       the file system or the pool under a drive is full; the drive is sound, and the request can succeed when there is room
//   Memory        the submitter's memory cannot be reached; says nothing about the drive
//   Unsupported   the drive does not know the operation
//   Gone          there is no drive any more behind the descriptor; nothing will ever succeed on it
//   Fault         everything else: the drive could not do it
//
// EFBIG is NoSpace: a file may not grow (RLIMIT_FSIZE, the file system's largest file). EROFS is a Fault: a file system that
// turned itself read-only after an error will not take writes again.

namespace Polyblk.Core.Block;

/// <summary>The kinds of errors; the top of the file says what each means.</summary>
public enum BlockErrorKind
{
    /// <summary>No error.</summary>
    None,

    /// <summary>May succeed when it is tried again.</summary>
    Passing,

    /// <summary>No room under the drive.</summary>
    NoSpace,

    /// <summary>The submitter's memory cannot be reached.</summary>
    Memory,

    /// <summary>The drive does not know the operation.</summary>
    Unsupported,

    /// <summary>The drive is not there any more.</summary>
    Gone,

    /// <summary>The drive failed the request.</summary>
    Fault,
}

/// <summary>See the top of the file.</summary>
public static class BlockErrors
{
    /// <summary>The kind of a request's status: 0 or a negative errno.</summary>
    public static BlockErrorKind KindOf(int status) => -status switch
    {
        0 => BlockErrorKind.None,
        Errno.EAGAIN or Errno.EINTR or Errno.ENOMEM or Errno.EBUSY or Errno.ENOBUFS or Errno.ETIMEDOUT => BlockErrorKind.Passing,
        Errno.ENOSPC or Errno.EDQUOT or Errno.EFBIG => BlockErrorKind.NoSpace,
        Errno.EFAULT => BlockErrorKind.Memory,
        Errno.EOPNOTSUPP or Errno.ENOSYS => BlockErrorKind.Unsupported,
        Errno.ENODEV or Errno.ENXIO or Errno.ESHUTDOWN => BlockErrorKind.Gone,
        _ => BlockErrorKind.Fault,
    };

    /// <summary>
    /// Whether a request that ended with a passing error may be sent again. A flush may only when nothing was tried: a file
    /// system tells once of what it could not write, and calls the next flush done (fsync(2), "EIO" and its successors).
    /// </summary>
    public static bool MayRepeat(BlockRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        bool flushes = request.Operation == BlockOperation.Flush || (request.Flags & BlockFlags.Fua) != 0;
        return !flushes || request.Status is -Errno.EAGAIN or -Errno.EINTR;
    }

    /// <summary>
    /// Whether an error may concern just the place that was asked for, so that the drive can serve others: what Linux makes of a
    /// medium error (ENODATA), of one that a device tells without saying more (EREMOTEIO, EIO), of a wrong checksum (EILSEQ).
    /// </summary>
    public static bool MayBeOfPlace(int status) => status is -Errno.EIO or -Errno.ENODATA or -Errno.EREMOTEIO or -Errno.EILSEQ;

    /// <summary>What a consumer is told of an error of that kind: -ENOSPC where room is missing, otherwise -EIO.</summary>
    public static int ForConsumer(int status) => KindOf(status) == BlockErrorKind.NoSpace ? -Errno.ENOSPC : -Errno.EIO;
}
