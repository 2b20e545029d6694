// What a hostile or broken driver may put into a ring. It breaks its queue, with the right reason, and nothing else.

using Polyblk.Fakes.Virtio;
using Polyblk.Virtio.Memory;
using static Polyblk.Virtio.RingLayout;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed unsafe class PitfallTests : IClassFixture<SteppedReactor>
{
    private const ulong Arena = QueueHarness.ArenaAddress;
    private const ulong End = Arena + (QueueHarness.ArenaRegions * QueueHarness.ArenaRegionBytes);
    private readonly SteppedReactor _stepped;

    public PitfallTests(SteppedReactor stepped) => _stepped = stepped;

    private static GuestBuffer Header => new(Arena, 16, false);

    private static GuestBuffer Status => new(Arena + 0x8000, 1, true);

    private static GuestBuffer Data(uint length, bool write = true) => new(Arena + 0x100, length, write);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ReadableAfterWritable(bool packed) =>
        Breaks(packed, VirtqueueFault.ReadableAfterWritable, h => h.Driver.AddAndPublish([Header, Status, Data(512, false)]));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ReadableAfterWritableOfNoLength(bool packed) =>
        Breaks(packed, VirtqueueFault.ReadableAfterWritable, h => h.Driver.AddAndPublish([Header, Data(0), Data(512, false), Status]));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task FourGigabytesInAll(bool packed)
    {
        // Virtual memory only: nothing of it is touched.
        const ulong Large = 0x10_0000_0000;
        const uint Half = 0x8000_0000;
        return Breaks(
            packed,
            VirtqueueFault.ChainTooLarge,
            h => h.Driver.AddAndPublish([Header, new(Large, Half, true), new(Large, Half, true), Status]),
            HarnessOptions.For(packed) with { MoreRegions = [(Large, Half)] });
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task NoHeader(bool packed) => Breaks(packed, VirtqueueFault.BadRequest, h => h.Driver.AddAndPublish([new(Arena, 15, false), Status]));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task NoStatus(bool packed) => Breaks(packed, VirtqueueFault.BadRequest, h => h.Driver.AddAndPublish([Header, Data(512, false)]));

    /// <summary>Two segments for each descriptor: every buffer lies over the border of two regions.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task TooManySegments(bool packed) => Breaks(
        packed,
        VirtqueueFault.TooManySegments,
        h => h.Driver.AddAndPublish(
            [Header, .. Enumerable.Repeat(new GuestBuffer(Arena + QueueHarness.ArenaRegionBytes - 1, 2, true), 600), Status],
            Arena + 0x2_0000),
        HarnessOptions.For(packed) with { Size = 2048 });

    /// <summary>A long ring does not allow longer chains: descriptors without a byte cost as much to read as others.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ManyEmptyDescriptorsInARing(bool packed) => Breaks(
        packed,
        VirtqueueFault.ChainTooLong,
        h => h.Driver.AddAndPublish([Header, .. Enumerable.Repeat(Data(0), 1100), Status]),
        HarnessOptions.For(packed) with { Size = 2048 });

    /// <summary>
    /// Linux builds tables of seg_max + 2 entries whatever the ring's size is, and fills a page-sized request with segments.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task ATableMayBeLongerThanTheRing(bool packed) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Size = 16 });
        h.Driver.AddAndPublish([Header, .. Enumerable.Repeat(Data(512), 1024), Status], Arena + 0x1_0000);
        h.Settle();
        Assert.Null(h.Queue.Fault);
        Assert.Equal(VIRTIO_BLK_S_OK, *h.Space.At(Arena + 0x8000));
    });

    /// <summary>The feature is always offered; old Windows drivers use it without having acknowledged it.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task IndirectThatWasOfferedButNotAcknowledged(bool packed) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed) with { Features = packed ? VIRTIO_F_RING_PACKED : 0 });
        Assert.True(h.Virtio.Offers(VIRTIO_F_INDIRECT_DESC));
        h.Driver.AddAndPublish([Header, Data(512), Status], Arena + 0x4000);
        h.Settle();
        Assert.Null(h.Queue.Fault);
        Assert.Equal(VIRTIO_BLK_S_OK, *h.Space.At(Arena + 0x8000));
    });

    [Fact]
    public Task CircularChain() => Breaks(false, VirtqueueFault.ChainTooLong, h =>
    {
        int head = h.Driver.AddAndPublish([Header, Data(512), Status]);
        int second = h.Split.Table[head].next;
        h.Split.Table[second].next = (ushort)second;
        h.Split.Table[second].flags |= VIRTQ_DESC_F_NEXT;
    });

    [Fact]
    public Task EndlessPackedChain() => Breaks(true, VirtqueueFault.ChainTooLong, h =>
    {
        for (int i = 0; i < h.Driver.Size; i++)
        {
            h.PackedRing.Ring[i] = new pvirtq_desc { addr = Arena, len = 16, flags = VIRTQ_DESC_F_NEXT | VIRTQ_DESC_F_AVAIL };
        }
    });

    [Fact]
    public Task CircularIndirectTable() => Breaks(false, VirtqueueFault.ChainTooLong, h =>
    {
        const ulong Table = Arena + 0x4000;
        h.Driver.AddAndPublish([Header, Data(512), Status], Table);
        ((virtq_desc*)h.Space.At(Table, 48))[1].next = 1;
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task NestedIndirectTable(bool packed) => Breaks(packed, VirtqueueFault.BadIndirectTable, h =>
    {
        const ulong Table = Arena + 0x4000;
        h.Driver.AddAndPublish([Header, Data(512), Status], Table);
        *(ushort*)h.Space.At(Table + 16 + (packed ? 14u : 12u), 2) |= VIRTQ_DESC_F_INDIRECT;
    });

    [Theory]
    [InlineData(false, 0)]
    [InlineData(false, 17)]
    [InlineData(false, 1027 * 16)]
    [InlineData(false, 32769 * 16)]
    [InlineData(true, 0)]
    [InlineData(true, 17)]
    [InlineData(true, 1027 * 16)]
    [InlineData(true, 32769 * 16)]
    public Task IndirectTableOfABadLength(bool packed, int length) => Breaks(packed, VirtqueueFault.BadIndirectTable, h =>
    {
        int head = h.Driver.AddAndPublish([Header, Data(512), Status], Arena + 0x4000);
        if (packed)
        {
            h.PackedRing.Ring[0].len = (uint)length;
        }
        else
        {
            h.Split.Table[head].len = (uint)length;
        }
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task IndirectTableWithASuccessor(bool packed) => Breaks(packed, VirtqueueFault.BadIndirectTable, h =>
    {
        int head = h.Driver.AddAndPublish([Header, Data(512), Status], Arena + 0x4000);
        if (packed)
        {
            h.PackedRing.Ring[0].flags |= VIRTQ_DESC_F_NEXT;
        }
        else
        {
            h.Split.Table[head].flags |= VIRTQ_DESC_F_NEXT;
        }
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task IndirectTableOutsideMemory(bool packed) => Breaks(packed, VirtqueueFault.BadIndirectTable, h =>
    {
        int head = h.Driver.AddAndPublish([Header, Data(512), Status], Arena + 0x4000);
        if (packed)
        {
            h.PackedRing.Ring[0].addr = End - 16;
        }
        else
        {
            h.Split.Table[head].addr = End - 16;
            *(virtq_desc*)h.Space.At(End - 16, 16) = new virtq_desc { addr = Arena, len = 16, flags = VIRTQ_DESC_F_NEXT, next = 1 };
        }
    });

    [Fact]
    public Task HeadBeyondTheTable() => Breaks(false, VirtqueueFault.BadDescriptorIndex, h =>
    {
        h.Split.Avail[2] = 64;
        h.Split.Avail[1] = 1;
    });

    [Fact]
    public Task SuccessorBeyondTheTable() => Breaks(false, VirtqueueFault.BadDescriptorIndex, h =>
    {
        int head = h.Driver.AddAndPublish([Header, Data(512), Status]);
        h.Split.Table[head].next = 0xFFFF;
    });

    [Fact]
    public Task SuccessorBeyondTheIndirectTable() => Breaks(false, VirtqueueFault.BadDescriptorIndex, h =>
    {
        h.Driver.AddAndPublish([Header, Data(512), Status], Arena + 0x4000);
        ((virtq_desc*)h.Space.At(Arena + 0x4000, 48))[0].next = 3;
    });

    [Fact]
    public Task BufferIdBeyondTheQueue() => Breaks(true, VirtqueueFault.BadDescriptorIndex, h =>
    {
        h.Driver.AddAndPublish([Header, Data(512), Status]);
        h.PackedRing.Ring[2].id = 64;
    });

    [Fact]
    public Task AvailIndexAhead() => Breaks(false, VirtqueueFault.AvailIndexJump, h => h.Split.Avail[1] = 65);

    [Fact]
    public Task AvailIndexBack() => Breaks(false, VirtqueueFault.AvailIndexJump, h =>
    {
        h.Do(VIRTIO_BLK_T_IN, 0, [], 512);
        h.Split.Avail[1] = 0;
    });

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(true, true)]
    public Task TheSameHeadTwice(bool packed, bool withLog) => Breaks(
        packed,
        VirtqueueFault.DescriptorInUse,
        h =>
        {
            int first = h.Driver.AddAndPublish([Header, Data(512), Status]);
            h.Driver.AddAndPublish([Header, Data(512), Status]);
            if (packed)
            {
                h.PackedRing.Ring[5].id = (ushort)first;
            }
            else
            {
                h.Split.Avail[3] = (ushort)first;
            }
        },
        HarnessOptions.For(packed) with { WithLog = withLog });

    /// <summary>A ring in which every descriptor always looks available: more than the queue's size would be taken.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task MoreTakenThanThereIs(bool withLog) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(true) with { WithLog = withLog, Size = 6, BatchSize = 1 });
        for (int turn = 0; turn < 8 && h.Queue.Fault is null; turn++)
        {
            ushort owner = turn * 3 / 6 % 2 == 0 ? VIRTQ_DESC_F_AVAIL : VIRTQ_DESC_F_USED;
            for (int i = 0; i < 3; i++)
            {
                GuestBuffer buffer = i == 0 ? Header : i == 1 ? Data(512) : Status;
                h.PackedRing.Ring[((turn * 3) + i) % 6] = new pvirtq_desc
                {
                    addr = buffer.Address, len = buffer.Length, id = (ushort)turn,
                    flags = (ushort)(owner | (i == 2 ? 0 : VIRTQ_DESC_F_NEXT) | (buffer.Write ? VIRTQ_DESC_F_WRITE : 0)),
                };
            }

            h.Queue.Poll();
        }

        Assert.Equal(VirtqueueFault.AvailIndexJump, h.Queue.Fault?.Fault);
        Assert.Equal(2, h.Drive.HeldCount);
    });

    /// <summary>The queue's size is taken once: what the ring's owner writes about sizes later has no effect.</summary>
    [Fact]
    public Task TheSizeIsTakenOnce() => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(false) with { WithLog = true, Size = 16 });
        ((QueueRegionSplit*)h.Log!.Address)->desc_num = 0xFFFF;
        h.Split.Avail[2] = 20;
        h.Split.Avail[1] = 1;
        Assert.Equal(VirtqueueFault.BadDescriptorIndex, h.PollFault());
    });

    [Theory]
    [InlineData(0, false)]
    [InlineData(3, false)]
    [InlineData(32769, true)]
    [InlineData(65536, false)]
    public Task ImpossibleSizes(int size, bool packed) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed));
        Assert.Throws<ArgumentException>(() => VirtioBlkQueue.Create(h.Setup with { Size = size }));
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task DescriptorsOfNoLengthAreHarmless(bool packed) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed));
        h.Drive.Content[0] = 42;
        h.Driver.AddAndPublish([new(0, 0, false), Header, new(0xdead_0000_0000, 0, false), Data(0), Data(512), new(1, 0, true), Status, Data(0)]);
        h.Settle();
        Assert.Null(h.Queue.Fault);
        Assert.Equal(42, *h.Space.At(Arena + 0x100));
        Assert.Equal(VIRTIO_BLK_S_OK, *h.Space.At(Arena + 0x8000));
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task IndirectTableAcrossRegions(bool packed) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(packed));
        h.Drive.Content[5] = 43;

        // The second of its three entries straddles the border between two regions.
        h.Driver.AddAndPublish([Header, Data(512), Status], Arena + QueueHarness.ArenaRegionBytes - 24);
        h.Settle();
        Assert.Null(h.Queue.Fault);
        Assert.Equal(43, *h.Space.At(Arena + 0x105));
        Assert.Equal(VIRTIO_BLK_S_OK, *h.Space.At(Arena + 0x8000));
    });

    /// <summary>
    /// Descriptors, tables and headers that another thread changes all the time: whatever is seen, it is seen once.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public Task FieldsThatChangeWhileTheyAreRead(bool packed) => _stepped.Run(reactor =>
    {
        const int LeastChanged = 200;
        var options = HarnessOptions.For(packed) with { Drive = new HeldDrive(1 << 20) { Inline = true } };
        bool stop = false;
        int broken = 0;
        int answered = 0;
        int changed = 0;

        // Until everything was seen, however the threads are scheduled: the bound only ends a test that will never see it.
        for (int round = 0; round < 2000 && (broken == 0 || answered == 0 || changed < LeastChanged); round++)
        {
            using var h = new QueueHarness(reactor, options);
            h.Driver.AddAndPublish([Header, Data(512), Status], Arena + 0x4000);
            byte* desc = h.Space.At(Arena + 0x4000, 48) + 16;
            byte* header = h.Space.At(Arena, 16);
            stop = false;
            int flips = 0;
            var flip = new Thread(() =>
            {
                for (uint i = 0; !Volatile.Read(ref stop); i++)
                {
                    // A good length and one that is too much with the others; an address inside and outside; a read and a
                    // nonsense.
                    Volatile.Write(ref *(uint*)(desc + 8), (i & 1) == 0 ? 512u : uint.MaxValue);
                    Volatile.Write(ref *(ulong*)desc, (i & 2) == 0 ? Arena + 0x100 : ulong.MaxValue - 4096);
                    Volatile.Write(ref *(uint*)header, (i & 4) == 0 ? VIRTIO_BLK_T_IN : 77);
                    Volatile.Write(ref flips, flips + 1);
                }
            });
            flip.Start();
            try
            {
                for (int i = 0; i < 20 && h.Queue.Fault is null; i++)
                {
                    int before = Volatile.Read(ref flips);
                    Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref flips) != before, TimeSpan.FromSeconds(20)), "nobody changes the fields");
                    changed++;
                    h.Queue.Poll();
                    if (h.Driver.TryGetUsed(out _, out _))
                    {
                        h.Driver.AddAndPublish([Header, Data(512), Status], Arena + 0x4000);
                    }
                }
            }
            finally
            {
                Volatile.Write(ref stop, true);
                flip.Join();
            }

            broken += h.Queue.Fault is null ? 0 : 1;
            answered += (int)h.Queue.GetStatistics().Reads;
        }

        Assert.True(changed >= LeastChanged, $"the fields changed before {changed} polls only");
        Assert.True(broken > 0 && answered > 0, $"{broken} rings broken, {answered} requests answered");
    });

    [Fact]
    public Task RingsMustBeInMemoryAndAligned() => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(false));
        VirtqueueAddresses good = h.Setup.Addresses;
        VirtqueueAddresses[] bad =
        [
            good with { Descriptor = 0x1000 }, good with { Descriptor = good.Descriptor + 8 }, good with { Driver = good.Driver + 1 },
            good with { Device = good.Device + 2 }, good with { Device = QueueHarness.RingAddress + (4 << 20) - 16 },
            good with { AreUserAddresses = true }, good with { Descriptor = ulong.MaxValue - 15 },
        ];
        foreach (VirtqueueAddresses addresses in bad)
        {
            IOException error = Assert.Throws<IOException>(() => VirtioBlkQueue.Create(h.Setup with { Addresses = addresses }));
            Assert.Contains("must lie in one region", error.Message, StringComparison.Ordinal);
        }

        VirtioBlkQueue.Create(h.Setup with
        {
            Addresses = new VirtqueueAddresses(
                GuestSpace.UserAddressOf(good.Descriptor), GuestSpace.UserAddressOf(good.Driver), GuestSpace.UserAddressOf(good.Device), true),
        }).End();
    });

    /// <summary>A broken queue answers what it took, takes nothing more, and says so once.</summary>
    [Fact]
    public Task ABrokenQueueStopsAndFinishesWhatItTook() => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, HarnessOptions.For(false));
        int told = 0;
        h.Queue.Broken += (_, report) => told += report.Fault == VirtqueueFault.AvailIndexJump ? 1 : 100;
        h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        h.Queue.Poll();
        ushort avail = h.Split.Avail[1];
        h.Split.Avail[1] = 1000;
        h.Queue.Poll();
        h.Split.Avail[1] = avail;
        h.Blk.Submit(VIRTIO_BLK_T_IN, 0, [], 512);
        h.Settle();
        Assert.Equal(1, told);
        Assert.Equal(1, h.Error.Count);
        Assert.NotNull(h.Blk.TryGetAnswer());
        Assert.Null(h.Blk.TryGetAnswer());
        Assert.Single(h.Drive.Log);
    });

    private Task Breaks(bool packed, VirtqueueFault expected, Action<QueueHarness> hostile, HarnessOptions? options = null) => _stepped.Run(reactor =>
    {
        using var h = new QueueHarness(reactor, options ?? HarnessOptions.For(packed));
        hostile(h);
        Assert.Equal(expected, h.PollFault());
        Assert.Equal(1, h.Error.Count);
        Assert.NotEmpty(h.Queue.Fault!.Text);
    });
}
