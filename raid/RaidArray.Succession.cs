// How an array that is in use gets another shape: its run ends in order under its consumers, the superblocks are changed, and the
// next run, which is assembled from them like any other, takes over. Consumers see a pause.
//
//   1  every queue takes no request any more, and what it has taken ends;
//   2  the run stops in order: members are flushed and called clean, jobs end; what it has sent to a member that is late is waited
//      for, however long that takes: it could come after what the next run sends;
//   3  the superblocks are changed;
//   4  the next run is assembled from the drives;
//   5  every queue hands on to a queue of the next run, what has waited first.
// A crash at any point is one of a stop, of the change, or of a start. Whatever goes wrong in 3, the array starts again as the
// superblocks say then. Should it not start at all (its drives have gone meanwhile), requests end with errors.
//
// This object stays what consumers and their managers hold: everything that it is asked goes to the run that lives.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Map;
using Polyblk.Raid.Reshape;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

public sealed partial class RaidArray
{
    private static readonly TimeSpan s_restLook = TimeSpan.FromMilliseconds(1);

    private RaidArray? _successor;
    private Task _succeeding = Task.CompletedTask;
    private bool _isPausing;

    /// <summary>The run that does the work: this one, or the last that has taken over.</summary>
    internal RaidArray Live
    {
        get
        {
            RaidArray live = this;
            while (Volatile.Read(ref live._successor) is { } next)
            {
                live = next;
            }

            return live;
        }
    }

    /// <summary>The drives that it has to do with.</summary>
    internal IEnumerable<IBlockDevice> Drives =>
        Members.Where(m => !m.IsAbsent).Select(m => m.Drive!).Concat(Map.Spares.Select(s => s.Drive));

    /// <summary>Ends this run and begins the next one, of other superblocks.</summary>
    /// <param name="what">What the array is to do, for messages.</param>
    /// <param name="newDrives">The drives that come in. Where the change fails, what it has written may name them already.</param>
    /// <param name="change">
    /// Changes the superblocks. It is given what they say. The sequence numbers are those of <see cref="Members"/>.
    /// </param>
    /// <exception cref="ArrayException">It cannot; the array goes on as its superblocks say.</exception>
    internal Task SucceedAsync(string what, IReadOnlyList<IBlockDevice> newDrives, Func<ArraySuperblock, Task> change)
    {
        lock (_lock)
        {
            if (_stopped || _isPausing || _successor is not null)
            {
                throw new ArrayException($"Array {Name} is being stopped, or changed: try again.");
            }

            _isPausing = true;
            return _succeeding = SucceedCoreAsync(what, newDrives, change);
        }
    }

    private async Task SucceedCoreAsync(string what, IReadOnlyList<IBlockDevice> newDrives, Func<ArraySuperblock, Task> change)
    {
        // The caller holds the lock.
        await Task.Yield();
        try
        {
            // All members hold the same: an update that is cut off leaves none of them further behind than one event.
            await Control.RecordAsync();
            await PauseAsync();

            // Something may have failed meanwhile, and what only memory knows of that would not survive.
            ArrayGrowth.RefuseUnlessSound(this, what);
        }
        catch
        {
            lock (_lock)
            {
                // From here on none is parked when it is opened.
                _isPausing = false;
            }

            await ForEachQueueAsync(queue => queue.Unpark());
            throw;
        }

        bool isInOrder = await Control.StopAsync(markClean: true);

        // All was at rest and agreed, also when a member has gone since and nobody could be told.
        bool isInSync = !isInOrder && !State.NeedsResync && !State.IsBroken;
        ArrayException? refusal = isInOrder ? null
            : new ArrayException($"Array {Name} has failed, or a drive does not answer: it could not be changed.");
        while (!Control.IsSettled || Members.Any(m => IsUsable(m.Role) && !m.IsDrained))
        {
            await Task.Delay(s_restLook, Options.Clock);
        }

        try
        {
            if (refusal is null)
            {
                // The records of both shapes would name other places.
                await (State.LostMask == 0 && State.BadMask == 0 && Control.Superblock.BadRanges.Members == 0 ? change(Control.Superblock)
                    : throw new ArrayException($"A member of array {Name} has failed, or could not write a block, just now: it was not changed."));
            }
        }
        catch (ArrayException e)
        {
            refusal = e;
        }
#pragma warning disable CA1031 // Whatever it is: consumers wait, and the array goes on as its superblocks say.
        catch (Exception e)
#pragma warning restore CA1031
        {
            refusal = new ArrayException($"Array {Name} could not be changed: {e.Message}", e);
        }

        await BeginNextAsync(newDrives, isInSync);
        if (refusal is not null)
        {
            throw refusal;
        }
    }

