using Polyblk.Compare.Clients.VhostUser;
using Polyblk.Core.Interop;
using Polyblk.Drives.Ram;
using Polyblk.Fakes;
using Polyblk.Raid;
using Polyblk.Raid.Layout;

namespace Polyblk.VhostUser.Tests;

/// <summary>Requests of every kind through a real socket, with every kind of ring.</summary>
public sealed class IoTests
{
    private static readonly ClientOperation[] s_kinds =
    [
        ClientOperation.Read, ClientOperation.Write, ClientOperation.Flush, ClientOperation.Discard, ClientOperation.WriteZeroes, ClientOperation.GetId,
    ];

    public static TheoryData<bool, bool, bool> Rings()
    {
        var data = new TheoryData<bool, bool, bool>();
        for (int i = 0; i < 8; i++)
        {
            data.Add((i & 1) != 0, (i & 2) != 0, (i & 4) != 0);
        }

        return data;
    }

    [Theory]
    [MemberData(nameof(Rings))]
    public void Data_comes_back_as_it_was_written(bool packed, bool indirect, bool eventIndex)
    {
        const int seed = 12345;
        using var fixture = new ExportFixture(reactors: 2);
        using VhostUserClient client = fixture.Attach(o => o with
        {
            Queues = 2, Depth = 16, BufferBytes = 8192, Packed = packed, Indirect = indirect, EventIndex = eventIndex,
        });
        var random = new Random(seed);
        byte[] model = new byte[fixture.Device.SizeBytes];
        for (int round = 0; round < 200; round++)
        {
            ClientQueue queue = client.Queues[round & 1];
            int count = random.Next(1, queue.Depth + 1);
            var ranges = new (int Offset, int Length)[count];

            // Every slot has a stripe of the device to itself, so that requests in flight do not overlap.
            int stripe = model.Length / queue.Depth;
            for (int slot = 0; slot < count; slot++)
            {
                int length = random.Next(1, 17) * 512;
                int offset = (slot * stripe) + (random.Next((stripe - length) / 512) * 512);
                ranges[slot] = (offset, length);
                random.NextBytes(queue.Buffer(slot)[..length]);
                queue.Buffer(slot)[..length].CopyTo(model.AsSpan(offset));
                queue.Submit(slot, ClientOperation.Write, offset, length);
            }

            queue.Publish();
            Assert.All(queue.TakeAll().Values, status => Assert.Equal(0, status));
            for (int slot = 0; slot < count; slot++)
            {
                queue.Buffer(slot).Clear();
                queue.Submit(slot, ClientOperation.Read, ranges[slot].Offset, ranges[slot].Length);
            }

            queue.Publish();
            Assert.All(queue.TakeAll().Values, status => Assert.Equal(0, status));
            for (int slot = 0; slot < count; slot++)
            {
                (int offset, int length) = ranges[slot];
                Assert.True(queue.Buffer(slot)[..length].SequenceEqual(model.AsSpan(offset, length)), $"seed {seed}, round {round}, slot {slot}");
            }
        }

        Assert.True(fixture.Gated.Content.SequenceEqual(model));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_command_does_what_it_says(bool packed)
    {
        using var fixture = new ExportFixture(serial: "0123456789abcdefghij");
        using VhostUserClient client = fixture.Attach(o => o with { Packed = packed });
        ClientQueue queue = client.Queues[0];
        queue.Buffer(0).Fill(0xA5);
        Assert.Equal(0, queue.Do(ClientOperation.Write, 4096, 4096));
        Assert.Equal(0xA5, fixture.Gated.Content[4096]);
        Assert.Equal(0, queue.Do(ClientOperation.Flush, 0, 0));
        Assert.Equal(0, queue.Do(ClientOperation.WriteZeroes, 4096, 512));
        Assert.Equal(0, fixture.Gated.Content[4096]);
        Assert.Equal(0xA5, fixture.Gated.Content[4096 + 512]);
        Assert.Equal(0, queue.Do(ClientOperation.Discard, 4096, 4096));
        queue.Buffer(0).Clear();
        Assert.Equal(0, queue.Do(ClientOperation.GetId, 0, 20));
        Assert.Equal("0123456789abcdefghij", System.Text.Encoding.ASCII.GetString(queue.Buffer(0)[..20]));
        Assert.Equal(1, queue.Do(ClientOperation.Read, client.CapacityBytes, 512));
        Assert.Equal(2, queue.Do((ClientOperation)77, 0, 512));
    }

    [Fact]
    public void A_read_only_export_refuses_writes_and_says_so()
    {
        using var fixture = new ExportFixture(readOnly: true);
        using VhostUserClient client = fixture.Attach();
        ClientQueue queue = client.Queues[0];
        Assert.NotEqual(0UL, client.Features & (1UL << 5));
        Assert.Equal(1, queue.Do(ClientOperation.Write, 0, 4096));
        Assert.Equal(0, fixture.Gated.WritesAt(0));
        Assert.Equal(0, queue.Do(ClientOperation.Read, 0, 4096));
    }

    [Fact]
    public async Task Reactors_allocate_nothing_for_100_000_requests()
    {
        await using var ram = new RamDrive(1 << 20);
        using var fixture = new ExportFixture(ram, reactors: 2);
        using VhostUserClient client = fixture.Attach(o => o with { Queues = 2, Depth = 32 });
        await AllocatesNothingAsync(fixture, client, s_kinds, 100_000);
    }

    /// <summary>The whole way: a socket, two queues on two reactors, an array with parity, its members.</summary>
    [Fact]
    public async Task Reactors_allocate_nothing_for_100_000_requests_of_each_kind_to_an_array()
    {
        using var home = new ReactorFixture(1, ringEntries: 0);
        RamDrive[] drives = [.. Enumerable.Range(0, 3).Select(_ => new RamDrive(2 << 20))];
        var options = new ArrayCreateOptions
        {
            Name = "alloc", Level = RaidLevel.Raid5, ChunkBytes = 4096, AssumeZeroed = true, Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) },
        };
        await using (RaidArray array = await ArrayBuilder.CreateAsync(options, drives, home.Reactor))
        {
            using var fixture = new ExportFixture(array, reactors: 2);
            using VhostUserClient client = fixture.Attach(o => o with { Queues = 2, Depth = 32 });
            foreach (ClientOperation kind in s_kinds)
            {
                await AllocatesNothingAsync(fixture, client, [kind], 100_000);
            }
        }

