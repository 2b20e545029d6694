// Volumes that have a process each (Isolation/IsolatedVolume.cs): the daemon answers for them, and passes on what is asked.
//
// A record says which ones they are, and is heeded at the start of the volume: one that is served here, or in its process, stays
// there until it is stopped.

using Polyblk.Host.Daemon.Isolation;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon;

public sealed partial class VolumeDaemon
{
    /// <summary>One that has not been succeeded by then is left as it is.</summary>
    private static readonly TimeSpan s_restartLimit = TimeSpan.FromMinutes(1);

    private readonly Dictionary<string, IsolatedVolume> _isolated = new(StringComparer.Ordinal);

    /// <summary>
    /// Asks the processes of volumes that have one how they are; otherwise that is known as of half a second ago. What was
    /// deleted is forgotten.
    /// </summary>
    public async Task RefreshAsync(CancellationToken cancellation)
    {
        await ForgetDeletedAsync().ConfigureAwait(false);
        await Task.WhenAll(Isolated().Select(v => v.RefreshAsync(cancellation))).ConfigureAwait(false);
    }

    /// <summary>
    /// Volumes whose record is gone: a new one of the name has nothing of them, and a process of theirs has nothing more to do.
    /// </summary>
    private async Task ForgetDeletedAsync()
    {
        IsolatedVolume[] deleted;
        lock (_lock)
        {
            if (_isEnding)
            {
                return;
            }

            foreach (DaemonVolume volume in _volumes.Values.ToArray())
            {
                if (volume.State is DaemonState.Stopped or DaemonState.Failed && IsDeleted(volume.Name))
                {
                    _volumes.Remove(volume.Name);
                }
            }

            deleted = _context.Options.Only is not null ? [] : [.. _isolated.Values.Where(v => IsDeleted(v.Name))];
        }

        foreach (IsolatedVolume volume in deleted)
        {
            await EndIsolatedAsync(volume).ConfigureAwait(false);
        }

        bool IsDeleted(string name) => !File.Exists(_context.Store.FileOf(name));
    }

    /// <summary>Has the processes of volumes that have one succeeded by the program as it is installed now.</summary>
    /// <returns>Why one was not, a sentence each.</returns>
    internal async Task<IReadOnlyList<string>> RestartIsolatedAsync(CancellationToken cancellation)
    {
        string?[] refusals = await Task.WhenAll(
            Isolated().Where(v => v.Pid is not null).Select(v => RestartAsync(v, cancellation)))
            .ConfigureAwait(false);
        return [.. refusals.OfType<string>()];
    }

    private static async Task<string?> RestartAsync(IsolatedVolume volume, CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(s_restartLimit);
        try
        {
            _ = await volume.AskAsync(new ControlRequest { Command = "restart" }, limit.Token).ConfigureAwait(false);
            return null;
        }
#pragma warning disable CA1031 // One that hangs, or answers nonsense, must not keep the others from a new program.
        catch (Exception e) when (!cancellation.IsCancellationRequested)
#pragma warning restore CA1031
        {
            string reason = e is OperationCanceledException ? "it does not answer." : e.Message;
            return $"Volume '{volume.Name}' keeps its process: {reason}";
        }
    }

    /// <summary>Whether a volume is one that this process may serve, or answers for.</summary>
    private bool IsOurs(string volume) => _context.Options.Only is not string only || only == volume;

    /// <exception cref="RefusalException">It is not.</exception>
    private void RequireOurs(string volume)
    {
        if (!IsOurs(volume))
        {
            throw RefusalException.Refused($"This process is that of volume '{_context.Options.Only}' alone.");
        }
    }

    private IsolatedVolume[] Isolated()
    {
        lock (_lock)
        {
            return [.. _isolated.Values];
        }
    }

    /// <summary>The process of a volume, where it has one or is to have one; null where it is served here.</summary>
    private async Task<IsolatedVolume?> IsolatedAsync(VolumeRecord record)
    {
        if (_context.Options.Only is not null || Known(record.Name).IsBegun)
        {
            return null;
        }

        if (record.Isolate == true)
        {
            return IsolatedOf(record.Name);
        }

        IsolatedVolume? before;
        lock (_lock)
        {
            before = _isolated.GetValueOrDefault(record.Name);
        }

        if (before is null)
        {
            return null;
        }

        // By its lock, not by what it answers: one that is slow to answer serves all the same.
        await before.RefreshAsync(CancellationToken.None).ConfigureAwait(false);
        if (before.Pid is not null
            && (before.IsSilent || before.Status is { State: DaemonState.Served or DaemonState.Starting or DaemonState.Waiting }))
        {
            return before;
        }

        await EndIsolatedAsync(before).ConfigureAwait(false);
        return null;
    }

    private IsolatedVolume IsolatedOf(string name)
    {
        lock (_lock)
        {
            if (!_isolated.TryGetValue(name, out IsolatedVolume? volume))
            {
                volume = new IsolatedVolume(name, _context);
                _isolated.Add(name, volume);
            }

            return volume;
        }
    }

    /// <summary>A volume without exports is not served, and needs no process.</summary>
    private async Task EndWithoutExportsAsync(IsolatedVolume volume)
    {
        if (_context.Store.TryGet(volume.Name)?.Exports is not { Count: > 0 })
        {
            await EndIsolatedAsync(volume).ConfigureAwait(false);
        }
    }

    private async Task EndIsolatedAsync(IsolatedVolume volume)
    {
        lock (_lock)
        {
            _isolated.Remove(volume.Name);
        }

        await volume.EndAsync().ConfigureAwait(false);
    }

    /// <summary>How a volume is, wherever it is served.</summary>
    private DaemonVolumeJson ToJson(DaemonVolume volume, VolumeRecord? record)
    {
        IsolatedVolume? isolated;
        lock (_lock)
        {
            isolated = volume.IsBegun ? null : _isolated.GetValueOrDefault(volume.Name);
        }

        return isolated is null ? volume.ToJson(record)
            : isolated.Status ?? volume.ToJson(record) with { State = DaemonState.Starting };
    }
}
