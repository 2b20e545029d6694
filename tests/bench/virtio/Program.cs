// What a request costs between the available ring and the used ring: the virtio-blk queue over a null device, driven by a
// pretended guest on the same thread. The guest's own cost is inside the figures. Time is the thread's processor time, so that
// other load on the machine distorts little. "Turns" are those of the reactor, with all that it does in one; elsewhere the queue
// is polled by itself.
//
//     dotnet run -c Release --project tests/bench/virtio [seconds for each row]

using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Null;
using Polyblk.Fakes.Virtio;
using Polyblk.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

double seconds = args.Length > 0 ? double.Parse(args[0], CultureInfo.InvariantCulture) : 1;
using var reactor = new Reactor(new ReactorOptions { Name = "bench", RingEntries = 0, Idle = IdlePolicy.Frugal });
await using var drive = new NullDrive(1L << 40);
foreach (bool packed in (bool[])[false, true])
{
    foreach (bool log in (bool[])[false, true])
    {
        foreach (int depth in (int[])[1, 8, 32, 128])
        {
            (double ns, long allocated) = await reactor.InvokeAsync(() => Measure(packed, log, depth));
            Console.WriteLine(
                $"{(packed ? "packed" : "split "),-6} {(log ? "inflight log" : "            ")} QD {depth,4}: {ns,7:F1} ns/request, {1000 / ns,6:F2} M/s, {allocated} bytes allocated");
        }
    }
}

foreach (int depth in (int[])[1, 8, 32, 128])
{
    double ns = await MeasureTurnsAsync(depth);
    Console.WriteLine($"turns               QD {depth,4}: {ns,7:F1} ns/request, {1000 / ns,6:F2} M/s");
}

async Task<double> MeasureTurnsAsync(int depth)
{
    var setup = new Rig(reactor, drive, depth);
    await reactor.InvokeAsync(setup.Start);
    await Task.Delay(TimeSpan.FromSeconds(0.3));
    (long Ns, long Answered) before = await reactor.InvokeAsync(setup.Read);
    await Task.Delay(TimeSpan.FromSeconds(seconds));
    (long Ns, long Answered) after = await reactor.InvokeAsync(setup.Read);
    await reactor.InvokeAsync(setup.End);
    return (after.Ns - before.Ns) / (double)(after.Answered - before.Answered);
}

(double Ns, long Allocated) Measure(bool packed, bool log, int depth)
{
    const int Size = 512;
    const ulong Ring = 0x10_0000;
    const ulong Buffers = 0x4000_0000;
    using var space = new GuestSpace((Ring, 1 << 20), (Buffers, 64 << 20));
    ulong features = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_BLK_F_FLUSH | (packed ? VIRTIO_F_RING_PACKED : 0);
    GuestDriver driver = GuestDriver.Create(space, Size, features, Ring);
    driver.DisableCalls();
    var guest = new FastGuest(driver, Buffers, depth, VIRTIO_BLK_T_IN, 4096);
    var virtio = new VirtioBlkDevice(drive, new VirtioBlkDeviceOptions());
    virtio.SetFeatures(features);
    using MappedRegion logMemory = MappedRegion.CreateAnonymous((ulong)InflightLog.RegionBytes(Size, packed));
    using InflightLog? inflight = log ? new InflightLog(logMemory, 0, Size, packed) : null;
    VirtioBlkQueue queue = VirtioBlkQueue.StartAsync(new VirtqueueSetup
    {
        Reactor = reactor, Device = drive, Virtio = virtio, Memory = space.Memory, Addresses = driver.Addresses, Size = Size,
        Features = features, Base = driver.StartBase, Inflight = inflight,
    }).GetAwaiter().GetResult();
    Run(guest, queue, 0.3);
    long allocated = GC.GetAllocatedBytesForCurrentThread();
    double ns = Run(guest, queue, seconds);
    allocated = GC.GetAllocatedBytesForCurrentThread() - allocated;
    while (guest.InFlight != 0)
    {
        queue.Poll();
        guest.Reap();
    }

    Task<uint> stopped = queue.StopAsync();
    if (!stopped.IsCompletedSuccessfully)
    {
        throw new InvalidOperationException("The queue did not stop.");
    }

    return (ns, allocated);
}

static double Run(FastGuest guest, VirtioBlkQueue queue, double seconds)
{
    long end = Stopwatch.GetTimestamp() + (long)(seconds * Stopwatch.Frequency);
    long start = ThreadClock.ReadNs();
    long before = guest.Answered;
    do
    {
        for (int i = 0; i < 1000; i++)
        {
            guest.Reap();
            guest.Fill();
            queue.Poll();
        }
    }
    while (Stopwatch.GetTimestamp() < end);
    return (ThreadClock.ReadNs() - start) / (double)(guest.Answered - before);
}

/// <summary>A queue and its guest that a reactor polls.</summary>
internal sealed class Rig : IPoller
{
    private const int Size = 512;
    private const ulong Ring = 0x10_0000;
    private const ulong Buffers = 0x4000_0000;

    private readonly Reactor _reactor;
    private readonly GuestSpace _space = new((Ring, 1 << 20), (Buffers, 64 << 20));
    private readonly FastGuest _guest;
    private readonly Func<VirtioBlkQueue> _start;
    private VirtioBlkQueue? _queue;

    public Rig(Reactor reactor, NullDrive drive, int depth)
    {
        _reactor = reactor;
        ulong features = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_BLK_F_FLUSH;
        GuestDriver driver = GuestDriver.Create(_space, Size, features, Ring);
        driver.DisableCalls();
        _guest = new FastGuest(driver, Buffers, depth, VIRTIO_BLK_T_IN, 4096);
        var virtio = new VirtioBlkDevice(drive, new VirtioBlkDeviceOptions());
        virtio.SetFeatures(features);
        _start = () => VirtioBlkQueue.StartAsync(new VirtqueueSetup
        {
            Reactor = reactor, Device = drive, Virtio = virtio, Memory = _space.Memory, Addresses = driver.Addresses, Size = Size,
            Features = features, Base = driver.StartBase,
        }).GetAwaiter().GetResult();
    }

    public void Start()
    {
        _queue = _start();
        _reactor.Add(this);
    }

    public (long Ns, long Answered) Read() => (ThreadClock.ReadNs(), _guest.Answered);

    public void End()
    {
        _reactor.Remove(this);
        _queue!.Poll();
        _guest.Reap();
        _queue.StopAsync().GetAwaiter().GetResult();
        _space.Dispose();
    }

    public int Poll()
    {
        _guest.Reap();
        _guest.Fill();
        return 0;
    }

    public bool TryArm() => false;

    public void Disarm()
    {
    }

    public void OnDropped(Exception error)
    {
    }
}

internal static unsafe partial class ThreadClock
{
    private const int CLOCK_THREAD_CPUTIME_ID = 3;

    public static long ReadNs()
    {
        Tmds.Linux.timespec time;
        _ = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return (time.tv_sec * 1_000_000_000) + time.tv_nsec;
    }

    [LibraryImport("libc")]
    private static partial int clock_gettime(int clock, Tmds.Linux.timespec* time);
}
