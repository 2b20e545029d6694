// One virtqueue of a virtio-blk device on one reactor: its life.
//
// Started, it translates the ring's addresses, opens the device on the reactor, takes over what an inflight log says, and joins the
// reactor's pollers. Everything else that a transport wants is a call that hops to the reactor and returns a task; nothing of a queue is
// locked. Pausing stops fetching and waits until nothing is in flight; only then are memory or rings exchanged, and only then does a queue
// end. Requests are never cancelled: what was taken is answered.
//
// The way of a request is in VirtioBlkQueue.Requests.cs.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Memory;
using Polyblk.Core.Reactors;

namespace Polyblk.Core.Virtio;

/// <summary>A virtio-blk request queue. Methods that return a task may be called on any thread, one at a time.</summary>
public sealed partial class VirtioBlkQueue : IPoller, IBlockCompletion
{
    /// <summary>Most segments of a request, header and status included.</summary>
    public const int MaxSegments = 1026;

    /// <summary>Most requests in flight, whatever the queue's size.</summary>
    public const int MaxInFlight = 1024;

    private readonly VirtqueueSetup _setup;
    private readonly Reactor _reactor;
    private readonly VirtioBlkDevice _virtio;
    private readonly IBlockQueue _blockQueue;
    private readonly int _batchSize;

    private GuestMemory _memory;
    private SafeFileHandle? _kick;
    private IVirtqueueNotifier? _call;
    private IVirtqueueNotifier? _error;
    private DirtyLog? _dirtyLog;
    private VirtqueueFaultReport? _fault;
    private TaskCompletionSource? _drained;
    private bool _fetching;
    private bool _stopped;

    /// <summary>Starts a queue.</summary>
    /// <exception cref="IOException">
    /// The ring is not in the guest's memory, the inflight log contradicts it, or the device cannot be opened; the message says which.
    /// </exception>
    /// <exception cref="ArgumentException">The setup contradicts itself.</exception>
    public static Task<VirtioBlkQueue> StartAsync(VirtqueueSetup setup)
    {
        ArgumentNullException.ThrowIfNull(setup);
        return setup.Reactor.InvokeAsync(() =>
        {
            var queue = new VirtioBlkQueue(setup);
            queue.Begin();
            return queue;
        });
    }

    /// <summary>Raised on the reactor's thread, once, when the driver broke the ring. Hand it to a thread of your own.</summary>
    public event Action<VirtioBlkQueue, VirtqueueFaultReport>? Broken;

    /// <summary>What it was started with.</summary>
    public VirtqueueSetup Setup => _setup;

    /// <summary>Why the queue is broken, or null. Any thread.</summary>
    public VirtqueueFaultReport? Fault => Volatile.Read(ref _fault);

    /// <summary>Whether a queue of this size and kind is possible.</summary>
    public static bool IsValidSize(int size, bool packed) => size is >= 1 and <= 32768 && (packed || (size & (size - 1)) == 0);

    /// <summary>Stops taking requests and returns when none is in flight and all answers are published.</summary>
    public Task PauseAsync() => OnReactor(() =>
    {
        _fetching = false;
        return WhenDrained();
    });

    /// <summary>Takes requests (again).</summary>
    public Task ResumeAsync() => OnReactor(() =>
    {
        _fetching = !_stopped;
        return Task.CompletedTask;
    });

    /// <summary>
    /// Ends the queue: pauses it, leaves the reactor, and lets go of memory, descriptors and device. Returns the base at which a successor
    /// goes on (encoded as <see cref="VirtqueueSetup.Base"/>).
    /// </summary>
    public async Task<uint> StopAsync()
    {
        await PauseAsync().ConfigureAwait(false);
        return await _reactor.InvokeAsync(End).ConfigureAwait(false);
    }

    /// <summary>
    /// Exchanges the guest's memory when nothing is in flight, then goes on as before. The ring is looked up anew.
    /// </summary>
    /// <exception cref="IOException">The ring is not in the new memory; the queue is broken then.</exception>
    public async Task SwapMemoryAsync(GuestMemory memory)
    {
        ArgumentNullException.ThrowIfNull(memory);
        bool wasFetching = await _reactor.InvokeAsync(() => _fetching).ConfigureAwait(false);
        await PauseAsync().ConfigureAwait(false);
        await _reactor.InvokeAsync(() => ExchangeMemory(memory, wasFetching)).ConfigureAwait(false);
    }

    /// <summary>
    /// Uses a table that holds every mapping of the present one and more. Nothing is drained: what is in flight, and the ring, lie in mappings
    /// that the new table keeps alive.
    /// </summary>
    public Task ExtendMemoryAsync(GuestMemory memory) => _reactor.InvokeAsync(() => ExtendMemory(memory));

    /// <summary>Uses another kick descriptor; null means that the queue is polled all the time.</summary>
    public Task SetKickAsync(SafeFileHandle? kick) => _reactor.InvokeAsync(() => ReplaceKick(kick));

    /// <summary>Uses another way to notify the driver. The old one is not used any more when the task ends.</summary>
    public Task SetCallAsync(IVirtqueueNotifier? call) => _reactor.InvokeAsync(() =>
    {
        _call = call;

        // What was published while nobody could be told.
        call?.Notify();
    });

    /// <summary>Uses another way to report a broken ring.</summary>
    public Task SetErrorAsync(IVirtqueueNotifier? error) => _reactor.InvokeAsync(() =>
    {
        _error = error;
    });

    /// <summary>Turns dirty logging on or off. The old log is not used any more when the task ends.</summary>
    /// <param name="log">The log, or null.</param>
    /// <param name="usedLogAddress">Under which guest address the used ring is logged, or null when it is not.</param>
    public Task SetDirtyLogAsync(DirtyLog? log, ulong? usedLogAddress) => _reactor.InvokeAsync(() => UseDirtyLog(log, usedLogAddress));

    /// <summary>Reads the counters. Any thread.</summary>
    public VirtioBlkQueueStatistics GetStatistics() => new()
    {
        Reads = Volatile.Read(ref _reads),
        ReadBytes = Volatile.Read(ref _readBytes),
        Writes = Volatile.Read(ref _writes),
        WriteBytes = Volatile.Read(ref _writeBytes),
        Flushes = Volatile.Read(ref _flushes),
        Discards = Volatile.Read(ref _discards),
        Errors = Volatile.Read(ref _errors),
        Notifications = Volatile.Read(ref _notifications),
        InFlight = Volatile.Read(ref _inFlight),
        Recovered = Volatile.Read(ref _recovered),
    };

    /// <summary>Runs a function on the reactor and awaits the task that it returns.</summary>
    private async Task OnReactor(Func<Task> function) => await (await _reactor.InvokeAsync(function).ConfigureAwait(false)).ConfigureAwait(false);

    private void ExtendMemory(GuestMemory memory)
    {
        if (!_stopped)
        {
            memory.AddReference();
            _memory.Release();
            _memory = memory;
        }
    }

    private Task WhenDrained()
    {
        if (IsDrained)
        {
            return Task.CompletedTask;
        }

        _drained ??= new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        return _drained.Task;
    }

    private void TellDrained()
    {
        TaskCompletionSource? drained = _drained;
        _drained = null;
        drained?.SetResult();
    }
}
