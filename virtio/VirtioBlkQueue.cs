// One virtqueue of a virtio-blk device on one reactor: its life.
//
// Started, it translates the ring's addresses, opens the device on the reactor, takes over what an inflight log says, and joins
// the reactor's pollers. Everything else that a transport wants is a call that hops to the reactor and returns a task; nothing of
// a queue is locked. Pausing stops fetching and waits until nothing is in flight; only then are memory or rings exchanged, and
// only then does a queue end. What was taken is answered; only discards and zeroing, which can be gigabytes, are cut short
// (VirtioBlkQueue.Ranges.cs).
//
// The way of a request is in VirtioBlkQueue.Requests.cs, that of a queue that fails by an error of ours in
// VirtioBlkQueue.Dropped.cs.

using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;
using Polyblk.Virtio.Memory;

namespace Polyblk.Virtio;

/// <summary>A virtio-blk request queue. Methods that return a task may be called on any thread, one at a time.</summary>
public sealed partial class VirtioBlkQueue : IPoller, IMemoryLender
{
    /// <summary>Most segments of a request, header and status included.</summary>
    public const int MaxSegments = 1026;

    /// <summary>Most requests in flight, whatever the queue's size.</summary>
    public const int MaxInFlight = 1024;

    private readonly VirtqueueSetup _setup;
    private readonly Reactor _reactor;
    private readonly VirtioBlkDevice _virtio;
    private readonly Virtqueue _ring;
    private readonly IBlockQueue _blockQueue;
    private readonly int _batchSize;
    private readonly long _blockMask;
    private readonly long _maxTransferBytes;
    private readonly int _maxSegments;
    private readonly long _stripeBytes;
    private readonly long _discardPiece;
    private readonly long _zeroPiece;
    private readonly MappedRegion _slotMemory;
    private readonly unsafe ulong* _losses = FaultGuard.Losses;
    private readonly TurnShare _share;
    private readonly TurnLatencies _latencies;
    private readonly int _ticket;
    private GuestMemory? _sharedMemory;

    private SafeFileHandle? _kick;
    private IVirtqueueNotifier? _call;
    private IVirtqueueNotifier? _error;
    private DirtyLog? _dirtyLog;
    private VirtqueueFaultReport? _fault;
    private TaskCompletionSource? _drained;
    private uint _base;
    private bool _fetching;
    private bool _finishesRecovered;
    private int _undoneRecovered;
    private bool _stopped;

    /// <summary>Starts a queue.</summary>
    /// <exception cref="IOException">
    /// The ring is not in the guest's memory, the inflight log contradicts it, or the device cannot be opened; the message says
    /// which.
    /// </exception>
    /// <exception cref="ArgumentException">The setup contradicts itself.</exception>
    public static Task<VirtioBlkQueue> StartAsync(VirtqueueSetup setup)
    {
        ArgumentNullException.ThrowIfNull(setup);
        return setup.Reactor.InvokeAsync(() => Create(setup));
    }

    /// <summary>Raised on the reactor's thread, once, when the driver broke the ring. Hand it to a thread of your own.</summary>
    public event Action<VirtioBlkQueue, VirtqueueFaultReport>? Broken;

    /// <summary>
    /// Raised on the reactor's thread, once in the queue's life, when a request was refused because a buffer of it is not in the
    /// memory that is shared with us; the argument says which. Hand it to a thread of your own.
    /// </summary>
    public event Action<VirtioBlkQueue, string>? Unreachable;

    /// <summary>What <see cref="Unreachable"/> told, or null. Any thread.</summary>
    public string? UnreachableText => Volatile.Read(ref _unreachable);

    /// <summary>What it was started with.</summary>
    public VirtqueueSetup Setup => _setup;

    /// <summary>Why the queue is broken, or null. Any thread.</summary>
    public VirtqueueFaultReport? Fault => Volatile.Read(ref _fault);

    /// <summary>
    /// Where a successor goes on, encoded as <see cref="VirtqueueSetup.Base"/>. Meaningful while the queue is paused or after it
    /// ended.
    /// </summary>
    public uint Base => Volatile.Read(ref _base);

    /// <summary>
    /// Recovered requests that were not done: the inflight log must be kept for a successor. Meaningful like <see cref="Base"/>.
    /// </summary>
    public int UndoneRecovered => Volatile.Read(ref _undoneRecovered);

    /// <summary>Whether a queue of this size and kind is possible.</summary>
    public static bool IsValidSize(int size, bool packed) => size is >= 1 and <= 32768 && (packed || (size & (size - 1)) == 0);

    /// <summary>
    /// Stops taking requests and returns when none is in flight and all answers are published. Discards end early, and at most
    /// <see cref="ZeroBytesWhilePausing"/> are zeroed; what zeroing is left then fails. Requests that a predecessor left in the
    /// inflight log are in flight, too, unless the queue was paused before it came to them (<see cref="UndoneRecovered"/>).
    /// </summary>
    public async Task PauseAsync()
    {
        await OnReactor(() =>
        {
            _finishesRecovered |= _fetching;
            _fetching = false;
            BeginCutting();
            return WhenDrained();
        }).ConfigureAwait(false);
        await _reactor.InvokeAsync(SaveBase).ConfigureAwait(false);
    }

