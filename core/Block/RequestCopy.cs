using System.Runtime.CompilerServices;

namespace Polyblk.Core.Block;

/// <summary>Between the memory of a request, which may be in pieces, and memory that is not.</summary>
public static unsafe class RequestCopy
{
    /// <summary>
    /// Copies between a request's segments, from <paramref name="done"/> on, and contiguous memory; returns the bytes copied.
    /// </summary>
    /// <param name="request">The request.</param>
    /// <param name="done">Where in it the copy begins, in bytes.</param>
    /// <param name="contiguous">The other memory.</param>
    /// <param name="length">How many bytes; fewer are copied where the request ends before.</param>
    /// <param name="toRequest">Whether the request's memory is the target.</param>
    public static long Copy(BlockRequest request, long done, byte* contiguous, long length, bool toRequest)
    {
        var cursor = new IoVecCursor(request.Vectors, request.VectorCount);
        cursor.Skip(done);
        long copied = 0;
        while (copied < length)
        {
            IoVec run = cursor.NextRun(length - copied);
            if (run.Length == 0)
            {
                break;
            }

            if (toRequest)
            {
                Unsafe.CopyBlockUnaligned(run.Base, contiguous + copied, (uint)run.Length);
            }
            else
            {
                Unsafe.CopyBlockUnaligned(contiguous + copied, run.Base, (uint)run.Length);
            }

            copied += (long)run.Length;
        }

        return copied;
    }
}