    /// <summary>Lets no request in until every queue is at rest.</summary>
    /// <exception cref="ArrayException">A member does not answer.</exception>
    private async Task PauseAsync()
    {
        await ForEachQueueAsync(queue => queue.Park());
        long began = Options.Clock.GetTimestamp();
        while (true)
        {
            bool isAtRest = true;
            await ForEachQueueAsync(queue => isAtRest &= queue.IsAtRest);
            if (isAtRest)
            {
                return;
            }

            if (Options.Clock.GetElapsedTime(began) > Options.SlowAfter)
            {
                throw new ArrayException($"Array {Name} has requests that a drive has not answered for {Options.SlowAfter.TotalSeconds} s: it was not changed.");
            }

            await Task.Delay(s_restLook, Options.Clock);
        }
    }

    private async Task BeginNextAsync(IReadOnlyList<IBlockDevice> newDrives, bool isInSync)
    {
        var options = new ArrayAssembleOptions
        {
            Uuid = Uuid,
            AllowDegraded = true,
            Force = isInSync,
            IsInSync = isInSync,
            LogicalBlockSize = Limits.LogicalBlockSize,
            Run = Options with
            {
                ResyncAfter = TimeSpan.Zero, ResyncMaxBytesPerSecond = Control.MaxJobBytesPerSecond, CheckEvery = Control.CheckEvery,
                SlowAfter = Control.SlowAfter, DriveTimeout = Control.DriveTimeout,
            },
        };
        RaidArray? next = null;
        ArrayException? problem = null;
        try
        {
            // One that has failed at the very end is called present by its superblock still, and may lack what was not flushed.
            IEnumerable<IBlockDevice> drives = Members.Where(m => !m.IsAbsent && IsUsable(m.Role)).Select(m => m.Drive!)
                .Concat(Map.Spares.Select(s => s.Drive));
            next = await ArrayBuilder.AssembleAsync(options, [.. drives, .. newDrives], Control.Home);
            next.Resized += _ => Resized?.Invoke(this);
        }
#pragma warning disable CA1031 // Whatever it is: consumers wait, and get errors then.
        catch (Exception e)
#pragma warning restore CA1031
        {
            problem = e as ArrayException ?? new ArrayException($"Array {Name} could not be started again: {e.Message}", e);
            State.Break();
            Options.OnEvent?.Invoke(new ArrayEvent(ArrayEventKind.RestartFailed) { Array = Name, Reason = e.Message });
        }

        if (next is not null && isInSync)
        {
            await TryRecordAsync(next);
        }

        RaidQueue[] queues;
        lock (_lock)
        {
            Volatile.Write(ref _successor, next);
            queues = _queues;

            // Without a next run there is nothing that could be opened.
            _stopped |= next is null;
            _isPausing = false;
        }

        foreach (RaidQueue queue in queues)
        {
            Task told = queue.Reactor.InvokeAsync(() =>
            {
                if (!queue.Closed.IsCompleted)
                {
                    queue.HandOver(OpenSuccessor(next, queue.Reactor));
                }
            });

            // The others are handed over also when this one's reactor has ended.
            await Task.WhenAny(told, queue.Closed);
        }

        if (problem is not null)
        {
            throw problem;
        }
    }

    /// <summary>
    /// What was found says dirty, and this run knows better: from its first update on it can call the array clean.
    /// </summary>
    private static async Task TryRecordAsync(RaidArray next)
    {
        try
        {
            await next.Control.RecordAsync();
        }
        catch (ArrayException)
        {
            // It has failed meanwhile, which its status says.
        }
    }

    private static IBlockQueue OpenSuccessor(RaidArray? next, Reactor reactor)
    {
        try
        {
            return next?.OpenQueue(reactor) ?? new RefusingQueue(Errno.EIO);
        }
        catch (Exception e) when (e is IOException or InvalidOperationException)
        {
            // A drive cannot be opened there any more.
            return new RefusingQueue(Errno.EIO);
        }
    }

    /// <summary>Whom to stop in place of this run; null when it is this run.</summary>
    private async Task<RaidArray?> TakeSuccessorAsync()
    {
        try
        {
            await _succeeding;
        }
        catch (ArrayException)
        {
            // Whoever wanted it was told.
        }

        return Volatile.Read(ref _successor);
    }
}
