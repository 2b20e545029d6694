// Which requests are refused, and how: doc/proto.md, "Request types", "Command flags", "Error values" and "Size constraints".

using Polyblk.Core.Block;

namespace Polyblk.Frontends.Nbd;

/// <summary>The rules of the protocol for one request, as it came from the client.</summary>
internal static class NbdRequestCheck
{
    /// <summary>0, or the negative errno with which the request is refused.</summary>
    /// <param name="slot">The request.</param>
    /// <param name="sizeBytes">Size of the export now.</param>
    /// <param name="blockMask">Its logical block size less one.</param>
    /// <param name="readOnly">Whether it takes no writes.</param>
    /// <param name="options">What the client negotiated.</param>
    public static int Check(NbdSlot slot, long sizeBytes, int blockMask, bool readOnly, NbdSessionOptions options)
    {
        NbdCommandFlags? allowed = AllowedFlags(slot.Command, options);
        if (allowed is null || (slot.Flags & ~allowed.Value) != 0)
        {
            return -Errno.EINVAL;
        }

        if (slot.Command == NbdCommand.Flush)
        {
            return (slot.OffsetBytes | slot.LengthBytes) == 0 ? 0 : -Errno.EINVAL;
        }

        if (readOnly && slot.Command is (NbdCommand.Write or NbdCommand.Trim or NbdCommand.WriteZeroes))
        {
            return -Errno.EPERM;
        }

        // The offset is unsigned on the wire: one of 2^63 or more is negative here.
        if (slot.OffsetBytes < 0 || slot.LengthBytes > sizeBytes || slot.OffsetBytes > sizeBytes - slot.LengthBytes)
        {
            return slot.Command is NbdCommand.Write or NbdCommand.WriteZeroes ? -Errno.ENOSPC : -Errno.EINVAL;
        }

        if (slot.HasData && slot.LengthBytes > NbdProtocol.MaxRequestBytes)
        {
            return -Errno.EINVAL;
        }

        return slot.LengthBytes == 0 || ((slot.OffsetBytes | slot.LengthBytes) & blockMask) != 0 ? -Errno.EINVAL : 0;
    }

    /// <summary>
    /// The flags that a command may have, or null for a command that is not known (or not negotiated). FUA must be taken with
    /// all.
    /// </summary>
    private static NbdCommandFlags? AllowedFlags(NbdCommand command, NbdSessionOptions options) => command switch
    {
        NbdCommand.Read => NbdCommandFlags.Fua | (options.StructuredReplies ? NbdCommandFlags.DontFragment : 0),
        NbdCommand.Write or NbdCommand.Flush or NbdCommand.Trim => NbdCommandFlags.Fua,
        NbdCommand.WriteZeroes => NbdCommandFlags.Fua | NbdCommandFlags.NoHole,
        NbdCommand.BlockStatus when options.AllocationContext => NbdCommandFlags.Fua | NbdCommandFlags.RequestOne,
        _ => null,
    };
}
