using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.VhostUser.Tests;

/// <summary>
/// Connections that break and targets that restart with requests in flight: nothing is lost, failed or done twice.
/// </summary>
public sealed class ReconnectTests
{
    [Theory]
    [InlineData(false, false, 0)]
    [InlineData(false, true, 0)]
    [InlineData(true, false, 0)]
    [InlineData(true, true, 0)]
    [InlineData(false, false, 4)]
    [InlineData(true, true, 4)]
    public void A_connection_that_breaks_at_any_moment_loses_nothing(bool packed, bool indirect, int inflightEntries)
    {
        const int seed = 4711;
        const int depth = 16;
        var random = new Random(seed);
        using var fixture = new ExportFixture(reactors: 2);
        using VhostUserClient client = fixture.Attach(o => o with
        {
            Queues = 2, Depth = depth, Packed = packed, Indirect = indirect, Inflight = true, InflightEntries = inflightEntries,
        });
        int[] expectedWrites = new int[2 * depth];
        for (int round = 0; round < 25; round++)
        {
            // Some requests are done and not yet taken, some are held by the device, some were never seen by it.
            foreach (ClientQueue queue in client.Queues)
            {
                int before = random.Next(depth / 2);
                Submit(client, queue, 0, before, expectedWrites);
                if (random.Next(2) == 0)
                {
                    fixture.Gated.Hold();
                }

                Submit(client, queue, before, random.Next(depth - before), expectedWrites);
            }

            client.Disconnect();
            foreach (ClientQueue queue in client.Queues)
            {
                int free = Enumerable.Range(0, depth).First(slot => !queue.IsBusy(slot));
                Submit(client, queue, free, 1, expectedWrites);
            }

            fixture.Gated.Release();
            if (random.Next(2) == 0)
            {
                ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 0, "the session ends");
            }

            if (random.Next(4) == 0)
            {
                fixture.Restart();
            }

            ExportFixture.Until(() => fixture.Export.GetStatistics().Sessions == 0, "the session ends");
            try
            {
                client.Reconnect();
            }
            catch (IOException e)
            {
                Assert.Fail($"seed {seed}, round {round}: {e.Message}\n{string.Join('\n', fixture.Log.Lines.TakeLast(5))}");
            }

            foreach (ClientQueue queue in client.Queues)
            {
                Assert.All(queue.TakeAll(), done => Assert.True(done.Value == 0, $"seed {seed}, round {round}, slot {done.Key}: status {done.Value}"));
            }

            for (int i = 0; i < expectedWrites.Length; i++)
            {
                int writes = fixture.Gated.WritesAt(i * 4096L);
                Assert.True(expectedWrites[i] == writes, $"seed {seed}, round {round}: block {i} written {writes} times, {expectedWrites[i]} expected");
            }
        }
    }

    private static void Submit(VhostUserClient client, ClientQueue queue, int first, int count, int[] expectedWrites)
    {
        int index = client.Queues[0] == queue ? 0 : 1;
        for (int slot = first; slot < first + count; slot++)
        {
            int block = (index * queue.Depth) + slot;
            expectedWrites[block]++;
            queue.Submit(slot, ClientOperation.Write, block * 4096L, 4096);
        }

        queue.Publish();
    }
}