    /// <summary>Takes requests (again).</summary>
    public Task ResumeAsync() => OnReactor(() =>
    {
        _fetching = !_stopped && _fault is null;
        _finishesRecovered = false;
        EndCutting();
        return Task.CompletedTask;
    });

    /// <summary>
    /// Ends the queue: pauses it, leaves the reactor, and lets go of memory, descriptors and device. Returns the base at which a
    /// successor goes on (encoded as <see cref="VirtqueueSetup.Base"/>).
    /// </summary>
    /// <param name="how">What becomes of long requests.</param>
    public async Task<uint> StopAsync(VirtqueueStop how = VirtqueueStop.Finish)
    {
        if (how == VirtqueueStop.Abandon)
        {
            await _reactor.InvokeAsync(() => { _abandonsRanges = true; }).ConfigureAwait(false);
        }

        await PauseAsync().ConfigureAwait(false);
        return await _reactor.InvokeAsync(End).ConfigureAwait(false);
    }

    /// <summary>
    /// Exchanges the guest's memory when nothing is in flight, then goes on as before. The ring is looked up anew.
    /// </summary>
    /// <param name="memory">The new table.</param>
    /// <param name="addresses">Where the ring lies now; null when its addresses stay.</param>
    /// <exception cref="IOException">The ring is not in the new memory; the queue is broken then.</exception>
    public async Task SwapMemoryAsync(GuestMemory memory, VirtqueueAddresses? addresses = null)
    {
        ArgumentNullException.ThrowIfNull(memory);
        bool wasFetching = await _reactor.InvokeAsync(() => _fetching).ConfigureAwait(false);
        await PauseAsync().ConfigureAwait(false);
        await _reactor.InvokeAsync(() => ExchangeMemory(memory, addresses ?? _setup.Addresses, wasFetching)).ConfigureAwait(false);
    }

