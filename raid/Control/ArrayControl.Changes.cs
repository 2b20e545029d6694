// What a user changes of a running array: each change is an update of its superblocks, and waits its turn among those of the
// control task.

using Polyblk.Core.Block;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Control;

internal sealed partial class ArrayControl
{
    /// <summary>Changes the exported size.</summary>
    /// <exception cref="ArrayException">It cannot be changed: the array has failed, is only read, or is being
    /// stopped.</exception>
    public Task ResizeAsync(long newSizeBytes, Action applied) => ChangeAsync(
        async () =>
        {
            await _superblocks.UpdateAsync(s => s with { ExportedSize = newSizeBytes });
            if (_array.State.IsBroken)
            {
                throw new ArrayException($"Array {_array.Name} has failed; its size stays.");
            }

            applied();
        });

    /// <summary>Somebody knows that blocks may be damaged: forgets it.</summary>
    /// <exception cref="ArrayException">The superblocks cannot be changed: the array has failed, is only read, or is being
    /// stopped.</exception>
    public Task AcknowledgeDamageAsync() => ChangeAsync(
        async () =>
        {
            if (!_superblocks.MayBeDamaged)
            {
                return;
            }

            _superblocks.MayBeDamaged = false;
            await _superblocks.UpdateAsync();
            if (_array.State.IsBroken)
            {
                throw new ArrayException($"Array {_array.Name} has failed; its superblocks stay.");
            }
        });

    /// <inheritdoc cref="RaidArray.SetConsistencyAsync"/>
    public Task SetConsistencyAsync(ArrayConsistency consistency) => ChangeAsync(
        async () =>
        {
            if (_array.Reshape is not null)
            {
                throw new ArrayException($"Array {_array.Name} has been reshaped since it was started: stop it and start it again for that.");
            }

            if (ArrayBuilder.WhyNot(consistency, _array.Geometry.Level, _array.Members.Any(m => m.Drive is { Limits.IsEphemeral: true })) is { } why)
            {
                throw new ArrayException($"Array {_array.Name} stays as it is: {why}");
            }

            if (consistency == ArrayConsistency.Journal && _array.Journal is null)
            {
                throw new ArrayException($"Array {_array.Name} has no room before its data for a journal. Make it anew and copy what it holds.");
            }

            if (consistency == _array.Consistency)
            {
                return;
            }

            if (consistency == ArrayConsistency.Journal)
            {
                // Rows that are under way have no record: it counts when they are surely written (FinishAsync).
                _mayLackRecords = true;
                _array.Journal!.IsOn = true;
            }
            else
            {
                _array.State.LoseTrust();
            }

            _array.Consistency = consistency;
            _array.Intent!.MarksAll = consistency == ArrayConsistency.None;
            await _superblocks.UpdateAsync();
            if (consistency != ArrayConsistency.Journal && _array.Journal is { } journal && !_array.State.IsBroken && _superblocks.IsKnown)
            {
                // Only now: as long as a start may find superblocks that do not say so, it looks at the records.
                journal.IsOn = false;
            }
        });

    /// <inheritdoc cref="Membership.FailAsync"/>
    public Task FailAsync(int role) => ChangeAsync(() => _membership.FailAsync(role));

    /// <inheritdoc cref="Membership.ReplaceAsync"/>
    public Task ReplaceAsync(int role, IBlockDevice drive, bool force, bool failFirst) =>
        ChangeAsync(() =>
        {
            RefuseWhileReshaping();
            return _membership.ReplaceAsync(role, drive, force, failFirst);
        });

    /// <inheritdoc cref="HotReplacement.ReplaceAsync"/>
    public Task ReplaceWorkingAsync(int role, IBlockDevice drive, bool force) => ChangeAsync(async () =>
    {
        RefuseWhileReshaping();
        await _replacement.ReplaceAsync(role, drive, force);
        Kick();
    });

    /// <inheritdoc cref="Membership.AddSpareAsync"/>
    public Task AddSpareAsync(IBlockDevice drive, bool force) => ChangeAsync(() => _membership.AddSpareAsync(drive, force));

    /// <inheritdoc cref="Membership.RemoveAsync"/>
    public Task RemoveAsync(IBlockDevice drive) => ChangeAsync(async () =>
    {
        if (!await _replacement.CancelAsync(drive))
        {
            await _membership.RemoveAsync(drive);
        }
    });

    /// <summary>The most that a resync or rebuild does, in bytes a second of every member; 0 sets no bound.</summary>
    public long MaxJobBytesPerSecond
    {
        get => _jobs.MaxBytesPerSecond;
        set => _jobs.MaxBytesPerSecond = value;
    }

    /// <inheritdoc cref="ArrayRunOptions.SlowAfter"/>
    public TimeSpan SlowAfter
    {
        get => _watch.SlowAfter;
        set => _watch.SlowAfter = value;
    }

    /// <inheritdoc cref="ArrayRunOptions.DriveTimeout"/>
    public TimeSpan DriveTimeout
    {
        get => _watch.DriveTimeout;
        set => _watch.DriveTimeout = value;
    }

    /// <summary>What has to wait for the end of a reshape.</summary>
    /// <exception cref="ArrayException">One is under way.</exception>
    private void RefuseWhileReshaping()
    {
        if (_array.Reshaping is not null)
        {
            throw new ArrayException($"Array {_array.Name} is being reshaped: wait for the end of that.");
        }
    }

    /// <summary>What the superblocks say. Any thread.</summary>
    public ArraySuperblock Superblock => _superblocks.Current;

    /// <inheritdoc cref="SuperblockWriter.IsSettled"/>
    public bool IsSettled => _superblocks.IsSettled;

    /// <summary>Writes what the superblocks are to say to every member.</summary>
    /// <exception cref="ArrayException">The array has failed, is only read, or is being stopped.</exception>
    public Task RecordAsync() => ChangeAsync(
        async () =>
        {
            await _superblocks.UpdateAsync();
            if (_array.State.IsBroken)
            {
                throw new ArrayException($"Array {_array.Name} has failed; it stays as it is.");
            }
        });

    /// <summary>Does what a user asked for, while nothing else changes superblocks.</summary>
    private async Task ChangeAsync(Func<Task> change)
    {
        await _metadata.WaitAsync();
        try
        {
            if (_ended)
            {
                throw new ArrayException($"Array {_array.Name} has been stopped: start it again.");
            }

            if (_array.Limits.ReadOnly)
            {
                throw new ArrayException($"Array {_array.Name} is only read: start it for writing to change it.");
            }

            await change();
        }
        finally
        {
            _metadata.Release();
        }
    }
}
