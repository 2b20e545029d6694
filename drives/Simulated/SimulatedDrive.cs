// A drive that misbehaves on purpose, and always in the same way for the same seed: for tests of what stands on drives, and with
// a given speed for judging arrays of many drives on a small machine.
//
// Requests get a due time when they are submitted (latency, and the drive's IOPS and bandwidth) and are done when it has come, in
// the order of due times: they overtake each other. Content is memory (SimulatedMedium). Random choices depend on the seed and on
// the number of the request, so with one reactor and virtual time a run repeats exactly.

using System.Collections.Immutable;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Drives.Simulated;

/// <summary>A simulated drive (<c>sim:SIZE</c>). Its control methods may be called by any thread but a reactor's.</summary>
public sealed class SimulatedDrive : IBlockDevice
{
    private readonly SimulatedMedium _medium;
    private readonly Lock _lock = new();
    private readonly List<SimulatedQueue> _queues = [];
    private ImmutableArray<DriveFault> _faults = [];
    private long _requests, _reads, _readBytes;
    private long _freeAtNs;
    private int _goneErrno;
    private bool _handedOver;

    /// <summary>Makes one, filled with zeroes.</summary>
    public SimulatedDrive(long sizeBytes, SimulatedDriveOptions options, bool readOnly = false)
        : this(sizeBytes, options, readOnly, medium: null)
    {
    }

    private SimulatedDrive(long sizeBytes, SimulatedDriveOptions options, bool readOnly, SimulatedMedium? medium)
    {
        ArgumentNullException.ThrowIfNull(options);
        DriveGeometry.Check(sizeBytes, options.LogicalBlockSize);
        SizeBytes = sizeBytes;
        Options = options;
        _medium = medium ?? new SimulatedMedium(sizeBytes, options);
        Limits = new BlockLimits
        {
            LogicalBlockSize = options.LogicalBlockSize,
            PhysicalBlockSize = Math.Max(options.LogicalBlockSize, options.TearBytes),
            VolatileCache = options.VolatileCache,
            Discard = true,
            DiscardGranularity = options.LogicalBlockSize,
            ReadOnly = readOnly,
            NeedsCpuAccessForReads = true,
            NeedsCpuAccessForWrites = true,
        };
        if (options.ErrorProbability > 0)
        {
            AddFault(new DriveFault { Probability = options.ErrorProbability });
        }
    }

    /// <inheritdoc/>
    public event Action<IBlockDevice>? Resized
    {
        add { }
        remove { }
    }

    /// <inheritdoc/>
    public string Name => $"sim:{ByteSize.Format(SizeBytes)},seed={Options.Seed}";

    /// <inheritdoc/>
    public long SizeBytes { get; }

    /// <inheritdoc/>
    public BlockLimits Limits { get; }

    /// <summary>How it behaves.</summary>
    public SimulatedDriveOptions Options { get; }

    /// <summary>Valid requests taken so far.</summary>
    public long Requests => Interlocked.Read(ref _requests);

    /// <summary>Valid reads taken so far.</summary>
    public long Reads => Interlocked.Read(ref _reads);

    /// <summary>Bytes of these reads.</summary>
    public long ReadBytes => Interlocked.Read(ref _readBytes);

    /// <summary>Whether it has vanished or crashed.</summary>
    public bool IsGone => GoneErrno != 0;

    internal int GoneErrno => Volatile.Read(ref _goneErrno);

    internal SimulatedMedium Medium => _medium;

    /// <inheritdoc/>
    public IBlockQueue OpenQueue(Reactor reactor)
    {
        var queue = new SimulatedQueue(this, reactor);
        lock (_lock)
        {
            _queues.Add(queue);
        }

        return queue;
    }

    /// <summary>Adds a rule; older rules come first.</summary>
    public void AddFault(DriveFault fault) => ImmutableInterlocked.Update(ref _faults, faults => faults.Add(fault));

    /// <summary>Takes all rules away, also the one of <see cref="SimulatedDriveOptions.ErrorProbability"/>.</summary>
    public void ClearFaults() => ImmutableInterlocked.Update(ref _faults, _ => []);

    /// <summary>Starts the requests again that a rule had left without an answer; they meet no rule this time.</summary>
    public Task ReleaseStuckAsync() => OnQueuesAsync(queue => queue.ReleaseStuck());

    /// <summary>
    /// Fails every request in flight, and all later ones, with an error; the content stays. Undone by <see cref="Return"/>.
    /// </summary>
    public Task VanishAsync(int errno = Errno.ENODEV)
    {
        Volatile.Write(ref _goneErrno, errno);
        return OnQueuesAsync(queue => queue.FailAll(collect: false));
    }

    /// <summary>The drive is back after <see cref="VanishAsync"/>, with its content.</summary>
    public void Return() => Volatile.Write(ref _goneErrno, 0);

    /// <summary>
    /// Loses power. Requests in flight and later ones fail with -ENODEV. Flushed writes and those with FUA survive; each other
    /// write survives wholly, in part or not at all. See <see cref="Restart"/>.
    /// </summary>
    /// <exception cref="InvalidOperationException">The options say that it cannot crash.</exception>
    public async Task CrashAsync()
    {
        if (!_medium.CanCrash)
        {
            throw new InvalidOperationException("This drive remembers nothing of its unflushed writes: set CanCrash.");
        }

        Volatile.Write(ref _goneErrno, Errno.ENODEV);
        await OnQueuesAsync(queue => queue.FailAll(collect: true)).ConfigureAwait(false);
        var random = new SeededRandom(Options.Seed ^ (ulong)Requests);
        _medium.Crash(ref random);
    }