    /// <summary>
    /// Uses a table that holds every mapping of the present one and more. Nothing is drained: what is in flight, and the ring,
    /// lie in mappings that the new table keeps alive.
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
        Latencies = _latencies.Read(),
    };

    private VirtioBlkQueue(VirtqueueSetup setup, Virtqueue ring, IBlockQueue blockQueue, TurnShare share)
    {
        BlockLimits limits = setup.Device.Limits;
        _setup = setup;
        _share = share;
        _ticket = share.TakeTicket();
        _reactor = setup.Reactor;
        _latencies = new TurnLatencies(_reactor);
        _virtio = setup.Virtio;
        _ring = ring;
        _blockQueue = blockQueue;
        _batchSize = Math.Max(1, setup.BatchSize);
        _blockMask = limits.LogicalBlockSize - 1;
        _maxTransferBytes = Math.Max(limits.LogicalBlockSize, limits.MaxTransferBytes & ~_blockMask);
        _maxSegments = Math.Clamp(limits.MaxSegments, 1, MaxSegments);
        _stripeBytes = Math.Max(limits.LogicalBlockSize, limits.OptimalIoSize);
        _discardPiece = RangePieceBytes(DiscardPieceBytes, limits.MaxDiscardBytes);
        _zeroPiece = RangePieceBytes(ZeroPieceBytes, limits.MaxWriteZeroesBytes);
        _call = setup.Call;
        _error = setup.Error;
        _fetching = !setup.StartPaused;
        _recovered = ring.RecoveredLeft;
        _base = ring.Base;
        _slots = new VirtioBlkSlot[Math.Min(setup.Size, Math.Clamp(setup.MostInFlight, 1, MaxInFlight))];
        _free = new FreeIndices(_slots.Length);
        _slotMemory = MakeSlots();
        UseDirtyLog(setup.DirtyLog, setup.UsedLogAddress);
    }

    internal static VirtioBlkQueue Create(VirtqueueSetup setup)
    {
        if (!IsValidSize(setup.Size, (setup.Features & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0))
        {
            throw new ArgumentException($"A virtqueue cannot have {setup.Size} entries: use 1 to 32768, a power of two for split queues.");
        }

        if (setup.Inflight is { } log && (log.QueueSize != setup.Size || log.Packed != ((setup.Features & VirtioFeatures.VIRTIO_F_RING_PACKED) != 0)))
        {
            throw new ArgumentException($"{setup.Name}: the inflight log is for {log.QueueSize} entries, the queue has {setup.Size}, or the kinds differ.");
        }

        Virtqueue ring = Virtqueue.Create(setup);
        IBlockQueue? blockQueue = null;
        VirtioBlkQueue? queue = null;
        TurnShare? share = null;
        try
        {
            blockQueue = setup.Device.OpenQueue(setup.Reactor);
            share = setup.Reactor.JoinTurns(setup.Virtio);
            queue = new VirtioBlkQueue(setup, ring, blockQueue, share);
            queue.ReplaceKick(setup.Kick);
        }
        catch
        {
            if (share is not null)
            {
                setup.Reactor.LeaveTurns(share);
            }

            queue?._slotMemory.Dispose();
            blockQueue?.Dispose();
            ring.Dispose();
            throw;
        }

        ring.DisableKicks();
        queue.ShareMemory(setup.Memory);
        setup.Reactor.Add(queue);

        // A predecessor may have died between publishing and notifying.
        setup.Call?.Notify();
        return queue;
    }

    private unsafe MappedRegion MakeSlots()
    {
        // One line more than needed, so that the slots' lists do not all fall into the same sets of the cache.
        const int LineBytes = 64;
        int fewBytes = VirtioBlkSlot.FewSegments * sizeof(IoVec);
        int manyBytes = (2 * MaxSegments * sizeof(IoVec)) + LineBytes;
        MappedRegion memory = MappedRegion.CreateAnonymous((ulong)_slots.Length * (ulong)(fewBytes + manyBytes));
        for (int i = 0; i < _slots.Length; i++)
        {
            _slots[i] = new VirtioBlkSlot(i, this)
            {
                Few = (IoVec*)(memory.Address + ((long)i * fewBytes)),
                Many = (IoVec*)(memory.Address + ((long)_slots.Length * fewBytes) + ((long)i * manyBytes)),
            };
        }

        return memory;
    }

    internal uint End()
    {
        if (!_stopped)
        {
            SaveBase();
            _latencies.Settle();
            _stopped = true;
            _fetching = false;
            ReplaceKick(null);
            _reactor.Remove(this);
            _reactor.LeaveTurns(_share);
            if (!_isDropped || _inFlight == 0)
            {
                LetGo();
            }
        }

        return _base;
    }

    private void LetGo()
    {
        _blockQueue.Dispose();
        ShareMemory(null);
        _ring.Dispose();
        _slotMemory.Dispose();
    }

    private void SaveBase()
    {
        if (!_stopped)
        {
            Volatile.Write(ref _base, _ring.Base);
            Volatile.Write(ref _undoneRecovered, _fault is null ? _ring.RecoveredLeft : 0);
        }
    }

    private void ExchangeMemory(GuestMemory memory, VirtqueueAddresses addresses, bool fetch)
    {
        if (_stopped || _isDropped)
        {
            return;
        }

        ShareMemory(memory);
        if (!_ring.TryUseMemory(memory, addresses))
        {
            OnBroken(_ring.Fault, _ring.FaultText);
            throw new IOException(_fault!.Text);
        }

        _fetching = fetch && _fault is null;
        EndCutting();
    }

    private void ReplaceKick(SafeFileHandle? kick)
    {
        if (kick is not null)
        {
            bool held = false;
            kick.DangerousAddRef(ref held);
            try
            {
                _reactor.Watch((int)kick.DangerousGetHandle());
            }
            catch
            {
                kick.DangerousRelease();
                throw;
            }
        }

        if (_kick is not null)
        {
            _reactor.Unwatch((int)_kick.DangerousGetHandle());
            _kick.DangerousRelease();
        }

        _kick = kick;
    }

    private void UseDirtyLog(DirtyLog? log, ulong? usedLogAddress)
    {
        _dirtyLog = log;
        _ring.UseDirtyLog(log, usedLogAddress);
    }

    /// <summary>Runs a function on the reactor and awaits the task that it returns.</summary>
    private async Task OnReactor(Func<Task> function) => await (await _reactor.InvokeAsync(function).ConfigureAwait(false)).ConfigureAwait(false);

    private void ExtendMemory(GuestMemory memory)
    {
        if (!_stopped && !_isDropped)
        {
            ShareMemory(memory);
            _ring.ExtendMemory(memory);
        }
    }

    /// <summary>
    /// Counts a table's mappings in with the reactor, and those of the table before out. What is in both is there throughout.
    /// </summary>
    private void ShareMemory(GuestMemory? memory)
    {
        GuestMemory? before = _sharedMemory;
        _sharedMemory = memory;
        if (memory is not null)
        {
            foreach (GuestRegion region in memory.Regions)
            {
                _reactor.SharedMemory.Add(region.Mapping, memory.Pinning);
            }
        }

        foreach (GuestRegion region in before?.Regions ?? [])
        {
            _reactor.SharedMemory.Remove(region.Mapping);
        }
    }

    private Task WhenDrained()
    {
        if (_stopped || _isDropped || IsDrained)
        {
            return Task.CompletedTask;
        }

        _drained ??= _reactor.MakePromise();
        return _drained.Task;
    }

    private void TellDrained()
    {
        TaskCompletionSource? drained = _drained;
        _drained = null;
        drained?.SetResult();
    }
}
