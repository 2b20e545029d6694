// What is counted of the requests to members' drives: how many, how large, how long; and that it stays when ways to them close.

using Polyblk.Core.Block;
using Polyblk.Core.Metering;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Map;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class MemberTrafficTests
{
    private const int Chunk = 64 << 10;
    private static readonly ReactorOptions s_options = new() { RingEntries = 0 };

    [Fact]
    public async Task RequestsAreCountedAtTheDriveThatAnsweredThem()
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(RaidLevel.Raid0, 2, Chunk);
        RequestDriver driver = await rig.OpenAsync();
        byte[] data = new byte[Chunk];
        for (int chunk = 0; chunk < 6; chunk++)
        {
            Assert.Equal(0, await driver.WriteAsync(chunk * Chunk, data));
        }

        for (int i = 0; i < 5; i++)
        {
            await driver.ReadOrThrowAsync(Chunk, 4096);
        }

        MemberTraffic[] traffic = Traffic(rig);
        Assert.Equal([(3, 0), (3, 5)], traffic.Select(t => ((int)t.Latencies.Writes.Count, (int)t.Latencies.Reads.Count)));
        Assert.Equal([(3L * Chunk, 0), (3L * Chunk, 5L * 4096)], traffic.Select(t => (t.WrittenBytes, t.ReadBytes)));
        Assert.All(traffic, t => Assert.True(t.Latencies.Writes.SumNs > 0));

        // A request that fails is counted, and nothing is lost when the ways to the drives close.
        rig.Drives[1].AddFault(
            new DriveFault { OffsetBytes = ArrayRig.DataOffset, LengthBytes = 4096, Errno = Errno.EBADMSG });
        (int status, _) = await driver.ReadAsync(Chunk, 4096);
        Assert.NotEqual(0, status);
        await rig.CloseDriversAsync();
        MemberTraffic[] afterwards = Traffic(rig);
        Assert.True(afterwards[1].Latencies.Reads.Count > 5, "a read that failed is a read that was answered");
        Assert.Equal(5L * 4096, afterwards[1].ReadBytes);
        Assert.Equal(traffic[0].Latencies.Writes.Buckets, afterwards[0].Latencies.Writes.Buckets);
    }

    /// <summary>
    /// Of those that are answered inside Submit one in sixteen is timed; all are counted, and none took nothing.
    /// </summary>
    [Fact]
    public async Task RequestsThatAreAnsweredAtOnceAreAllCounted()
    {
        using var reactor = new Reactor(s_options);
        var meter = new PortMeter(reactor);
        await reactor.InvokeAsync(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                Pass(meter, BlockOperation.Read);
                Pass(meter, BlockOperation.Write);
            }
        });
        MemberTraffic traffic = meter.Read();
        Assert.Equal((1000, 1000), (traffic.Latencies.Reads.Count, traffic.Latencies.Writes.Count));
        Assert.Equal((1000 * 4096L, 1000 * 4096L), (traffic.ReadBytes, traffic.WrittenBytes));
        Assert.True(traffic.Latencies.Reads.SumNs > 0);
    }

    /// <summary>One that was long at the drive says nothing of those that are answered at once.</summary>
    [Fact]
    public void ARequestThatTakesTurnsIsTimedByThem()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options, nowNs: 1_000_000);
        var meter = new PortMeter(reactor);
        var requests = new BlockRequest[3];
        for (int i = 0; i < requests.Length; i++)
        {
            requests[i] = Send(meter, BlockOperation.Read);
            reactor.AdvanceTo(reactor.NowNs + 5000);
            reactor.Step();
        }

        Array.ForEach(requests, meter.Back);
        Assert.Equal((3, 30_000), (meter.Read().Latencies.Reads.Count, meter.Read().Latencies.Reads.SumNs));
        for (int i = 0; i < 40; i++)
        {
            Pass(meter, BlockOperation.Read);
        }

        LatencyCounts reads = meter.Read().Latencies.Reads;
        Assert.Equal((43, 30_000, 40), (reads.Count, reads.SumNs, reads.CountUpTo(0)));
    }

    [Fact]
    public void NothingIsAllocated()
    {
        using Reactor reactor = Reactor.CreateStepped(s_options);
        var meter = new PortMeter(reactor);
        BlockRequest request = Send(meter, BlockOperation.Write);
        Assert.Equal(0, SteadyAllocation.Measure(() =>
        {
            for (int i = 0; i < 1000; i++)
            {
                meter.Sent(request);
                meter.Back(request);
            }
        }));
    }

    private static MemberTraffic[] Traffic(ArrayRig rig) => [.. rig.Array.GetStatus().Members.Select(m => m.Traffic)];

    private static void Pass(PortMeter meter, BlockOperation operation) => meter.Back(Send(meter, operation));

    private static BlockRequest Send(PortMeter meter, BlockOperation operation)
    {
        var request = new BlockRequest { Operation = operation, LengthBytes = 4096 };
        meter.Sent(request);
        return request;
    }
}