    /// <summary>
    /// Loses power at once, between two turns of the reactors: what a write in flight leaves on the medium is decided now, by the
    /// seed. Its requests fail with -ENODEV when <see cref="FailInFlight"/> is called on each reactor. For simulations, whose
    /// reactors stand still meanwhile.
    /// </summary>
    internal void CutPower()
    {
        StopAnswering();
        var random = new SeededRandom(Options.Seed ^ (ulong)Requests);
        _medium.Crash(ref random);
    }

    /// <summary>
    /// The process that used it dies: of the writes in flight each reaches the drive or not, which keeps its power and its cache.
    /// Otherwise as
    /// <see cref="CutPower"/>.
    /// </summary>
    internal void LoseUser()
    {
        Volatile.Write(ref _goneErrno, Errno.ENODEV);
        var random = new SeededRandom(Options.Seed ^ (ulong)Requests);
        foreach (SimulatedQueue queue in SnapshotQueues())
        {
            queue.Orphan(ref random);
        }
    }

    /// <summary>
    /// After <see cref="CutPower"/> or <see cref="LoseUser"/>: fails what was in flight on a reactor, on its thread.
    /// </summary>
    internal void FailInFlight(Reactor reactor)
    {
        foreach (SimulatedQueue queue in SnapshotQueues())
        {
            if (ReferenceEquals(queue.Reactor, reactor))
            {
                queue.FailAll(collect: false);
            }
        }
    }

    /// <summary>Told of each request that the drive takes and finishes, on the reactor's thread.</summary>
    internal Action<SimulatedDrive, SimulatedStep, BlockRequest>? Observer { get; set; }

    /// <summary>
    /// The same drive after power is back, with what survived, under the next seed. This object stays dead and loses its content.
    /// </summary>
    public SimulatedDrive Restart()
    {
        if (!IsGone || _handedOver)
        {
            throw new InvalidOperationException("Crash it first, and restart it once.");
        }

        _handedOver = true;
        return new SimulatedDrive(SizeBytes, Options with { Seed = Options.Seed + 1 }, Limits.ReadOnly, _medium);
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        if (!_handedOver)
        {
            _medium.Dispose();
        }

        return ValueTask.CompletedTask;
    }

    internal void Remove(SimulatedQueue queue)
    {
        lock (_lock)
        {
            _queues.Remove(queue);
        }
    }

    /// <summary>Counts a valid request.</summary>
    internal void Count(BlockRequest request)
    {
        if (request.Operation == BlockOperation.Read)
        {
            Interlocked.Increment(ref _reads);
            Interlocked.Add(ref _readBytes, request.LengthBytes);
        }
    }

    /// <summary>Random choices of the next request.</summary>
    internal SeededRandom NextRandom() => new(Options.Seed ^ ((ulong)Interlocked.Increment(ref _requests) * 0xD1342543DE82EF95));

    /// <summary>The rule that hits a request, or null.</summary>
    internal DriveFault? FindFault(BlockRequest request, ref SeededRandom random)
    {
        foreach (DriveFault fault in _faults.AsSpan())
        {
            if (fault.Hits(request, ref random))
            {
                return fault;
            }
        }

        return null;
    }

    /// <summary>When a request submitted now is done.</summary>
    internal long DueNs(BlockRequest request, long nowNs, ref SeededRandom random)
    {
        long spread = Options.MaximumLatencyNs - Options.MinimumLatencyNs;
        long latency = Options.MinimumLatencyNs + (spread > 0 ? random.Next(spread + 1) : 0);
        if (random.Chance(Options.TailProbability))
        {
            latency += Options.TailLatencyNs;
        }

        long cost = CostNs(request);
        return cost == 0 ? nowNs + latency : ReserveNs(nowNs, cost) + latency;
    }

    /// <summary>How long the request keeps the drive busy: the larger of its share of the IOPS and of the bandwidth.</summary>
    private long CostNs(BlockRequest request)
    {
        if (!request.HasData)
        {
            return 0;
        }

        bool isRead = request.Operation == BlockOperation.Read;
        double iops = isRead ? Options.ReadIops : Options.WriteIops;
        double bytesPerSecond = isRead ? Options.ReadBytesPerSecond : Options.WriteBytesPerSecond;
        double seconds = Math.Max(iops > 0 ? 1 / iops : 0, bytesPerSecond > 0 ? request.LengthBytes / bytesPerSecond : 0);
        return (long)(seconds * 1e9);
    }

    /// <summary>Books the drive's time, for all queues: when it will have done this request.</summary>
    private long ReserveNs(long nowNs, long costNs)
    {
        while (true)
        {
            long free = Volatile.Read(ref _freeAtNs);
            long done = Math.Max(free, nowNs) + costNs;
            if (Interlocked.CompareExchange(ref _freeAtNs, done, free) == free)
            {
                return done;
            }
        }
    }

    private async Task OnQueuesAsync(Action<SimulatedQueue> action)
    {
        foreach (SimulatedQueue queue in SnapshotQueues())
        {
            await queue.Reactor.InvokeAsync(() => action(queue)).ConfigureAwait(false);
        }
    }

    private SimulatedQueue[] SnapshotQueues()
    {
        lock (_lock)
        {
            return [.. _queues];
        }
    }

    private void StopAnswering()
    {
        Volatile.Write(ref _goneErrno, Errno.ENODEV);
        foreach (SimulatedQueue queue in SnapshotQueues())
        {
            queue.CollectInFlight();
        }
    }
}

/// <summary>What happens to a request at a simulated drive.</summary>
internal enum SimulatedStep
{
    /// <summary>It was taken.</summary>
    Taken,

    /// <summary>It is done, and its status is known.</summary>
    Done,
}
