// A served volume: the device, its notes and names, and the ways to end it.

using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Metering;

namespace Polyblk.Frontends.Ublk;

/// <summary>What an export is made of.</summary>
internal sealed record UblkExportParts(
    ExportSpec Spec, UblkDevice Device, IUblkControl Control, UblkHost Host, ReactorNames Reactors, string Link, IReadOnlyList<string> Notes, ILogger Log);

/// <summary>The reactors' names, in the order of the queues.</summary>
internal sealed record ReactorNames(IReadOnlyList<string> Names);

/// <summary>An export through /dev/ublkbN.</summary>
internal sealed class UblkExport : IExport
{
    private const int SectorShift = 9;
    private static readonly TimeSpan SyncTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_lookInterval = TimeSpan.FromMilliseconds(100);

    private readonly UblkExportParts _parts;
    private readonly UblkDevice _device;
    private readonly SemaphoreSlim _gate = new(1, 1);
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private QueueTotals _lastTotals;
    private bool _stopping, _stopped, _drained;

    /// <summary>Makes it of its parts and watches the device.</summary>
    public UblkExport(UblkExportParts parts)
    {
        _parts = parts;
        _device = parts.Device;
        string path = UblkHost.BlockPath(_device.Number);
        Endpoint = new ExportEndpoint(EndpointKind.BlockDevice, path);
        IBlockDevice volume = parts.Spec.Device;
        AttachCommands = UblkAttach.Build(
            path, parts.Link, parts.Spec.VolumeName, volume.SizeBytes, volume.Limits, parts.Spec.ReadOnly || volume.Limits.ReadOnly);
        _ = WatchAsync();
    }

    /// <inheritdoc/>
    public string Id => _parts.Spec.Id;

    /// <inheritdoc/>
    public string Frontend => UblkFrontend.FrontendName;

    /// <inheritdoc/>
    public ExportEndpoint Endpoint { get; }

    /// <inheritdoc/>
    public IReadOnlyList<AttachCommand> AttachCommands { get; }

    /// <inheritdoc/>
    public IReadOnlyList<string> Notes => _parts.Notes;

    /// <inheritdoc/>
    public Task Completion => _completion.Task;

    /// <summary>Whether requests can wait for a successor: the driver allows it, and nobody has taken the device away.</summary>
    private bool OutlivesProcess =>
        (_device.Flags & UblkFeatures.UserRecovery) != 0 && (!_completion.Task.IsFaulted || _device.Queues.Failure != 0);

    /// <inheritdoc/>
    public ExportStatistics GetStatistics()
    {
        QueueTotals totals = _stopped ? _lastTotals : _device.Queues.Totals();
        return new ExportStatistics
        {
            Sessions = _stopped ? 0 : 1,
            Reads = totals.Reads,
            ReadBytes = totals.ReadBytes,
            Writes = totals.Writes,
            WriteBytes = totals.WriteBytes,
            Flushes = totals.Flushes,
            Discards = totals.Discards,
            Errors = totals.Errors,
            InFlight = totals.InFlight,
            Latencies = totals.Latencies ?? LatencyTable.Empty,
            QueueReactors = _parts.Reactors.Names,
        };
    }

    /// <inheritdoc/>
    public Task ResizeAsync(CancellationToken cancellation) => ExclusivelyAsync(
        async () =>
        {
            if ((_device.Flags & UblkFeatures.UpdateSize) == 0)
            {
                throw new FrontendException($"This kernel cannot resize a running ublk device (Linux 6.16 can): stop {Endpoint.Path} and serve the volume again.");
            }

            ulong sectors = (ulong)(_parts.Spec.Device.SizeBytes >> SectorShift);
            int result = await _parts.Control.UpdateSizeAsync(_device.Number, sectors).ConfigureAwait(false);
            if (result < 0)
            {
                throw new FrontendException($"The driver does not change the size of {Endpoint.Path} (errno {-result}).");
            }
        },
        cancellation);

