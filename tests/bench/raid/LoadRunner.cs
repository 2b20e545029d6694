using System.Diagnostics;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;

namespace Polyblk.Raid.Bench;

/// <summary>What is submitted.</summary>
internal sealed record Load(BlockOperation Operation, int Bytes, int Depth, bool Random)
{
    /// <summary>The bytes of the device in which it moves.</summary>
    public long SpanBytes { get; init; } = 128 << 20;
}

/// <summary>Keeps requests in flight on a device for a while, from a poller as a frontend is one.</summary>
internal sealed partial class LoadRunner : IPoller, IBlockCompletion
{
    private const int ClockThreadCpuTime = 3;

    private readonly IBlockQueue _queue;
    private readonly Load _load;
    private readonly RequestPool _pool;
    private readonly unsafe byte* _buffers;
    private readonly BlockRequest[] _ready;
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _readyCount;
    private ulong _state = 88172645463325252;
    private long _next;
    private bool _stopping;

    private unsafe LoadRunner(IBlockQueue queue, Load load)
    {
        _queue = queue;
        _load = load;
        _pool = new RequestPool(load.Depth, 1);
        _buffers = (byte*)NativeMemory.AlignedAlloc((nuint)((long)load.Bytes * load.Depth), 4096);
        NativeMemory.Fill(_buffers, (nuint)((long)load.Bytes * load.Depth), 1);
        _ready = new BlockRequest[load.Depth];
        for (int i = 0; i < load.Depth; i++)
        {
            BlockRequest request = _pool.TryRent()!;
            *request.OwnVectors = new IoVec(_buffers + ((long)i * load.Bytes), (nuint)load.Bytes);
            _ready[_readyCount++] = request;
        }
    }

    private long Done { get; set; }

    /// <summary>
    /// Runs the load; returns requests a second of the reactor's processor time (other programs on the machine do not count).
    /// </summary>
    public static async Task<double> RunAsync(Reactor reactor, IBlockDevice device, Load load, double seconds) =>
        (await MeasureAsync(reactor, device, load, seconds)).ByProcessor;

    /// <summary>Runs the load; returns requests a second of the reactor's processor time, and of the clock.</summary>
    public static async Task<(double ByProcessor, double ByClock)> MeasureAsync(Reactor reactor, IBlockDevice device, Load load, double seconds)
    {
        IBlockQueue queue = await reactor.InvokeAsync(() => device.OpenQueue(reactor));
        var runner = new LoadRunner(queue, load);
        long from = 0, began = 0;
        await reactor.InvokeAsync(() =>
        {
            from = ThreadTimeNs();
            began = Stopwatch.GetTimestamp();
            reactor.Add(runner);
        });
        await Task.Delay(TimeSpan.FromSeconds(seconds));
        long done = 0, to = 0;
        TimeSpan elapsed = default;
        await reactor.InvokeAsync(() =>
        {
            done = runner.Done;
            to = ThreadTimeNs();
            elapsed = Stopwatch.GetElapsedTime(began);
            runner._stopping = true;
        });
        await runner._drained.Task;
        await reactor.InvokeAsync(() =>
        {
            reactor.Remove(runner);
            queue.Dispose();
        });
        runner.Free();
        return (done * 1e9 / (to - from), done / elapsed.TotalSeconds);
    }

    private unsafe void Free() => NativeMemory.AlignedFree(_buffers);

    private static unsafe long ThreadTimeNs()
    {
        long* time = stackalloc long[2];
        return clock_gettime(ClockThreadCpuTime, time) == 0 ? (time[0] * 1_000_000_000) + time[1] : throw new InvalidOperationException("No thread clock.");
    }

    [LibraryImport("libc")]
    private static unsafe partial int clock_gettime(int clock, long* time);

    public unsafe int Poll()
    {
        if (_stopping)
        {
            if (_readyCount == _ready.Length)
            {
                _drained.TrySetResult();
            }

            return 0;
        }

        int count = _readyCount;
        for (int i = 0; i < count; i++)
        {
            BlockRequest request = _ready[--_readyCount];
            request.Prepare(_load.Operation, NextOffset(), _load.Bytes, request.OwnVectors, 1, this);
            _batch[i] = request;
        }

        for (int i = 0; i < count; i++)
        {
            _queue.Submit(_batch[i]);
        }

        return count;
    }

    private readonly BlockRequest[] _batch = new BlockRequest[1024];

    public bool TryArm() => false;

    public void Disarm()
    {
    }

    public void OnDropped(Exception error)
    {
    }

    public void OnCompleted(BlockRequest request)
    {
        if (request.Status != 0)
        {
            throw new InvalidOperationException($"Status {request.Status}.");
        }

        Done++;
        _ready[_readyCount++] = request;
    }

    private long NextOffset()
    {
        if (_load.Random)
        {
            _state ^= _state << 13;
            _state ^= _state >> 7;
            _state ^= _state << 17;
            return (long)(_state % (ulong)(_load.SpanBytes / _load.Bytes)) * _load.Bytes;
        }

        _next = (_next + _load.Bytes) % _load.SpanBytes;
        return _next;
    }
}
