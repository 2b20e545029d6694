// The built-in load for files and open devices: a closed loop over the program's own drive code on one polling reactor, a queue
// for each job, without any frontend. What it reaches is what the drive gives to this I/O core: the ceiling for everything that
// is served from it.

using System.Diagnostics;
using System.Runtime.InteropServices;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;

namespace Polyblk.Compare.Load;

/// <summary>Drives a file, or a device that is open in this process, directly.</summary>
public sealed class DriveLoad : ILoadGenerator
{
    /// <inheritdoc/>
    public string Name => "the built-in polling I/O";

    /// <inheritdoc/>
    public bool CanDrive(LoadEndpoint endpoint) => endpoint is FileEndpoint or DeviceEndpoint;

    /// <inheritdoc/>
    public Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation) =>
        DataVerifier.VerifyAsync(endpoint, seed, cancellation);

    /// <inheritdoc/>
    public async Task<LoadResult> RunAsync(
        LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(workload);
        ArgumentNullException.ThrowIfNull(settings);
        if (endpoint is DeviceEndpoint open)
        {
            return await RunAsync(open.Device, open.SizeBytes, workload, settings, onMeasuring, cancellation).ConfigureAwait(false);
        }

        await using IBlockDevice drive = DriveFactory.Open(DriveSpec.Parse(((FileEndpoint)endpoint).Path), readOnly: endpoint.Kept is not null);
        return await RunAsync(drive, endpoint.SizeBytes, workload, settings, onMeasuring, cancellation).ConfigureAwait(false);
    }

    private static async Task<LoadResult> RunAsync(
        IBlockDevice drive, long sizeBytes, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
    {
        using var reactor = new Reactor(new ReactorOptions
        {
            Name = "drive-load", Cpu = settings.Cpus.Count > 0 ? settings.Cpus[0] : null, Idle = IdlePolicy.Latency,
        });
        var phase = new LoadPhase();
        var loops = new List<Loop>();
        await reactor.InvokeAsync(() =>
        {
            for (int job = 0; job < workload.Jobs; job++)
            {
                loops.Add(new Loop(
                    drive.OpenQueue(reactor), workload, JobOffsets.OfJob(settings.Seed, Math.Min(sizeBytes, drive.SizeBytes), workload, job), settings.Seed + (ulong)job, phase));
                reactor.Add(loops[^1]);
            }
        }).ConfigureAwait(false);
        Task drained = Task.WhenAll(loops.Select(l => l.Drained));
        try
        {
            ThreadReading before = ThreadReading.Empty;
            ThreadReading after = ThreadReading.Empty;
            void OnMeasuring(bool begins)
            {
                ThreadReading now = ProcessCpu.Read(Environment.ProcessId);
                (before, after) = begins ? (now, now) : (before, now);
                onMeasuring(begins);
            }

            double seconds = await phase.LeadAsync(settings, workload.TotalDepth, () => loops.Sum(l => l.Answered), OnMeasuring, drained, cancellation).ConfigureAwait(false);
            await drained.WaitAsync(phase.DrainPatience, CancellationToken.None).ConfigureAwait(false);
            ThreadUse used = after.Since(before);
            return LoadPhase.Result(loops.Select(l => l.Latencies), workload, seconds, loops.Sum(l => l.Errors), used.CpuNs) with
            {
                LoadContextSwitches = used.ContextSwitches,
            };
        }
        finally
        {
            await drained.WaitAsync(phase.DrainPatience, CancellationToken.None).ConfigureAwait(false);
            await reactor.InvokeAsync(() =>
            {
                foreach (Loop loop in loops)
                {
                    reactor.Remove(loop);
                    loop.Dispose();
                }
            }).ConfigureAwait(false);
        }
    }

    private sealed unsafe class Loop : IPoller, IBlockCompletion, IDisposable
    {
        private const nuint BufferAlignment = 4096;

        private readonly IBlockQueue _queue;
        private readonly Workload _workload;
        private readonly LoadPhase _phase;
        private readonly RequestPool _pool;
        private readonly byte* _buffers;
        private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private BlockRequest[] _ready;
        private BlockRequest[] _batch;
        private OffsetStream _offsets;
        private int _readyCount;

        public Loop(IBlockQueue queue, Workload workload, OffsetStream offsets, ulong seed, LoadPhase phase)
        {
            _queue = queue;
            _workload = workload;
            _phase = phase;
            _offsets = offsets;
            _pool = new RequestPool(workload.Depth, 1);
            _ready = new BlockRequest[workload.Depth];
            _batch = new BlockRequest[workload.Depth];
            _buffers = (byte*)NativeMemory.AlignedAlloc((nuint)workload.Depth * (nuint)workload.BlockBytes, BufferAlignment);
            new Random((int)seed).NextBytes(new Span<byte>(_buffers, workload.Depth * workload.BlockBytes));
            for (int i = 0; i < workload.Depth; i++)
            {
                BlockRequest request = _pool.TryRent()!;
                request.OwnVectors[0] = new IoVec(_buffers + ((long)i * workload.BlockBytes), (nuint)workload.BlockBytes);
                _ready[_readyCount++] = request;
            }
        }

        public LatencyHistogram Latencies { get; } = new();

        public long Errors { get; private set; }

        /// <summary>Requests that were answered, in whatever phase.</summary>
        public long Answered { get; private set; }

        /// <summary>Finishes when the load has ended and nothing is in flight.</summary>
        public Task Drained => _drained.Task;

        public int Poll()
        {
            if (_phase.IsEnding)
            {
                if (_readyCount == _ready.Length)
                {
                    _drained.TrySetResult();
                }

                return 0;
            }

            // Only what is ready now: a request that completes inside Submit comes back for the next turn.
            int count = _readyCount;
            (_ready, _batch) = (_batch, _ready);
            _readyCount = 0;
            for (int i = 0; i < count; i++)
            {
                BlockRequest request = _batch[i];
                request.Prepare(
                    _workload.IsWrite ? BlockOperation.Write : BlockOperation.Read, _offsets.Next(), _workload.BlockBytes, request.OwnVectors, 1, this);
                request.Traits = BufferTraits.CpuAccessible | BufferTraits.Stable | BufferTraits.Aligned;
                request.Tag = Stopwatch.GetTimestamp();
                _queue.Submit(request);
            }

            return count;
        }

        public bool TryArm() => false;

        public void Disarm()
        {
        }

        public void OnDropped(Exception error) => _drained.TrySetException(error);

        public void OnCompleted(BlockRequest request)
        {
            Answered++;
            Errors += request.Status < 0 ? 1 : 0;
            if (_phase.IsCounting)
            {
                Latencies.Add(Stopwatch.GetTimestamp() - request.Tag);
            }

            _ready[_readyCount++] = request;
        }

        public void Dispose()
        {
            while (_readyCount > 0)
            {
                _pool.Return(_ready[--_readyCount]);
            }

            _pool.Dispose();
            _queue.Dispose();
            NativeMemory.AlignedFree(_buffers);
        }
    }
}
