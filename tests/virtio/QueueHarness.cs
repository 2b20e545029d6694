// A queue, its drive and its pretended guest, stepped by hand: the test's body runs on the reactor's thread, so nothing is polled
// but by the test itself, and every run is the same.

using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

/// <summary>The reactor on whose thread the bodies of tests run.</summary>
public sealed class SteppedReactor : IDisposable
{
    private readonly Reactor _reactor = new(new ReactorOptions { Name = "stepped", RingEntries = 0, Idle = IdlePolicy.Frugal });

    public Reactor Reactor => _reactor;

    public Task Run(Action<Reactor> body) => _reactor.InvokeAsync(() => body(_reactor));

    public void Dispose() => _reactor.Dispose();
}

/// <summary>Counts notifications.</summary>
public sealed class CountingNotifier : IVirtqueueNotifier
{
    public int Count { get; private set; }

    public void Notify() => Count++;
}

/// <summary>What a test needs around one queue.</summary>
internal sealed unsafe class QueueHarness : IDisposable
{
    public const ulong RingAddress = 0x10_0000;
    public const ulong ArenaAddress = 0x4000_0000;
    public const ulong ArenaRegionBytes = 64 << 10;
    public const int ArenaRegions = 16;
    public const ulong ArenaBytes = 40 << 10;

    private readonly Reactor _reactor;
    private readonly MappedRegion? _logMemory;

    public QueueHarness(Reactor reactor, HarnessOptions options)
    {
        _reactor = reactor;
        Options = options;
        // Arenas span borders between regions that are neighbours for the guest and not for the host.
        var regions = new List<(ulong, ulong)> { (RingAddress, 4 << 20) };
        for (int i = 0; i < ArenaRegions; i++)
        {
            regions.Add((ArenaAddress + ((ulong)i * ArenaRegionBytes), ArenaRegionBytes));
        }

        Space = new GuestSpace([.. regions, .. options.MoreRegions]);
        Drive = options.Drive ?? new HeldDrive(1 << 20);
        ulong features = VIRTIO_F_VERSION_1 | VIRTIO_BLK_F_FLUSH | options.Features;
        Virtio = new VirtioBlkDevice(Drive, new VirtioBlkDeviceOptions { Serial = "a-serial-number", ReadOnly = options.ReadOnly });
        Virtio.SetFeatures(features);
        Driver = GuestDriver.Create(Space, options.Size, features, RingAddress);
        Blk = new GuestBlk(Driver, ArenaAddress, ArenaBytes, (int)(ArenaRegionBytes * ArenaRegions / ArenaBytes));
        if (options.WithLog)
        {
            _logMemory = MappedRegion.CreateAnonymous((ulong)InflightLog.RegionBytes(options.Size, Packed));
            Log = new InflightLog(_logMemory, 0, options.Size, Packed);
        }

        Setup = new VirtqueueSetup
        {
            Name = "test",
            Reactor = reactor,
            Device = Drive,
            Virtio = Virtio,
            Memory = Space.Memory,
            Addresses = Driver.Addresses,
            Size = options.Size,
            Features = features,
            Base = Driver.StartBase,
            Call = Call,
            Error = Error,
            Inflight = Log,
            BatchSize = options.BatchSize,
        };
        Queue = VirtioBlkQueue.Create(Setup);
    }

    public HarnessOptions Options { get; }

    public bool Packed => (Options.Features & VIRTIO_F_RING_PACKED) != 0;

    public GuestSpace Space { get; }

    public HeldDrive Drive { get; }

    public VirtioBlkDevice Virtio { get; }

    public GuestDriver Driver { get; }

    public SplitGuestDriver Split => (SplitGuestDriver)Driver;

    public PackedGuestDriver PackedRing => (PackedGuestDriver)Driver;

    public GuestBlk Blk { get; }

    public InflightLog? Log { get; }

    public CountingNotifier Call { get; } = new();

    public CountingNotifier Error { get; } = new();

    public VirtqueueSetup Setup { get; }

    public VirtioBlkQueue Queue { get; private set; }

    /// <summary>Ends the queue as a killed process does, and starts another over the same memory and log.</summary>
    public void Restart(VirtqueueSetup? setup = null)
    {
        Drive.LoseAll();
        Queue.End();
        Queue = VirtioBlkQueue.Create(setup ?? Setup);
    }

    /// <summary>Polls until nothing moves any more, completing what the drive holds.</summary>
    public void Settle()
    {
        int turns = 0;
        do
        {
            Drive.CompleteAll();
            Assert.True(turns++ < 10_000, "The queue does not come to rest.");
        }
        while (Queue.Poll() != 0 || Drive.HeldCount != 0);
    }

    /// <summary>One request from submission to answer.</summary>
    public GuestAnswer Do(uint type, ulong sector, ReadOnlySpan<byte> outData, int inBytes, ChainShape? shape = null)
    {
        GuestRequest? request = Blk.Submit(type, sector, outData, inBytes, shape);
        Assert.NotNull(request);
        Settle();
        Assert.Null(Queue.Fault);
        GuestAnswer? answer = Blk.TryGetAnswer();
        Assert.NotNull(answer);
        Assert.Same(request, answer.Request);
        return answer;
    }

    /// <summary>Writes, whatever it contains, a chain of buffers and polls: for hostile chains.</summary>
    public VirtqueueFault PollFault()
    {
        Queue.Poll();
        Drive.CompleteAll();
        Queue.Poll();
        return Queue.Fault?.Fault ?? VirtqueueFault.None;
    }

    public void Dispose()
    {
        Drive.LoseAll();
        Queue.End();
        Log?.Dispose();
        _logMemory?.Dispose();
        Space.Dispose();
        Assert.Equal(0, Drive.OpenQueues);
        _ = _reactor;
    }
}

/// <summary>What kind of harness.</summary>
internal sealed record HarnessOptions
{
    public ulong Features { get; init; } = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;

    public int Size { get; init; } = 64;

    public bool ReadOnly { get; init; }

    public bool WithLog { get; init; }

    public int BatchSize { get; init; } = 32;

    public HeldDrive? Drive { get; init; }

    public (ulong, ulong)[] MoreRegions { get; init; } = [];

    public static HarnessOptions For(bool packed) => new() { Features = VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | (packed ? VIRTIO_F_RING_PACKED : 0) };
}
