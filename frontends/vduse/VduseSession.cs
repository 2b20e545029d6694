// A VDUSE device at work: the kernel's messages, and the queues that they start and stop.
//
// One control thread reads messages and answers each before the next: the kernel waits for the answer (30 seconds, then it gives
// the device up). The driver sets its status; DRIVER_OK starts the queues that are ready, 0 stops them. When I/O virtual mappings
// change, the queues are stopped, all mappings forgotten, and the queues started anew where they were: what is in flight is
// finished first, and nothing points into old memory afterwards.
//
// A session may begin in the middle: the kernel kept the device when a predecessor died. The state file says whether the driver
// was running; the queues then start at once from their inflight logs and look at their rings, since nobody repeats a kick that
// is lost.
//
// Interrupts are refused by the kernel until it has the answer to DRIVER_OK; so the queues start paused, run after the answer,
// and ring once more a little later.

using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Frontends.Vduse.VduseAbi;

namespace Polyblk.Frontends.Vduse;

/// <summary>
/// Serves one device of the kernel. Starts with its construction; the kernel's side and the state file belong to it.
/// </summary>
internal sealed class VduseSession : IAsyncDisposable
{
    private static readonly TimeSpan s_ringAgainAfter = TimeSpan.FromMilliseconds(50);

    private readonly IVduseKernel _kernel;
    private readonly IBlockDevice _device;
    private readonly VirtioBlkDevice _virtio;
    private readonly VduseStateFile _state;
    private readonly VduseIotlb _iotlb;
    private readonly ReactorGroup _reactors;
    private readonly ILogger _log;
    private readonly TimeProvider _clock;
    private readonly string _name;
    private readonly SemaphoreSlim _gate = new(1);
    private readonly VduseQueue[] _queues;
    private readonly Thread _thread;
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _running;
    private bool _drained;
    private bool _disposed;

    public VduseSession(
        string name, IVduseKernel kernel, IBlockDevice device, VirtioBlkDevice virtio, VduseStateFile state, int queues, ReactorGroup reactors,
        ILogger log, TimeProvider clock, PinPermit? pinning = null)
    {
        _name = name;
        _kernel = kernel;
        _device = device;
        _virtio = virtio;
        _state = state;
        _iotlb = new VduseIotlb(kernel, pinning);
        _reactors = reactors;
        _log = log;
        _clock = clock;
        _queues = [.. Enumerable.Range(0, queues).Select(i => new VduseQueue(i))];
        if ((state.Status & VIRTIO_CONFIG_S_DRIVER_OK) != 0)
        {
            Recovered = true;
            StartQueuesAsync().GetAwaiter().GetResult();
            ResumeQueuesAsync().GetAwaiter().GetResult();
        }

        _thread = new Thread(ReadMessages, 256 << 10) { IsBackground = true, Name = "vduse" };
        _thread.Start();
    }

    /// <summary>Whether the driver was running already when the session began.</summary>
    public bool Recovered { get; }

    /// <summary>Requests that a predecessor had in flight.</summary>
    public long RecoveredRequests { get; private set; }

    /// <summary>Whether the driver runs.</summary>
    public bool IsRunning => Volatile.Read(ref _running);

    /// <summary>Ends with the session, with an exception when the kernel's side failed.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Sums of all queues so far, and where the queues run.</summary>
    public (IReadOnlyList<VirtioBlkQueueStatistics> Queues, IReadOnlyList<string> Reactors) GetStatistics()
    {
        var statistics = new List<VirtioBlkQueueStatistics>();
        var reactors = new List<string>();
        foreach (VduseQueue queue in _queues)
        {
            lock (queue)
            {
                statistics.Add(queue.Past);
                if (queue.Running is { } running)
                {
                    statistics.Add(running.GetStatistics());
                    reactors.Add(running.Setup.Reactor.Name);
                }
            }
        }

        return (statistics, reactors);
    }

    /// <summary>Stops taking requests and waits for those in flight.</summary>
    public async Task DrainAsync(CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            _drained = true;
            await Task.WhenAll(Running().Select(q => q.PauseAsync())).WaitAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Takes requests again.</summary>
    public async Task ResumeAsync(CancellationToken cancellation)
    {
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            _drained = false;
            await ResumeQueuesAsync().ConfigureAwait(false);
        }
        finally
        {
            _gate.Release();
        }
    }

    /// <summary>Tells the driver the device's present size.</summary>
    public void ChangeCapacity()
    {
        Span<byte> capacity = stackalloc byte[sizeof(ulong)];
        _virtio.ReadConfig(0, capacity);
        _kernel.ChangeConfig(0, capacity);
    }

