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
    private readonly Dictionary<string, IsolatedVolume> _isolated = new(StringComparer.Ordinal);

    /// <summary>Asks the processes of volumes that have one how they are; otherwise that is known as of half a second ago.</summary>
    public Task RefreshAsync(CancellationToken cancellation) => Task.WhenAll(Isolated().Select(v => v.RefreshAsync(cancellation)));

    /// <summary>Has the processes of volumes that have one succeeded by the program as it is installed now.</summary>
    /// <returns>Why one was not, a sentence each.</returns>
    internal async Task<IReadOnlyList<string>> RestartIsolatedAsync(CancellationToken cancellation)
    {
        var refusals = new List<string>();
        foreach (IsolatedVolume volume in Isolated().Where(v => v.Pid is not null))
        {
            try
            {
                _ = await volume.AskAsync(new ControlRequest { Command = "restart" }, cancellation).ConfigureAwait(false);
            }
            catch (RefusalException e)
            {
                refusals.Add($"Volume '{volume.Name}' keeps its process: {e.Message}");
            }
        }

        return refusals;
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

        await before.RefreshAsync(CancellationToken.None).ConfigureAwait(false);
        if (before.Status is { State: DaemonState.Served or DaemonState.Starting or DaemonState.Waiting })
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
