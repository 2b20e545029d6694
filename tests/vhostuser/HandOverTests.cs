// Sessions that go over to a successor: the front-end says nothing and notices nothing, whatever it has under way.

using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Frontends;
using Polyblk.Virtio;
using Polyblk.Virtio.VhostUser;
using static Polyblk.Virtio.VhostUser.VhostUserRequest;

namespace Polyblk.VhostUser.Tests;

public sealed class HandOverTests
{
    private const int BlockBytes = 4096;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    [Theory]
    [InlineData(false, false, true)]
    [InlineData(false, true, false)]
    [InlineData(true, false, false)]
    [InlineData(true, true, true)]
    public async Task NothingIsLostFailedOrDoneTwiceAndTheFrontEndNoticesNothing(bool packed, bool indirect, bool inflight)
    {
        const int depth = 16;
        const int seed = 815;
        var random = new Random(seed);
        using var fixture = new ExportFixture(reactors: 2);
        using VhostUserClient client = fixture.Attach(o => o with
        {
            Queues = 2, Depth = depth, Packed = packed, Indirect = indirect, Inflight = inflight,
        });
        int[] expected = new int[2 * depth];
        for (int round = 0; round < 20; round++)
        {
            // Some are done and not yet taken, some are held by the device, some come while nobody is there.
            int taken = random.Next(depth / 2);
            int held = random.Next(depth / 2);
            Write(0, taken);
            fixture.Gated.Hold();
            Write(taken, held);
            Task<HandedOverExport> moving = fixture.HandOverAsync();
            Write(taken + held, 1);
            fixture.Gated.Release();
            HandedOverExport luggage = await moving.WaitAsync(s_patience);
            Assert.Equal(0, fixture.Gated.OpenQueues);
            Write(taken + held + 1, depth - taken - held - 1);
            fixture.Succeed(luggage);
            foreach (ClientQueue queue in client.Queues)
            {
                Dictionary<int, byte> done = queue.TakeAll();
                Assert.Equal(depth, done.Count);
                Assert.All(done.Values, status => Assert.Equal(0, status));
            }

            Assert.Equal(expected, Enumerable.Range(0, 2 * depth).Select(i => fixture.Gated.WritesAt((long)i * BlockBytes)));
            Assert.False(client.IsDisconnected);
            Assert.Equal(1, fixture.Export.GetStatistics().Sessions);
        }

        client.Detach();

        void Write(int first, int count)
        {
            foreach ((int index, ClientQueue queue) in client.Queues.Index())
            {
                for (int slot = first; slot < first + count; slot++)
                {
                    int block = (index * depth) + slot;
                    expected[block]++;
                    queue.Submit(slot, ClientOperation.Write, (long)block * BlockBytes, BlockBytes);
                }

                queue.Publish();
            }
        }
    }

    [Fact]
    public async Task ItsChannelToTheFrontEndGoesOver()
    {
        using var fixture = new ExportFixture();
        using VhostUserClient client = fixture.Attach();
        fixture.Succeed(await fixture.HandOverAsync());
        Assert.Equal(0, client.Queues[0].Do(ClientOperation.Read, 0, BlockBytes));
        fixture.Gated.Resize(1 << 19);
        await fixture.Export.ResizeAsync(CancellationToken.None);
        Assert.True(client.WaitForConfigChange((int)s_patience.TotalMilliseconds));
        client.ReadConfig();
        Assert.Equal(1 << 19, client.CapacityBytes);
    }

    [Fact]
    public async Task WriteThroughStaysWriteThroughAndTheDirtyLogGoesOn()
    {
        using var fixture = new ExportFixture();
        using RawFrontend f = fixture.Connect();
        using var memory = new SharedMemory(1 << 20, 0x10_0000);
        using var log = new SharedMemory(4096, 0);
        using var ring = new RawRing(memory);
        f.Negotiate(features: VirtioFeatures.VIRTIO_BLK_F_CONFIG_WCE | VhostUserAbi.VHOST_F_LOG_ALL);
        Assert.Equal(0UL, f.Acked(SET_CONFIG, [.. Writeback(), 0]));
        Assert.Equal(0UL, f.Acked(ADD_MEM_REG, memory.Slot, [memory.Fd]));
        f.Send(SET_LOG_BASE, new VhostUserLog { mmap_size = 4096 }, [log.Fd]);
        _ = f.Reply<ulong>(SET_LOG_BASE);
        f.Start(ring);

        fixture.Succeed(await fixture.HandOverAsync());
        f.Send(GET_CONFIG, (byte[])[.. Writeback(), 0]);
        Assert.Equal(0, f.Reply(GET_CONFIG)[^1]);
        Assert.Equal(0UL, Dirty(log));
        ring.Read(0);
        Assert.Equal(0, ring.Wait());

        // The data's page and the ring's, which is that of the status.
        Assert.NotEqual(0UL, Dirty(log) & (1UL << (0x10_1000 / 4096 % 64)));

        static byte[] Writeback() =>
            [.. BitConverter.GetBytes(32u), .. BitConverter.GetBytes(1u), .. BitConverter.GetBytes(0u)];
    }