    /// <inheritdoc/>
    public bool IsHeldByProcess => (_device.Flags & UblkFeatures.Quiesce) == 0;

    /// <inheritdoc/>
    /// <remarks>
    /// The driver kills the server of an unprivileged device that does not answer within the block layer's time, 30 s
    /// (drivers/block/ublk_drv.c, ublk_timeout).
    /// </remarks>
    public TimeSpan? LongestPause => (_device.Flags & UblkFeatures.UnprivilegedDev) != 0 ? TimeSpan.FromSeconds(20) : null;

    /// <inheritdoc/>
    public Task DrainAsync(CancellationToken cancellation) => ExclusivelyAsync(
        async () =>
        {
            _drained = true;
            await _device.Queues.DrainAsync().WaitAsync(cancellation).ConfigureAwait(false);
        },
        cancellation);

    /// <inheritdoc/>
    public Task ResumeAsync(CancellationToken cancellation) => ExclusivelyAsync(ResumeQueuesAsync, cancellation);

    /// <inheritdoc/>
    public Task StopAsync(StopMode mode, CancellationToken cancellation) => ExclusivelyAsync(
        async () =>
        {
            switch (mode)
            {
                case StopMode.HandOver when OutlivesProcess:
                    await HandOverAsync().ConfigureAwait(false);
                    break;
                case StopMode.HandOver:
                    _parts.Log.LogWarning("{Device} cannot be left to a successor: what its users ask of it from now on fails.", Endpoint.Path);
                    await RemoveAsync(force: true).ConfigureAwait(false);
                    break;
                default:
                    await RemoveAsync(mode == StopMode.Force).ConfigureAwait(false);
                    break;
            }

            await _parts.Control.DisposeAsync().ConfigureAwait(false);
        },
        cancellation);

    /// <summary>
    /// Ends the export as <see cref="StopMode.IfIdle"/> does; a device in use is left to a successor instead, or taken away where
    /// it cannot outlive this process.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (!_stopped)
        {
            try
            {
                await StopAsync(StopMode.IfIdle, CancellationToken.None).ConfigureAwait(false);
            }
            catch (FrontendException e)
            {
                _parts.Log.LogWarning("It is given up all the same: {Reason}", e.Message);
                await StopAsync(StopMode.HandOver, CancellationToken.None).ConfigureAwait(false);
            }
        }

