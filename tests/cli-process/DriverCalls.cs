// Whole operations over the built-in driver, for tests: blocks with a pattern that names the block and the seed.

using System.Diagnostics;
using System.Text;
using Polyblk.Compare.Clients.VhostUser;

namespace Polyblk.Cli.Process.Tests;

/// <summary>Writes, reads and compares through a client.</summary>
internal static class DriverCalls
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    public static void WriteAll(VhostUserClient client, int seed, int blocks)
    {
        ClientQueue queue = client.Queues[^1];
        for (int block = 0; block < blocks; block += queue.Depth)
        {
            SubmitWrites(client, seed, block, Math.Min(queue.Depth, blocks - block));
            AwaitAll(client);
        }

        Run(queue, ClientOperation.Flush, 0, 0);
    }

    /// <summary>Starts writes on the last queue, slot by slot, and awaits none.</summary>
    public static void SubmitWrites(VhostUserClient client, int seed, int firstBlock, int count)
    {
        ClientQueue queue = client.Queues[^1];
        for (int i = 0; i < count; i++)
        {
            Fill(queue.Buffer(i), seed, firstBlock + i);
            queue.Submit(i, ClientOperation.Write, (long)(firstBlock + i) * queue.BufferBytes, queue.BufferBytes);
        }

        queue.Publish();
    }

    /// <summary>Waits until nothing is in flight; every request must have succeeded.</summary>
    public static void AwaitAll(VhostUserClient client)
    {
        foreach (ClientQueue queue in client.Queues)
        {
            Await(queue, status => Assert.Equal(0, status));
        }
    }

    public static void CheckAll(VhostUserClient client, int seed, int blocks) => CheckRange(client, seed, 0, blocks);

    public static void CheckRange(VhostUserClient client, int seed, int firstBlock, int count)
    {
        ClientQueue queue = client.Queues[0];
        byte[] expected = new byte[queue.BufferBytes];
        for (int block = firstBlock; block < firstBlock + count; block++)
        {
            Assert.Equal(0, Run(queue, ClientOperation.Read, (long)block * queue.BufferBytes, queue.BufferBytes));
            Fill(expected, seed, block);
            Assert.True(queue.Buffer(0).SequenceEqual(expected), $"block {block} is not what was written with seed {seed}");
        }
    }

    public static void CheckZero(VhostUserClient client, int blocks)
    {
        ClientQueue queue = client.Queues[0];
        for (int block = 0; block < blocks; block++)
        {
            Assert.Equal(0, Run(queue, ClientOperation.Read, (long)block * queue.BufferBytes, queue.BufferBytes));
            Assert.Equal(-1, queue.Buffer(0).IndexOfAnyExcept((byte)0));
        }
    }

    /// <summary>Writes one block and returns the device's status.</summary>
    public static int WriteOne(VhostUserClient client, int seed)
    {
        ClientQueue queue = client.Queues[0];
        Fill(queue.Buffer(0), seed, 0);
        return Run(queue, ClientOperation.Write, 0, queue.BufferBytes);
    }

    /// <summary>The serial that the device tells.</summary>
    public static string GetId(VhostUserClient client)
    {
        ClientQueue queue = client.Queues[0];
        Assert.Equal(0, Run(queue, ClientOperation.GetId, 0, 20));
        return Encoding.ASCII.GetString(queue.Buffer(0)[..20]).TrimEnd('\0');
    }

    private static int Run(ClientQueue queue, ClientOperation operation, long offset, long length)
    {
        int result = -1;
        queue.Submit(0, operation, offset, length);
        queue.Publish();
        Await(queue, status => result = status);
        return result;
    }

    private static void Await(ClientQueue queue, Action<int> onStatus)
    {
        var completions = new ClientCompletion[16];
        long start = Stopwatch.GetTimestamp();
        while (queue.InFlight > 0)
        {
            int count = queue.Poll(completions);
            for (int i = 0; i < count; i++)
            {
                onStatus(completions[i].Status);
            }

            if (count == 0)
            {
                queue.Wait(100);
            }

            Assert.True(Stopwatch.GetElapsedTime(start) < s_patience, $"{queue.InFlight} requests were not answered");
        }
    }

    private static void Fill(Span<byte> buffer, int seed, int block) => new Random((seed * 1_000_003) + block).NextBytes(buffer);
}