    [Fact]
    public async Task WhoSaidNothingYetAndWhoConnectsMeanwhileAreServedBySuccessor()
    {
        using var fixture = new ExportFixture();
        using RawFrontend before = fixture.Connect();
        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 1, "it is accepted");
        HandedOverExport luggage = await fixture.HandOverAsync();
        Assert.Single(luggage.Sessions);
        using RawFrontend meanwhile = fixture.Connect();
        fixture.Succeed(luggage);
        Assert.NotEqual(0UL, before.Get(GET_FEATURES));
        Assert.NotEqual(0UL, meanwhile.Get(GET_FEATURES));
        Assert.Equal(2, fixture.Export.GetStatistics().Sessions);
        Assert.True(File.Exists(fixture.SocketPath));
    }

    [Fact]
    public async Task AMessageThatWasNotReadIsReadBySuccessorAndOneThatWasHalfReadEndsTheSession()
    {
        using var fixture = new ExportFixture();
        using RawFrontend whole = fixture.Connect();
        using RawFrontend half = fixture.Connect();
        whole.Negotiate();
        half.Negotiate();
        _ = whole.Get(GET_FEATURES);
        _ = half.Get(GET_FEATURES);
        Assert.Equal(SocketResult.Done, half.Channel.SendRaw(new byte[5]));
        await Task.Delay(200); // It waits for the rest by then; later does no harm, earlier would find five bytes to read first.
        HandedOverExport luggage = await fixture.HandOverAsync();
        Assert.Single(luggage.Sessions);
        whole.Send(GET_QUEUE_NUM);
        fixture.Succeed(luggage);
        Assert.NotEqual(0UL, whole.Reply<ulong>(GET_QUEUE_NUM));
        Assert.True(half.IsEnded());
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task WhatIsNotUnderstoodEndsItsSessionAndNoOther(bool isCut)
    {
        using var fixture = new ExportFixture();
        using VhostUserClient good = fixture.Attach();
        using RawFrontend bad = fixture.Connect();
        bad.Negotiate();
        _ = bad.Get(GET_FEATURES);
        HandedOverExport luggage = await fixture.HandOverAsync();
        Assert.Equal(2, luggage.Sessions.Count);
        byte[] state = luggage.Sessions[1].State.ToArray();
        if (isCut)
        {
            state = state[..^3];
        }
        else
        {
            state[0]++;
        }

        HandedOverSession old = luggage.Sessions[1];
        fixture.Succeed(new HandedOverExport(
            luggage.Listener, [luggage.Sessions[0], new HandedOverSession(old.Connection, state, old.Descriptors)]));
        Assert.True(bad.IsEnded());
        Assert.Equal(0, good.Queues[0].Do(ClientOperation.Read, 0, BlockBytes));

        // The session says so when its connection has ended.
        ExportFixture.Until(() => fixture.Log.Lines.Any(l => l.Contains("handed over", StringComparison.Ordinal)), "the log");
    }

    /// <summary>It sends without a pause, so its session never has to wait for a message.</summary>
    [Fact]
    public async Task WhoFloodsItsSessionKeepsNobodyFromGoingOver()
    {
        using var fixture = new ExportFixture();
        using VhostUserClient good = fixture.Attach();
        using RawFrontend flood = fixture.Connect();
        using var enough = new CancellationTokenSource();
        Task flooding = Task.Run(() =>
        {
            while (!enough.IsCancellationRequested && flood.Channel.Send((uint)RESET_OWNER, 0, [], timeoutMs: 100) != SocketResult.Broken)
            {
            }
        });
        fixture.Succeed(await fixture.HandOverAsync().WaitAsync(s_patience));
        Assert.Equal(0, good.Queues[0].Do(ClientOperation.Read, 0, BlockBytes));
        enough.Cancel();
        await flooding;
    }

    [Fact]
    public async Task WhatIsGivenUpEndsTheSessionsAndClosesAllThatTheyGave()
    {
        int before = Descriptors();
        using (var fixture = new ExportFixture())
        {
            using RawFrontend f = fixture.Connect();
            using var memory = new SharedMemory(1 << 20, 0x10_0000);
            using var ring = new RawRing(memory);
            f.Negotiate();
            Assert.Equal(0UL, f.Acked(ADD_MEM_REG, memory.Slot, [memory.Fd]));
            f.Start(ring);
            Assert.True(Frontends.VhostUser.SessionContext.Descriptors.Taken > 0);
            Assert.Equal(1, Frontends.VhostUser.SessionContext.KeptFiles.Taken);
            (await fixture.HandOverAsync()).Dispose();
            Assert.True(f.IsEnded());
            Assert.Equal(0, Frontends.VhostUser.SessionContext.Descriptors.Taken);
            Assert.Equal(0, Frontends.VhostUser.SessionContext.KeptFiles.Taken);
        }

        ExportFixture.Until(() => Descriptors() == before, "all is closed");
    }

    private static unsafe ulong Dirty(SharedMemory log) => Volatile.Read(ref ((ulong*)log.Address)[0x10_0000 / 4096 / 64]);

    private static int Descriptors() => Directory.GetFiles("/proc/self/fd").Length;
}