        _gate.Dispose();
    }

    private async Task ExclusivelyAsync(Func<Task> action, CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (!_stopped)
            {
                await action().ConfigureAwait(false);
            }
        }
        finally
        {
            _gate.Release();
        }
    }

    private async Task ResumeQueuesAsync()
    {
        if (_drained)
        {
            _drained = false;
            await _device.Queues.ResumeAsync().ConfigureAwait(false);
        }
    }

    private async Task RemoveAsync(bool force)
    {
        IReadOnlyList<string> users = force ? _parts.Host.UsersOf(_device.Number) : await WaitForIdleAsync().ConfigureAwait(false);
        if (!force && users.Count != 0)
        {
            throw InUse(users);
        }

        _stopping = true;

        // STOP_DEV waits for the requests that the driver has handed over, parked ones among them.
        await ResumeQueuesAsync().ConfigureAwait(false);
        if (force && users.Count != 0)
        {
            await WriteBackAsync().ConfigureAwait(false);
        }

        int result = await _device.StopAsync(safely: !force).ConfigureAwait(false);
        if (result < 0)
        {
            _stopping = false;
            throw result == -Errno.EBUSY
                ? InUse(_parts.Host.UsersOf(_device.Number))
                : new FrontendException($"{Endpoint.Path} does not stop (errno {-result}).");
        }

        _lastTotals = _device.Queues.Totals();
        await _device.CloseAsync().ConfigureAwait(false);
        DeleteLink();
        await DeleteAsync(users.Count != 0).ConfigureAwait(false);
        _stopped = true;
        _completion.TrySetResult();
    }

    /// <summary>Who uses the device, after a moment for those who only look at it: udev probes each new device.</summary>
    private async Task<IReadOnlyList<string>> WaitForIdleAsync()
    {
        const int looks = 10;
        IReadOnlyList<string> users = [];
        for (int i = 0; i < looks; i++)
        {
            users = _parts.Host.UsersOf(_device.Number);
            if (users.Count == 0)
            {
                break;
            }

            await Task.Delay(s_lookInterval, _parts.Control.Clock).ConfigureAwait(false);
        }

        return users;
    }

    private FrontendException InUse(IReadOnlyList<string> users) => new(
        $"{Endpoint.Path} is in use: {(users.Count == 0 ? "somebody has it open" : string.Join("; ", users))}. "
        + "Unmount or close it first, or use --force: later requests then fail.");

    private async Task HandOverAsync()
    {
        _stopping = true;
        await ResumeQueuesAsync().ConfigureAwait(false);
        _lastTotals = _device.Queues.Totals();
        if (!await _device.HandOverAsync().ConfigureAwait(false))
        {
            _parts.Log.LogInformation("{Device} is handed over when this process ends; requests wait.", Endpoint.Path);
        }

        _stopped = true;
        _completion.TrySetResult();
    }

    private async Task DeleteAsync(bool isHeld)
    {
        // Those who still have it open keep the number; waiting for them could take for ever.
        int result = isHeld
            ? await _parts.Control.DeleteInBackgroundAsync(_device.Number).ConfigureAwait(false)
            : await _parts.Control.DeleteAsync(_device.Number).ConfigureAwait(false);
        if (result is < 0 and not -Errno.ENODEV)
        {
            _parts.Log.LogWarning("{Device} is stopped; its number is not free yet (errno {Errno}): somebody has it open.", Endpoint.Path, -result);
        }
    }

    /// <summary>
    /// Writes dirty pages to the volume before the device goes: what the consumer was told is written is then on the volume.
    /// </summary>
    private async Task WriteBackAsync()
    {
        Task work = Task.Factory.StartNew(WriteBack, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        if (await Task.WhenAny(work, Task.Delay(SyncTimeout, _parts.Control.Clock)).ConfigureAwait(false) != work)
        {
            _parts.Log.LogWarning("{Device} has dirty pages that could not be written within {Seconds} s.", Endpoint.Path, SyncTimeout.TotalSeconds);
        }
    }

    private void WriteBack()
    {
        foreach ((string mountPoint, int pid) in _parts.Host.MountsOf(_device.Number))
        {
            // Through the root of a process in that mount namespace.
            int fd = Libc.open($"/proc/{pid}/root{mountPoint}", Libc.O_RDONLY | Libc.O_CLOEXEC);
            if (fd < 0 || !UblkInterop.SyncFileSystem(fd))
            {
                _parts.Log.LogWarning("The file system at {MountPoint} could not be written out.", mountPoint);
            }

            _ = fd < 0 ? 0 : Libc.close(fd);
        }

        int device = Libc.open(Endpoint.Path, Libc.O_RDONLY | Libc.O_CLOEXEC);
        if (device >= 0)
        {
            _ = UblkInterop.SyncFile(device);
            _ = Libc.close(device);
        }
    }

    private void DeleteLink()
    {
        if (new FileInfo(_parts.Link).LinkTarget == Endpoint.Path)
        {
            File.Delete(_parts.Link);
        }
    }

    /// <summary>Notices when the device is taken away by somebody else, or the driver refuses to go on.</summary>
    private async Task WatchAsync()
    {
        Task failed = _device.Queues.WhenFailedAsync();
        Task first = await Task.WhenAny(_device.Queues.WhenEndedAsync(), failed).ConfigureAwait(false);
        if (_stopping)
        {
            return;
        }

        string what = first == failed
            ? $"the driver refused a command (errno {-_device.Queues.Failure})"
            : "it was stopped or deleted by somebody else";
        _completion.TrySetException(new FrontendException($"{Endpoint.Path} is no longer served: {what}."));
    }
}
