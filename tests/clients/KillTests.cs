using System.Diagnostics;
using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.Clients.Tests;

/// <summary>The target is killed with SIGKILL under load and started again: consumers wait, and lose nothing.</summary>
public sealed class KillTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Killed_under_load_it_finishes_every_request_of_a_driver(bool packed)
    {
        const int seed = 99;
        const int depth = 32;
        const int blockBytes = 4096;
        var random = new Random(seed);
        using var target = new TargetProcess(16 << 20, reactors: 2);
        using var client = new VhostUserClient(new VhostUserClientOptions
        {
            SocketPath = target.Socket, Queues = 2, Depth = depth, Packed = packed, Inflight = true,
        });
        var generations = new ulong[2 * depth];
        for (int round = 0; round < 8; round++)
        {
            // Each slot writes its own block again and again; the last generation must be on the disk when all is done.
            var run = Stopwatch.StartNew();
            int runMs = random.Next(20, 150);
            while (run.ElapsedMilliseconds < runMs)
            {
                Step(client, generations, submit: true);
            }

            target.Kill();
            client.Disconnect();
            for (int i = 0; i < 4; i++)
            {
                Step(client, generations, submit: true);
            }

            target.StartAgain();
            client.Reconnect();
            var wait = Stopwatch.StartNew();
            while (client.Queues.Any(q => q.InFlight != 0))
            {
                Step(client, generations, submit: false);
                Assert.True(wait.ElapsedMilliseconds < 30_000, $"seed {seed}, round {round}: requests were lost");
            }

            Verify(client, generations, blockBytes, round);
        }
    }

    private static unsafe void Step(VhostUserClient client, ulong[] generations, bool submit)
    {
        Span<ClientCompletion> done = stackalloc ClientCompletion[16];
        for (int q = 0; q < client.Queues.Count; q++)
        {
            ClientQueue queue = client.Queues[q];
            int count = queue.Poll(done);
            for (int i = 0; i < count; i++)
            {
                Assert.Equal(0, done[i].Status);
            }

            for (int slot = 0; submit && slot < queue.Depth; slot++)
            {
                if (!queue.IsBusy(slot))
                {
                    int block = (q * queue.Depth) + slot;
                    *(ulong*)queue.BufferOf(slot) = ++generations[block];
                    queue.Submit(slot, ClientOperation.Write, block * 4096L, 4096);
                }
            }

            queue.Publish();
        }
    }

    private static unsafe void Verify(VhostUserClient client, ulong[] generations, int blockBytes, int round)
    {
        ClientQueue queue = client.Queues[0];
        Span<ClientCompletion> done = stackalloc ClientCompletion[1];
        for (int block = 0; block < generations.Length; block++)
        {
            queue.Submit(0, ClientOperation.Read, (long)block * blockBytes, blockBytes);
            queue.Publish();
            while (queue.Poll(done) == 0)
            {
                Assert.True(queue.Wait(30_000), "no answer");
            }

            Assert.Equal(0, done[0].Status);
            Assert.True(
                generations[block] == *(ulong*)queue.BufferOf(0),
                $"round {round}: block {block} holds write {*(ulong*)queue.BufferOf(0)}, {generations[block]} was the last");
        }
    }
}
