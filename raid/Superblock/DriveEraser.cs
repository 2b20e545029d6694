// What a drive held is taken off it before it becomes a member.
//
// The head up to the members' data is ours: it is zeroed whole. Beyond it only what was recognised is erased, at each place where
// it was found: the rest may be the data of the same array, made once more over drives whose superblocks were lost. What was
// written is read back through the same checks after a flush: a drive that still holds something (it lies, or somebody else
// writes to it) is refused.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Superblock;

/// <summary>Erases what drives hold. Control threads.</summary>
internal static class DriveEraser
{
    /// <summary>
    /// Erases everything that is recognised at every place, and the head, and looks afterwards that nothing is left.
    /// </summary>
    /// <param name="drive">A drive whose content was given up.</param>
    /// <param name="headBytes">The head, a multiple of 4096: where the members' data begins.</param>
    /// <param name="reactor">Carries the I/O.</param>
    /// <exception cref="ArrayException">The drive cannot be read or written, or something is still there.</exception>
    public static async Task EraseAllAsync(IBlockDevice drive, long headBytes, Reactor reactor)
    {
        if (drive.Limits.KeepsNothing)
        {
            return;
        }

        try
        {
            foreach (ForeignSignature found in await DetectAsync(drive, reactor))
            {
                if (found.WipeOffset + found.WipeBytes > headBytes)
                {
                    await ZeroAsync(drive, found.WipeOffset, found.WipeBytes, reactor);
                }
            }

            await ZeroAsync(drive, 0, headBytes, reactor);
            await BlockIo.FlushAsync(drive, reactor);
            IReadOnlyList<ForeignSignature> left = await DetectAsync(drive, reactor);
            if (left.Count != 0)
            {
                string what = string.Join(", ", left.Select(f => $"{f.Name} at byte {f.Offset}"));
                throw new ArrayException(
                    $"{drive.Name} was erased, and still holds {what}: it does not keep what is written, or another "
                    + "program writes to it. It is not used; its old content is gone.");
            }
        }
        catch (BlockIoException e)
        {
            throw new ArrayException($"{drive.Name} cannot be erased: {e.Message}", e);
        }
    }

    private static Task<IReadOnlyList<ForeignSignature>> DetectAsync(IBlockDevice drive, Reactor reactor) =>
        ForeignSignatures.DetectAsync(drive.SizeBytes, (offset, buffer) => BlockIo.ReadAsync(drive, reactor, offset, buffer));

    private static async Task ZeroAsync(IBlockDevice drive, long offset, long length, Reactor reactor)
    {
        long bytes = Math.Min(length, drive.SizeBytes - offset);
        if (bytes > 0)
        {
            await BlockIo.WriteAsync(drive, reactor, offset, new byte[bytes]);
        }
    }
}
