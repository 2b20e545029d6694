// Random requests of random shapes, completed in random order, against an array of bytes.

using Polyblk.Core.Reactors;
using Polyblk.Fakes.Virtio;
using static Polyblk.Virtio.VirtioBlkProtocol;
using static Polyblk.Virtio.VirtioFeatures;

namespace Polyblk.Virtio.Tests;

public sealed class QueueModelTests : IClassFixture<SteppedReactor>
{
    private readonly SteppedReactor _stepped;

    public QueueModelTests(SteppedReactor stepped) => _stepped = stepped;

    public static TheoryData<ulong, int, bool> Kinds()
    {
        var data = new TheoryData<ulong, int, bool>();
        ulong[] features = [0, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC];
        foreach (ulong each in features)
        {
            data.Add(each, 64, false);
            data.Add(each | VIRTIO_F_RING_PACKED, 64, false);
        }

        data.Add(VIRTIO_F_INDIRECT_DESC, 1024, true);
        data.Add(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_PACKED, 37, true);
        data.Add(VIRTIO_F_INDIRECT_DESC | VIRTIO_F_RING_PACKED, 1024, true);
        return data;
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public Task RandomRequests(ulong features, int size, bool withLog) => _stepped.Run(reactor => RunModel(reactor, features, size, withLog, 20261122));

    internal static void RunModel(Reactor reactor, ulong features, int size, bool withLog, int seed)
    {
        using var harness = new QueueHarness(reactor, new HarnessOptions { Features = features, Size = size, WithLog = withLog });
        var run = new ModelRun(harness, new Random(seed));
        try
        {
            run.Run(3000);
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"seed {seed}: {e.Message}", e);
        }
    }
}

/// <summary>A disk and the requests in flight on it, none of which touches a sector that another writes.</summary>
internal sealed class ModelRun(QueueHarness harness, Random random)
{
    private readonly byte[] _disk = new byte[harness.Drive.SizeBytes];
    private readonly List<GuestRequest> _inFlight = [];
    private int _answers;

    public void Run(int steps)
    {
        for (int i = 0; i < steps; i++)
        {
            Step();
        }

        Finish();
        Assert.True(_answers > steps / 10, $"only {_answers} answers");
    }

    public void Finish()
    {
        harness.Settle();
        TakeAnswers();
        Assert.Empty(_inFlight);
        Assert.Equal(_disk, harness.Drive.Content);
        Assert.Null(harness.Queue.Fault);
        Assert.Equal(harness.Driver.Size, harness.Driver.FreeDescriptors);
        Assert.Equal(0, harness.Queue.GetStatistics().InFlight);
    }

    public void Step()
    {
        switch (random.Next(8))
        {
            case < 3:
                for (int i = random.Next(6); i > 0; i--)
                {
                    Submit();
                }

                break;
            case < 5:
                harness.Queue.Poll();
                break;
            case < 7:
                for (int i = random.Next(4); i > 0 && harness.Drive.HeldCount != 0; i--)
                {
                    harness.Drive.Complete(random.Next(harness.Drive.HeldCount));
                }

                break;
            default:
                TakeAnswers();
                break;
        }

        Assert.Null(harness.Queue.Fault);
    }

    /// <summary>The driver's side of some steps, in which no device looks.</summary>
    public void WorkOn()
    {
        TakeAnswers();
        for (int i = random.Next(4); i > 0; i--)
        {
            Submit();
        }
    }

