using System.Runtime.CompilerServices;

namespace Polyblk.Core.Block;

/// <summary>What every device checks before it takes a request.</summary>
public static class RequestCheck
{
    /// <summary>
    /// Returns 0 when the request lies within the device and may be done there; otherwise -EINVAL (range or alignment), -EROFS,
    /// or -EOPNOTSUPP (unknown operation).
    /// </summary>
    /// <param name="request">The request.</param>
    /// <param name="sizeBytes">Size of the device.</param>
    /// <param name="blockMask">Logical block size - 1.</param>
    /// <param name="readOnly">Whether the device refuses writes.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Validate(BlockRequest request, long sizeBytes, long blockMask, bool readOnly)
    {
        long offset = request.OffsetBytes;
        long length = request.LengthBytes;

        // One comparison each for sign, alignment and end; a read or write of nothing is refused, since its completion would mean
        // nothing.
        if (((offset | length) & (blockMask | long.MinValue)) != 0 || offset > sizeBytes - length)
        {
            return -Errno.EINVAL;
        }

        if (request.Operation == BlockOperation.Read)
        {
            return length != 0 ? 0 : -Errno.EINVAL;
        }

        return ValidateChange(request, length, readOnly);
    }

    private static int ValidateChange(BlockRequest request, long length, bool readOnly) => request.Operation switch
    {
        BlockOperation.Flush => 0,
        > BlockOperation.WriteZeroes => -Errno.EOPNOTSUPP,
        _ when readOnly => -Errno.EROFS,
        _ => length != 0 ? 0 : -Errno.EINVAL,
    };
}