    /// <summary>Stops: what was taken is answered, the kernel's device stays as it is for a successor.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _kernel.Wake();
        await Task.Run(_thread.Join).ConfigureAwait(false);
        await StopQueuesAsync().ConfigureAwait(false);
        _iotlb.Dispose();
        _kernel.Dispose();
        _state.Dispose();
        _gate.Dispose();
        _ended.TrySetResult();
    }

    private void ReadMessages()
    {
        try
        {
            while (_kernel.TryReadMessage(out vduse_dev_request request))
            {
                _gate.Wait();
                try
                {
                    HandleAsync(request).GetAwaiter().GetResult();
                }
                finally
                {
                    _gate.Release();
                }
            }
        }
        catch (IOException e)
        {
            _log.LogError(e, "{Name}: the kernel's side of the device failed; it is not served any more", _name);
            _ended.TrySetException(e);
        }
    }

    private async Task HandleAsync(vduse_dev_request request)
    {
        var response = new vduse_dev_response { request_id = request.request_id, result = VDUSE_REQ_RESULT_OK };
        bool started = false;
        try
        {
            switch (request.type)
            {
                case VDUSE_GET_VQ_STATE:
                    response.vq_index = request.vq_index;
                    response.vq_state = await GetStateAsync(request.vq_index).ConfigureAwait(false);
                    break;
                case VDUSE_SET_STATUS:
                    started = await SetStatusAsync(request.status).ConfigureAwait(false);
                    break;
                case VDUSE_UPDATE_IOTLB:
                    started = await ForgetMappingsAsync().ConfigureAwait(false);
                    break;
                case VDUSE_SET_VQ_GROUP_ASID:
                    // There is one group in one address space: nothing else can be wanted.
                    response.result = request is { group: 0, asid: 0 } ? VDUSE_REQ_RESULT_OK : VDUSE_REQ_RESULT_FAILED;
                    break;
                default:
                    _log.LogWarning("{Name}: the kernel sent a message of unknown type {Type}", _name, request.type);
                    response.result = VDUSE_REQ_RESULT_FAILED;
                    break;
            }
        }
        catch (Exception e) when (e is IOException or ArgumentException)
        {
            _log.LogError("{Name}: message {Type} failed: {Reason}", _name, request.type, e.Message);
            response.result = VDUSE_REQ_RESULT_FAILED;
        }

        _kernel.Answer(response);
        if (started)
        {
            await ResumeQueuesAsync().ConfigureAwait(false);
            _ = RingAgainAsync();
        }
    }

    private async Task<vduse_vq_state_union> GetStateAsync(uint index)
    {
        if (index >= _queues.Length)
        {
            throw new ArgumentException($"There is no queue {index}.");
        }

        VduseQueue queue = _queues[index];
        if (queue.Running is { } running)
        {
            // The driver may be running on: the answer must be that of a moment when nothing is in flight.
            await running.PauseAsync().ConfigureAwait(false);
            queue.Base = running.Base;
            if (!_drained)
            {
                await running.ResumeAsync().ConfigureAwait(false);
            }
        }

        return VduseQueue.Encode(queue.Base ?? 0, IsPacked);
    }

    private bool IsPacked => (_kernel.GetDriverFeatures() & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0;

    private async Task<bool> SetStatusAsync(byte status)
    {
        bool start = (status & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && !_running;
        if (status == 0)
        {
            await StopQueuesAsync().ConfigureAwait(false);
            Array.ForEach(_queues, q => q.Base = null);
            _iotlb.Invalidate();
            _virtio.Reset();
            _state.Reset();
            _log.LogInformation("{Name}: the driver reset the device", _name);
        }
        else if (start)
        {
            await StartQueuesAsync().ConfigureAwait(false);
            _log.LogInformation("{Name}: the driver is ready, {Count} queues run", _name, Running().Count());
        }

        _state.Status = status;
        return start;
    }

    private async Task<bool> ForgetMappingsAsync()
    {
        bool wasRunning = _running;
        if (wasRunning)
        {
            await StopQueuesAsync().ConfigureAwait(false);
        }

        _iotlb.Invalidate();
        if (wasRunning)
        {
            await StartQueuesAsync().ConfigureAwait(false);
        }

        return wasRunning;
    }

    /// <summary>Starts every queue that the driver made ready, paused.</summary>
    private async Task StartQueuesAsync()
    {
        ulong features = _kernel.GetDriverFeatures();
        _virtio.SetFeatures(features);
        _running = true;
        foreach (VduseQueue queue in _queues)
        {
            vduse_vq_info info = _kernel.GetQueueInfo(queue.Index);
            if (info.ready != 0 && info.num != 0)
            {
                await StartQueueAsync(queue, info, features).ConfigureAwait(false);
            }
        }
    }

    private async Task StartQueueAsync(VduseQueue queue, vduse_vq_info info, ulong features)
    {
        bool packed = (features & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0;
        Reactor reactor = _reactors.Assign();
        using GuestMemory memory = _iotlb.Snapshot();
        queue.Log = _state.OpenLog(queue.Index, (int)info.num, packed);
        queue.Kick = new SafeFileHandle(Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK), true);
        try
        {
            _kernel.SetKick(queue.Index, (int)queue.Kick.DangerousGetHandle());
            VirtioBlkQueue running = await VirtioBlkQueue.StartAsync(new VirtqueueSetup
            {
                Name = $"{_name}/{queue.Index}",
                Reactor = reactor,
                Device = _device,
                Virtio = _virtio,
                Memory = memory,
                Addresses = new VirtqueueAddresses(info.desc_addr, info.driver_addr, info.device_addr, false),
                Size = (int)info.num,
                Features = features,
                Base = queue.Base ?? VduseQueue.Decode(info.state, packed),
                Kick = queue.Kick,
                Call = new Interrupt(_kernel, queue.Index),
                Inflight = queue.Log,
                StartPaused = true,
            }).ConfigureAwait(false);
            running.Broken += OnBroken;
            running.Unreachable += OnUnreachable;
            RecoveredRequests += running.GetStatistics().Recovered;
            lock (queue)
            {
                queue.Running = running;
            }
        }
        catch (IOException e)
        {
            // The ring may be mapped by the next change of mappings; until then the queue stands.
            _log.LogWarning("{Name}: queue {Index} does not start: {Reason}", _name, queue.Index, e.Message);
            _reactors.Release(reactor);
            Release(queue);
        }
    }

    private async Task StopQueuesAsync()
    {
        _running = false;
        await Task.WhenAll(_queues.Select(StopQueueAsync)).ConfigureAwait(false);
    }

    private async Task StopQueueAsync(VduseQueue queue)
    {
        if (queue.Running is not { } running)
        {
            return;
        }

        // The inflight log is kept, but for a reset: whoever goes on with the ring does what was long and is not done.
        queue.Base = await running.StopAsync(VirtqueueStop.Abandon).ConfigureAwait(false);
        lock (queue)
        {
            queue.Past = queue.Past.Plus(running.GetStatistics());
            queue.Running = null;
        }

        _reactors.Release(running.Setup.Reactor);
        Release(queue);
    }

    private void Release(VduseQueue queue)
    {
        _kernel.SetKick(queue.Index, VDUSE_EVENTFD_DEASSIGN);
        queue.Kick?.Dispose();
        queue.Kick = null;
        queue.Log?.Dispose();
        queue.Log = null;
    }

    private async Task ResumeQueuesAsync()
    {
        if (!_drained)
        {
            await Task.WhenAll(Running().Select(q => q.ResumeAsync())).ConfigureAwait(false);
        }
    }

    private async Task RingAgainAsync()
    {
        VirtioBlkQueue[] queues = [.. Running()];
        await Task.Delay(s_ringAgainAfter, _clock).ConfigureAwait(false);
        foreach (VirtioBlkQueue queue in queues)
        {
            await queue.SetCallAsync(queue.Setup.Call).ConfigureAwait(false);
        }
    }

    private IEnumerable<VirtioBlkQueue> Running() => _queues.Select(q => q.Running).OfType<VirtioBlkQueue>();

    private void OnBroken(VirtioBlkQueue queue, VirtqueueFaultReport report) => ThreadPool.QueueUserWorkItem(_ =>
    {
        if (report.Fault == VirtqueueFault.InternalError)
        {
            // What was in flight will not be answered by this process; its successor finds it in the inflight log.
            _log.LogError("{Reason} The device is not served any more.", report.Text);
            _ended.TrySetException(new IOException(report.Text));
            return;
        }

        _log.LogWarning("{Reason} The queue takes no requests until the driver resets the device.", report.Text);
    });

    private void OnUnreachable(VirtioBlkQueue queue, string text) =>
        ThreadPool.QueueUserWorkItem(_ => _log.LogWarning("{Reason}", text));

    private sealed class Interrupt(IVduseKernel kernel, int index) : IVirtqueueNotifier
    {
        public void Notify() => _ = kernel.InjectInterrupt(index);
    }
}
