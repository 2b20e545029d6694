// What a queue tells its reactor of the guest's memory: every region that it may point into, as long as it may.

using Polyblk.Core.Reactors;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class SharedMemoryTests : IDisposable
{
    private readonly SteppedReactor _stepped = new();

    public void Dispose() => _stepped.Dispose();

    [Fact]
    public Task Regions_are_shared_while_a_queue_lives() => _stepped.Run(reactor =>
    {
        var user = new Listener();
        reactor.SharedMemory.Subscribe(user);
        using var first = new QueueHarness(reactor, HarnessOptions.For(packed: false));
        Assert.Equal(first.Space.Memory.Regions.Select(r => r.Mapping).ToHashSet(), user.There);
        Assert.Equal(1 + QueueHarness.ArenaRegions, user.Told);

        // Another queue of the same guest brings nothing new, and nothing goes with it.
        VirtioBlkQueue second = VirtioBlkQueue.Create(first.Setup);
        second.End();
        Assert.Equal(1 + QueueHarness.ArenaRegions, user.Told);
        _ = first.Do(VirtioBlkProtocol.VIRTIO_BLK_T_IN, 0, [], 512);
        first.Queue.End();
        Assert.Empty(user.There);
        Assert.Null(user.Permit);
    });

    [Fact]
    public async Task A_new_table_brings_what_is_new_and_takes_what_is_gone()
    {
        var user = new Listener();
        QueueHarness harness = null!;
        GuestMemory smaller = null!;
        var permit = new PinPermit(_ => { });
        await _stepped.Run(reactor =>
        {
            reactor.SharedMemory.Subscribe(user);
            harness = new QueueHarness(reactor, HarnessOptions.For(packed: true));
            smaller = new GuestMemory([.. harness.Space.Memory.Regions.Take(3)], pinning: permit);
        });
        using var added = MappedRegion.CreateAnonymous(4096);
        using var other = new GuestMemory([.. smaller.Regions, new GuestRegion(0x9000_0000, 0, added)], pinning: permit);

        // The ring is not looked for in vain: it lies in the first region.
        await harness.Queue.SwapMemoryAsync(smaller);
        Assert.Equal(smaller.Regions.Select(r => r.Mapping).ToHashSet(), user.There);
        int told = user.Told;
        await harness.Queue.ExtendMemoryAsync(other);
        Assert.Equal(other.Regions.Select(r => r.Mapping).ToHashSet(), user.There);
        Assert.Equal((told + 1, permit), (user.Told, user.Permit));
        await _stepped.Run(_ => harness.Dispose());
        Assert.Empty(user.There);
        smaller.Dispose();
    }

    [Fact]
    public Task What_is_found_on_the_way_is_shared_as_well() => _stepped.Run(reactor =>
    {
        var user = new Listener();
        reactor.SharedMemory.Subscribe(user);
        using var harness = new QueueHarness(reactor, HarnessOptions.For(packed: false));
        using var finder = new Finder(harness.Space.Memory);
        harness.Restart(harness.Setup with { Memory = finder.Ring });
        Assert.Single(user.There);
        _ = harness.Do(VirtioBlkProtocol.VIRTIO_BLK_T_IN, 0, [], 512);
        Assert.True(finder.Found > 0);
        Assert.Equal(harness.Space.Memory.Regions.Count, user.There.Count);
        harness.Queue.End();
        Assert.Empty(user.There);
    });

    /// <summary>Knows the ring's region at first, and all others once one is asked for.</summary>
    private sealed class Finder : IGuestMemoryResolver, IDisposable
    {
        private readonly GuestMemory _all;

        public Finder(GuestMemory all)
        {
            _all = all;
            Ring = new GuestMemory([all.Regions[0]], this);
        }

        public GuestMemory Ring { get; }

        public int Found { get; private set; }

        public GuestMemory? Resolve(GuestMemory current, ulong guestAddress)
        {
            Found++;
            return new GuestMemory(_all.Regions, this);
        }

        public void Dispose() => Ring.Dispose();
    }

    private sealed class Listener : ISharedMemoryUser
    {
        public HashSet<MappedRegion> There { get; } = [];

        /// <summary>How often it was told that memory has come.</summary>
        public int Told { get; private set; }

        public PinPermit? Permit { get; private set; }

        public void OnShared(ISharedMemory memory, PinPermit? pinning)
        {
            Assert.True(There.Add((MappedRegion)memory));
            Told++;
            Permit = pinning;
        }

        public void OnWithdrawn(ISharedMemory memory) => Assert.True(There.Remove((MappedRegion)memory));
    }
}
