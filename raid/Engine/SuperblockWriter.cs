using System.Diagnostics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Engine;

/// <summary>Writes superblocks to the members of a running array, over queues of its own on the home reactor.</summary>
internal sealed class SuperblockWriter(RaidArray array, Reactor home)
{
    private readonly IBlockQueue?[] _queues = new IBlockQueue?[array.Members.Length];

    /// <summary>Opens the queues.</summary>
    public Task OpenAsync() => home.InvokeAsync(() =>
    {
        foreach (RaidMember member in array.Members)
        {
            _queues[member.Role] = member.Drive?.OpenQueue(home);
        }
    });

    /// <summary>Closes the queues.</summary>
    public Task CloseAsync() => home.InvokeAsync(() =>
    {
        for (int i = 0; i < _queues.Length; i++)
        {
            _queues[i]?.Dispose();
            _queues[i] = null;
        }
    });

    /// <summary>Writes a superblock to every member that is not failed, and flushes it. Returns the members that did not take it.</summary>
    /// <param name="superblock">What all are to hold; role, UUID and sequence number become each member's own.</param>
    /// <param name="failed">Members that get none.</param>
    /// <param name="everySlot">
    /// Whether it goes to both slots of a member, one after the other, so that no older one is left.
    /// </param>
    public Task<ulong> WriteAsync(ArraySuperblock superblock, ulong failed, bool everySlot) =>
        ForEachAsync(failed, (member, queue) => WriteOneAsync(superblock, member, queue, copies: everySlot ? 2 : 1));

    /// <summary>Flushes every member that is not failed. Returns the members that did not.</summary>
    public Task<ulong> FlushAsync(ulong failed) =>
        ForEachAsync(failed, (member, queue) => BlockIo.FlushAsync(member.Drive!, queue, home));

    private async Task WriteOneAsync(ArraySuperblock superblock, RaidMember member, IBlockQueue queue, int copies)
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        for (int i = 0; i < copies; i++)
        {
            ArraySuperblock own = superblock with
            {
                Role = member.Role, MemberUuid = member.Uuid, Sequence = member.Sequence + 1,
            };
            SuperblockFormat.Write(own, block);
            long offset = SuperblockFormat.SlotOffset(own.Sequence);
            await BlockIo.WriteAsync(member.Drive!, queue, home, offset, block).ConfigureAwait(false);
            await BlockIo.FlushAsync(member.Drive!, queue, home).ConfigureAwait(false);
            member.Sequence = own.Sequence;
        }
    }

    private async Task<ulong> ForEachAsync(ulong failed, Func<RaidMember, IBlockQueue, Task> action)
    {
        var tasks = new Task<bool>?[_queues.Length];
        for (int role = 0; role < tasks.Length; role++)
        {
            if (((failed >> role) & 1) == 0)
            {
                Debug.Assert(_queues[role] is not null, "a member without a drive is failed");
                tasks[role] = TryAsync(action(array.Members[role], _queues[role]!));
            }
        }

        ulong refused = 0;
        for (int role = 0; role < tasks.Length; role++)
        {
            if (tasks[role] is { } task && !await task.ConfigureAwait(false))
            {
                refused |= 1UL << role;
            }
        }

        return refused;
    }

    private static async Task<bool> TryAsync(Task task)
    {
        try
        {
            await task.ConfigureAwait(false);
            return true;
        }
        catch (BlockIoException)
        {
            // The drive's answer; the caller counts it and gives the member up.
            return false;
        }
    }
}