    private void Submit()
    {
        int sectors = random.Next(20) switch { 0 => 60, < 5 => 8, _ => random.Next(1, 9) };
        uint type = random.Next(10) switch { < 4 => VIRTIO_BLK_T_IN, < 8 => VIRTIO_BLK_T_OUT, 8 => VIRTIO_BLK_T_FLUSH, _ => VIRTIO_BLK_T_WRITE_ZEROES };
        ulong sector = (ulong)random.Next((_disk.Length / 512) - sectors);
        bool writes = type is VIRTIO_BLK_T_OUT or VIRTIO_BLK_T_WRITE_ZEROES;
        if (_inFlight.Exists(r => Overlaps(r, sector, sectors) && (writes || IsWrite(r))))
        {
            return;
        }

        GuestRequest? request = type switch
        {
            VIRTIO_BLK_T_IN => harness.Blk.Submit(type, sector, [], sectors * 512, Shape(16, (sectors * 512) + 1)),
            VIRTIO_BLK_T_OUT => harness.Blk.Submit(type, sector, Bytes(sectors * 512), 0, Shape(16 + (sectors * 512), 1)),
            VIRTIO_BLK_T_FLUSH => harness.Blk.Submit(type, 0, [], 0, Shape(16, 1)),
            _ => harness.Blk.Submit(type, 0, Range(sector, sectors), 0, Shape(32, 1)),
        };
        if (request is not null)
        {
            request.Tag = (sector, sectors);
            _inFlight.Add(request);
        }
    }

    private void TakeAnswers()
    {
        while (harness.Blk.TryGetAnswer() is { } answer)
        {
            _answers++;
            Assert.True(_inFlight.Remove(answer.Request));
            Assert.Equal(VIRTIO_BLK_S_OK, answer.Status);
            Assert.Equal((uint)answer.Request.WritableBytes, answer.UsedLength);
            (ulong sector, int sectors) = ((ulong, int))answer.Request.Tag!;
            Span<byte> range = answer.Request.Type == VIRTIO_BLK_T_FLUSH ? [] : _disk.AsSpan((int)sector * 512, sectors * 512);
            switch (answer.Request.Type)
            {
                case VIRTIO_BLK_T_IN:
                    Assert.True(range.SequenceEqual(answer.In), $"read of {sectors} sectors at {sector}");
                    break;
                case VIRTIO_BLK_T_OUT:
                    answer.Request.Out.CopyTo(range);
                    break;
                case VIRTIO_BLK_T_WRITE_ZEROES:
                    range.Clear();
                    break;
            }
        }
    }

    private ChainShape Shape(int readable, int writable)
    {
        if (random.Next(3) == 0)
        {
            return ChainShape.Ordinary;
        }

        bool indirect = (harness.Options.Features & VIRTIO_F_INDIRECT_DESC) != 0 && random.Next(2) == 0;
        return new ChainShape
        {
            Readable = Cuts(readable),
            Writable = Cuts(writable),
            Indirect = !indirect ? 0 : random.Next(2) == 0 ? int.MaxValue : random.Next(1, 4),
        };
    }

    private int[] Cuts(int total)
    {
        var cuts = new int[random.Next(6)];
        for (int i = 0; i < cuts.Length; i++)
        {
            cuts[i] = random.Next(4) switch { 0 => random.Next(0, 20), 1 => 512, _ => random.Next(1, Math.Max(2, total)) };
        }

        return cuts;
    }

    private byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        random.NextBytes(bytes);
        return bytes;
    }

    internal static byte[] Range(ulong sector, int sectors, uint flags = 0)
    {
        var bytes = new byte[16];
        BitConverter.TryWriteBytes(bytes, sector);
        BitConverter.TryWriteBytes(bytes.AsSpan(8), sectors);
        BitConverter.TryWriteBytes(bytes.AsSpan(12), flags);
        return bytes;
    }

    private static bool IsWrite(GuestRequest request) => request.Type is VIRTIO_BLK_T_OUT or VIRTIO_BLK_T_WRITE_ZEROES;

    private static bool Overlaps(GuestRequest request, ulong sector, int sectors)
    {
        (ulong other, int count) = ((ulong, int))request.Tag!;
        return request.Type != VIRTIO_BLK_T_FLUSH && other < sector + (ulong)sectors && sector < other + (ulong)count;
    }
}
