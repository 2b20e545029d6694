using System.Diagnostics;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Map;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

/// <summary>
/// Writes superblocks to the members of a running array, over queues of its own on the home reactor. A passing error is tried
/// again. A member that does not answer for <see cref="ArrayRunOptions.SlowAfter"/> is late: the others are not kept waiting. It
/// gets nothing more until it has answered, and then what is newest. What may be acknowledged meanwhile is for
/// <see cref="ArrayMetadata.IsKnown"/> to say; nothing is called clean.
/// </summary>
internal sealed class SuperblockWriter(RaidArray array, Reactor home, ArrayRunOptions options, Action kick)
{
    private const int MaxTries = 8;
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);

    private readonly Task<bool>?[] _late = new Task<bool>?[array.Members.Length];
    private ulong _caughtUp;
    private int _unsettled;
    private ulong _settled;
    private bool _closed;

    /// <summary>Members whose answer to something earlier is outstanding.</summary>
    public ulong LateMask
    {
        get
        {
            ulong late = 0;
            for (int role = 0; role < _late.Length; role++)
            {
                late |= _late[role] is { IsCompleted: false } ? 1UL << role : 0;
            }

            return late;
        }
    }

    /// <summary>Whether what members answered late has had its consequences, too.</summary>
    public bool IsSettled => Volatile.Read(ref _unsettled) == 0;

    /// <summary>
    /// Whether a member that was late has answered since the last call: it lacks what the others got meanwhile.
    /// </summary>
    public bool TakeCaughtUp() => Interlocked.Exchange(ref _caughtUp, 0) != 0;

    private readonly IBlockQueue?[] _queues = new IBlockQueue?[array.Members.Length];

    /// <summary>Opens the queues.</summary>
    public Task OpenAsync() => home.InvokeAsync(() =>
    {
        foreach (RaidMember member in array.Members)
        {
            _queues[member.Role] = member.Way?.OpenQueue(home);
        }
    });

    /// <summary>Another drive takes a role, or none. What was there owes nothing (<see cref="RaidMember.IsDrained"/>).</summary>
    /// <exception cref="IOException">The drive cannot be opened; nothing has changed.</exception>
    public Task ReplaceAsync(RaidMember member) => home.InvokeAsync(() =>
    {
        IBlockQueue? queue = member.Way?.OpenQueue(home);
        _queues[member.Role]?.Dispose();
        _queues[member.Role] = queue;
        _late[member.Role] = null;
    });

    /// <summary>Closes the queues.</summary>
    public Task CloseAsync() => home.InvokeAsync(() =>
    {
        Volatile.Write(ref _closed, true);
        for (int i = 0; i < _queues.Length; i++)
        {
            if (_late[i] is not { IsCompleted: false })
            {
                _queues[i]?.Dispose();
            }

            // A queue with a request that never comes back cannot be closed; it goes with the process.
            _queues[i] = null;
        }
    });

    /// <summary>
    /// Writes a superblock to every member that is not failed, and flushes it. Returns the members that did not take it.
    /// </summary>
    /// <param name="superblock">What all are to hold; role, UUID and sequence number become each member's own.</param>
    /// <param name="failed">Members that get none.</param>
    /// <param name="everySlot">
    /// Whether it goes to both slots of a member, one after the other, so that no older one is left.
    /// </param>
    public Task<ulong> WriteAsync(ArraySuperblock superblock, ulong failed, bool everySlot) =>
        ForEachAsync(failed, (member, queue) => WriteOneAsync(superblock, member, queue, copies: everySlot ? 2 : 1));

    /// <summary>
    /// Writes a superblock to both slots of one member before any other has it, however long that takes: nobody must be told
    /// something else of the same event meanwhile. Returns whether it did take it.
    /// </summary>
    public async Task<bool> WriteFirstAsync(ArraySuperblock superblock, RaidMember member)
    {
        Task<bool> write = TryAsync(member, () => WriteOneAsync(superblock, member, _queues[member.Role]!, copies: 2));
        while (!write.IsCompleted)
        {
            await Task.WhenAny(write, Task.Delay(s_look, options.Clock));
            array.Control.LookAtMembers();
        }

        return await write;
    }

    /// <summary>Flushes every member that is not failed. Returns the members that did not.</summary>
    public Task<ulong> FlushAsync(ulong failed) => ForEachAsync(failed, FlushOnceAsync);

    /// <summary>A flush that failed is not tried again: <see cref="BlockErrors.MayRepeat"/>.</summary>
    private async Task FlushOnceAsync(RaidMember member, IBlockQueue queue)
    {
        ThrowIfClosed();
        NoteRequest(member, new BlockFault(BlockOperation.Flush, 0, 0, Errno.ETIMEDOUT));
        try
        {
            await BlockIo.FlushAsync(member.Drive!, queue, home);
        }
        catch (BlockIoException e) when (BlockErrors.KindOf(-e.Errno) == BlockErrorKind.Passing
            && e.Errno is not (Errno.EAGAIN or Errno.EINTR))
        {
            throw new BlockIoException(e.Message, new BlockFault(BlockOperation.Flush, 0, 0, Errno.EIO));
        }
    }

    private void NoteRequest(RaidMember member, BlockFault request)
    {
        member.ControlRequest = request;
        member.ControlSince = array.State.Seconds;
    }

    /// <summary>What is late must not go on with a drive that may be somebody else's by then.</summary>
    private void ThrowIfClosed()
    {
        if (Volatile.Read(ref _closed))
        {
            throw new BlockIoException("the array has been stopped", Errno.ESHUTDOWN);
        }
    }

    private async Task WriteOneAsync(ArraySuperblock superblock, RaidMember member, IBlockQueue queue, int copies)
    {
        var block = new byte[SuperblockFormat.SizeBytes];
        if (((Volatile.Read(ref _settled) >> member.Role) & 1) == 0)
        {
            // What was found may be in the drive's cache only: a run that was killed wrote it and did not come to its flush.
            // Should power go out now, and the other slot be torn, both would be lost.
            ThrowIfClosed();
            await FlushOnceAsync(member, queue);
            Interlocked.Or(ref _settled, 1UL << member.Role);
        }

        // Marks come in quick succession, and wait for reads that they need not wait for.
        bool wasLooked = copies == 1 && member.OwnSlots.LookedInSecond == array.State.Seconds;
        if (wasLooked ? array.State.FencedBy is not null : await IsFencedAsync(member, queue))
        {
            return;
        }

        for (int i = 0; i < copies; i++)
        {
            ArraySuperblock own = member.NextOf(superblock);
            SuperblockFormat.Write(own, block);
            long offset = SuperblockFormat.SlotOffset(own.Sequence);
            ThrowIfClosed();
            member.OwnSlots.NoteTry(own.Sequence, block);
            NoteRequest(member, new BlockFault(BlockOperation.Write, offset, block.Length, Errno.ETIMEDOUT));
            await BlockIo.WriteAsync(member.Drive!, queue, home, offset, block);
            await FlushOnceAsync(member, queue);
            member.Sequence = own.Sequence;
            member.OwnSlots.NoteWritten(own.Sequence);
        }
    }

    /// <summary>
    /// Looks whether somebody else has written superblocks to a member: <see cref="OwnSlots"/>. Should that be, the array's part
    /// ends.
    /// </summary>
    private async Task<bool> IsFencedAsync(RaidMember member, IBlockQueue queue)
    {
        member.OwnSlots.LookedInSecond = array.State.Seconds;
        var slots = new byte[]?[2];
        for (ulong slot = 0; slot < (ulong)slots.Length; slot++)
        {
            var block = new byte[SuperblockFormat.SizeBytes];
            long offset = SuperblockFormat.SlotOffset(slot);
            ThrowIfClosed();
            NoteRequest(member, new BlockFault(BlockOperation.Read, offset, block.Length, Errno.ETIMEDOUT));
            try
            {
                await BlockIo.ReadAsync(member.Drive!, queue, home, offset, block);
                slots[slot] = block;
            }
            catch (BlockIoException)
            {
                // Says nothing of others. What this drive is worth is seen by the write.
            }
        }

        if (member.OwnSlots.FindForeign(array.Uuid, member.Sequence, slots) is { } theirs)
        {
            string host = theirs.Host.Length == 0 ? "another host or process" : $"host {theirs.Host}";
            array.State.Fence(new Fencing(member, host, theirs.UpdatedAt));
        }

        return array.State.FencedBy is not null;
    }

    /// <summary>Looks at all members that are not failed whether somebody else uses the array.</summary>
    public Task LookForOthersAsync(ulong failed) => ForEachAsync(failed, IsFencedAsync);

    /// <summary>Gives up a member that did not take a superblock or a flush.</summary>
    /// <param name="role">The member.</param>
    /// <param name="mayHaveLost">Whether what it had taken before may be missing, anywhere: nothing is made from one that has to
    /// stay.</param>
    public void GiveUp(int role, bool mayHaveLost)
    {
        if (!array.State.TryFail(role) && mayHaveLost)
        {
            array.State.Distrust(1UL << role);
        }
    }

    private async Task<ulong> ForEachAsync(ulong failed, Func<RaidMember, IBlockQueue, Task> action)
    {
        var tasks = new Task<bool>?[_queues.Length];
        for (int role = 0; role < tasks.Length; role++)
        {
            if (((failed >> role) & 1) == 0 && _late[role] is not { IsCompleted: false })
            {
                RaidMember member = array.Members[role];
                IBlockQueue? queue = _queues[role];
                Debug.Assert(queue is not null, "a member without a drive is failed");
                _late[role] = null;
                tasks[role] = TryAsync(member, () => action(member, queue!));
            }
        }

        ulong refused = 0;
        long started = options.Clock.GetTimestamp();
        for (int role = 0; role < tasks.Length; role++)
        {
            if (tasks[role] is not { } task)
            {
                continue;
            }

            while (!task.IsCompleted && options.Clock.GetElapsedTime(started) < options.SlowAfter
                && !array.Members[role].IsLeft)
            {
                await Task.WhenAny(task, Task.Delay(s_look, options.Clock));
                array.Control.LookAtMembers();
            }

            if (!task.IsCompleted)
            {
                LeaveLate(role, task);
            }
            else if (!await task)
            {
                refused |= 1UL << role;
            }
        }

        return refused;
    }

    private void LeaveLate(int role, Task<bool> task)
    {
        _late[role] = task;
        Interlocked.Increment(ref _unsettled);
        task.ContinueWith(
            ended =>
            {
                // What comes back behind the end of the run says nothing of the drive: the rest of it was called off here.
                if (!Volatile.Read(ref _closed) && (!ended.IsCompletedSuccessfully || !ended.Result))
                {
                    GiveUp(role, mayHaveLost: true);
                }

                Interlocked.Or(ref _caughtUp, 1UL << role);
                Interlocked.Decrement(ref _unsettled);
                kick();
            },
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
    }

    private async Task<bool> TryAsync(RaidMember member, Func<Task> action)
    {
        try
        {
            for (int tries = 1; ; tries++)
            {
                try
                {
                    await action();
                    return true;
                }
                catch (BlockIoException e) when (BlockErrors.KindOf(-e.Errno) == BlockErrorKind.Passing && tries < MaxTries)
                {
                    await Task.Delay(TimeSpan.FromMilliseconds(1 << tries), options.Clock);
                }
                catch (BlockIoException) when (Volatile.Read(ref _closed))
                {
                    return false;
                }
                catch (BlockIoException e)
                {
                    // The drive's answer; the caller gives the member up.
                    member.NoteWriteError(BlockErrors.KindOf(-e.Errno));
                    if (e.Fault is { } fault)
                    {
                        member.NoteFault(fault);
                    }

                    return false;
                }
            }
        }
        finally
        {
            member.ControlSince = int.MaxValue;
        }
    }
}
