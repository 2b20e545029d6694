// What a request costs between the available ring and the used ring: the virtio-blk queue over a null device, driven by a
// pretended guest on the same thread. The guest's own cost is inside the figures. Time is the thread's processor time, so that
// other load on the machine distorts little.
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
