// The two slots at the start of a drive, outside of a running member's ordinary updates (Engine/SuperblockWriter.cs): reading,
// clearing, and what a spare holds.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Superblock;

/// <summary>See the top of the file. Control threads.</summary>
internal static class MemberSlots
{
    /// <summary>The bytes of a slot, or null when the drive does not give them: the other one may be sound.</summary>
    public static async Task<byte[]?> TryReadAsync(IBlockDevice drive, Reactor reactor, ulong slot)
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        try
        {
            await BlockIo.ReadAsync(drive, reactor, SuperblockFormat.SlotOffset(slot), block);
            return block;
        }
        catch (BlockIoException)
        {
            // The caller says that it is unreadable.
            return null;
        }
    }

    /// <summary>
    /// Clears both slots, the older superblock first: whenever the power goes out, what is left is the newest. The older one may
    /// call a member present that has failed since.
    /// </summary>
    /// <exception cref="ArrayException">The drive cannot be written.</exception>
    public static async Task EraseAsync(IBlockDevice drive, Reactor reactor, TimeProvider clock)
    {
        try
        {
            ulong newest = 0;
            if (!drive.Limits.KeepsNothing)
            {
                byte[]? slot0 = await ReadPatientlyAsync(0);
                byte[]? slot1 = await ReadPatientlyAsync(1);
                newest = SuperblockFormat.ParseSlots(slot0, slot1).Superblock?.Sequence ?? 0;
            }

            var zeroes = new byte[SuperblockFormat.SizeBytes];
            foreach (ulong slot in (ulong[])[newest + 1, newest])
            {
                await BlockIo.WriteAsync(drive, reactor, SuperblockFormat.SlotOffset(slot), zeroes);
                await BlockIo.FlushAsync(drive, reactor);
            }
        }
        catch (BlockIoException e)
        {
            throw new ArrayException($"{drive.Name} cannot be written: {e.Message}", e);
        }
        catch (TimeoutException e)
        {
            throw new ArrayException($"{drive.Name} does not answer: check the drive and its cable.", e);
        }

        Task<byte[]?> ReadPatientlyAsync(ulong slot) => TryReadAsync(drive, reactor, slot).WaitAsync(ArrayBuilder.Patience, clock);
    }

    /// <summary>Clears both slots of a drive that may be dead; what cannot be cleared is stale by what the members say.</summary>
    public static async Task TryEraseAsync(IBlockDevice drive, Reactor reactor, TimeProvider clock)
    {
        try
        {
            await EraseAsync(drive, reactor, clock);
        }
        catch (ArrayException)
        {
            // The caller has let the drive go; the members do not list it any more.
        }
    }

    /// <summary>Writes a superblock to the next slot of a member that no run has, and flushes it.</summary>
    /// <param name="superblock">What all are to hold; role, UUID and sequence number become the member's own.</param>
    /// <param name="member">The member; its sequence number goes on.</param>
    /// <param name="reactor">Carries the I/O.</param>
    /// <exception cref="ArrayException">The drive cannot be written.</exception>
    public static async Task WriteMemberAsync(ArraySuperblock superblock, RaidMember member, Reactor reactor)
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        ArraySuperblock own = member.NextOf(superblock);
        SuperblockFormat.Write(own, block);
        try
        {
            await BlockIo.WriteAsync(member.Drive!, reactor, SuperblockFormat.SlotOffset(own.Sequence), block);
            await BlockIo.FlushAsync(member.Drive!, reactor);
            member.Sequence = own.Sequence;
        }
        catch (BlockIoException e)
        {
            throw new ArrayException($"{member.Drive!.Name} cannot be written: {e.Message}", e);
        }
    }

    /// <summary>Writes to both slots of a spare, which are clear, what it waits for.</summary>
    /// <exception cref="ArrayException">The drive cannot be written.</exception>
    public static async Task WriteSpareAsync(ArraySuperblock current, SpareDrive spare, Reactor reactor)
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        try
        {
            for (ulong sequence = 1; sequence <= 2; sequence++)
            {
                SuperblockFormat.Write(
                    current with
                    {
                        Role = ArraySuperblock.SpareRole, MemberUuid = spare.Uuid, Sequence = sequence, Spares = current.Spares.Add(spare.Uuid),

                        // It stays as it is, also when there are none any more.
                        BadRanges = BadRanges.None, Incompatible = current.Incompatible & ~IncompatibleFeatures.BadRanges,
                    },
                    block);
                await BlockIo.WriteAsync(spare.Drive, reactor, SuperblockFormat.SlotOffset(sequence), block);
                await BlockIo.FlushAsync(spare.Drive, reactor);
            }
        }
        catch (BlockIoException e)
        {
            throw new ArrayException($"{spare.Drive.Name} cannot be written: {e.Message}", e);
        }
    }
}