        foreach (RamDrive drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    private static async Task AllocatesNothingAsync(ExportFixture fixture, VhostUserClient client, ClientOperation[] kinds, int requests)
    {
        Run(client, kinds, requests / 5); // warm: the first turns of a ring and tiered compilation may allocate
        long bytes = await SteadyAllocation.MeasureAsync(() =>
        {
            long before = Allocated(fixture);
            Run(client, kinds, requests);
            return Task.FromResult(Allocated(fixture) - before);
        });
        Assert.True(bytes == 0, $"{requests} requests ({string.Join(", ", kinds)}) allocated {bytes} bytes");
    }

    // The result is awaited by blocking: a continuation would be queued, and so allocated, by the reactor.
    private static long Allocated(ExportFixture fixture) =>
        fixture.Reactors.Reactors.Sum(r => r.InvokeAsync(GC.GetAllocatedBytesForCurrentThread).GetAwaiter().GetResult());

    private static void Run(VhostUserClient client, ClientOperation[] kinds, int requests)
    {
        var done = new ClientCompletion[32];
        int submitted = 0;
        int finished = 0;
        while (finished < requests)
        {
            foreach (ClientQueue queue in client.Queues)
            {
                for (int slot = 0; slot < queue.Depth && submitted < requests; slot++)
                {
                    if (!queue.IsBusy(slot))
                    {
                        ClientOperation kind = kinds[submitted % kinds.Length];
                        queue.Submit(slot, kind, submitted % 256 * 4096L, kind == ClientOperation.GetId ? 20 : 4096);
                        submitted++;
                    }
                }

                queue.Publish();
                int count = queue.Poll(done);
                for (int i = 0; i < count; i++)
                {
                    Assert.Equal(0, done[i].Status);
                }

                finished += count;
            }
        }
    }

    [Fact]
    public void A_session_can_have_256_queues_on_several_reactors()
    {
        using var fixture = new ExportFixture(reactors: 3, queues: 256);
        using VhostUserClient client = fixture.Attach(o => o with { Queues = 256, Depth = 2 });
        for (int i = 0; i < 256; i++)
        {
            client.Queues[i].Buffer(0).Fill((byte)i);
            client.Queues[i].Submit(0, ClientOperation.Write, i * 4096L, 4096);
            client.Queues[i].Publish();
        }

        for (int i = 0; i < 256; i++)
        {
            Assert.Equal(0, client.Queues[i].Take(0));
            Assert.Equal((byte)i, fixture.Gated.Content[(i * 4096) + 100]);
        }

        IReadOnlyList<string> plan = fixture.Export.GetStatistics().QueueReactors;
        Assert.Equal(256, plan.Count);
        Assert.All(["test/0", "test/1", "test/2"], name => Assert.InRange(plan.Count(p => p.EndsWith(name, StringComparison.Ordinal)), 85, 86));
    }

    [Fact]
    public void Statistics_count_what_was_done_and_survive_the_session()
    {
        using var fixture = new ExportFixture();
        using (VhostUserClient client = fixture.Attach())
        {
            ClientQueue queue = client.Queues[0];
            queue.Do(ClientOperation.Write, 0, 4096);
            queue.Do(ClientOperation.Read, 0, 512);
            queue.Do(ClientOperation.Flush, 0, 0);
            queue.Do(ClientOperation.Read, client.CapacityBytes, 512);
            Assert.Equal(1, fixture.Export.GetStatistics().Sessions);
            Frontends.SessionStatistics session = Assert.Single(fixture.Export.GetStatistics().SessionList);
            Assert.EndsWith("#1", session.Name, StringComparison.Ordinal);
            Assert.Equal($"user {Libc.geteuid()}, process {Environment.ProcessId}", session.Peer);
            Assert.Equal((1, 1, 4096), (session.Queues, session.Writes, session.WriteBytes));
            Assert.Equal((1, 512, 1), (session.Reads, session.ReadBytes, session.Errors));
        }

        ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 0, "the session ends");
        Frontends.ExportStatistics statistics = fixture.Export.GetStatistics();
        Assert.Equal((1, 4096, 1, 1), (statistics.Writes, statistics.WriteBytes, statistics.Flushes, statistics.Errors));
        Assert.Equal(512, statistics.ReadBytes);
        Assert.Empty(statistics.QueueReactors);
        Assert.Empty(statistics.SessionList);
        Assert.Equal([1, 1, 1, 0], statistics.Latencies.Kinds.Select(k => k.Counts.Count));
        Assert.True(statistics.Latencies.Writes.SumNs > 0);
    }
}
