using Polyblk.Core.Block;
using Polyblk.Core.Logging;

namespace Polyblk.Drives;

/// <summary>What is true of every drive's size.</summary>
internal static class DriveGeometry
{
    /// <summary>Checks a size and a block size given by a caller.</summary>
    /// <exception cref="ArgumentException">They do not fit.</exception>
    public static void Check(long sizeBytes, int logicalBlockSize)
    {
        if (logicalBlockSize is not (512 or 4096))
        {
            throw new ArgumentException($"The logical block size is 512 or 4096, not {logicalBlockSize}.", nameof(logicalBlockSize));
        }

        if (sizeBytes < logicalBlockSize || sizeBytes % logicalBlockSize != 0)
        {
            throw new ArgumentException(
                $"{sizeBytes} bytes is no size of a drive: it must be a multiple of the block size, {logicalBlockSize}.", nameof(sizeBytes));
        }
    }

    /// <summary>
    /// A drive's error with its remedy. The path is shown so that it can be printed: others may have chosen it.
    /// </summary>
    public static IOException Error(string path, string what, int errno = 0) => errno == 0
        ? new DriveException($"{LogText.Escape(path)}: {what}", 0)
        : new DriveException($"{LogText.Escape(path)}: {what} ({BlockIo.DescribeErrno(errno)}).", errno);
}

/// <summary>A drive cannot be opened or used; the message says why and what to do.</summary>
public sealed class DriveException : IOException
{
    internal DriveException(string message, int errno)
        : base(message) => Errno = errno;

    /// <summary>The error number, positive; 0 when the kernel did not refuse.</summary>
    public int Errno { get; }
}
