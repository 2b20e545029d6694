// A load on one or several queues of a libblkio device: the driver half is libblkio's, the loop is ours. It polls and works in
// batches, or takes one answer at a time and sends one request for it, or sleeps until the device notifies it.

using System.Diagnostics;
using Polyblk.Compare.Clients.Blkio;
using Polyblk.Compare.Measurement;

namespace Polyblk.Blkio;

/// <summary>How a driver waits for its answers.</summary>
public enum BlkioManner
{
    /// <summary>It polls, takes all that is there, and sends as many new requests together.</summary>
    Batches,

    /// <summary>It polls, takes one answer, and sends one new request at once.</summary>
    Singly,

    /// <summary>It takes all that is there, and blocks on its completion descriptor when nothing is.</summary>
    Sleeping,
}

/// <summary>A pattern of load.</summary>
/// <param name="Write">Writes instead of reads.</param>
/// <param name="Sequential">Each queue runs through its share in order; otherwise at random.</param>
/// <param name="BlockBytes">Bytes a request.</param>
/// <param name="QueueDepth">Requests in flight on each queue.</param>
/// <param name="Queues">Queues, each with a thread of its own.</param>
/// <param name="SpanBytes">Bytes of the device that are touched, from its beginning.</param>
/// <param name="Seconds">Measured time.</param>
/// <param name="WarmupSeconds">Time before it.</param>
/// <param name="Manner">How the driver waits.</param>
public sealed record BlkioPattern(
    bool Write,
    bool Sequential,
    int BlockBytes,
    int QueueDepth,
    int Queues,
    long SpanBytes,
    double Seconds,
    double WarmupSeconds = 0.2,
    BlkioManner Manner = BlkioManner.Batches);

/// <summary>What a load measured, over all queues.</summary>
/// <param name="Requests">Requests completed in the measured time.</param>
/// <param name="Iops">Requests a second.</param>
/// <param name="MeanNs">Mean latency from submission to completion, in nanoseconds.</param>
/// <param name="P50Ns">Median latency.</param>
/// <param name="P99Ns">99th percentile.</param>
/// <param name="P999Ns">99.9th percentile.</param>
/// <param name="Errors">Requests that failed.</param>
public sealed record BlkioResult(long Requests, double Iops, double MeanNs, double P50Ns, double P99Ns, double P999Ns, long Errors);

/// <summary>Runs loads.</summary>
public static class BlkioLoad
{
    /// <summary>Connects, runs the load on a thread for each queue, disconnects.</summary>
    public static BlkioResult Run(string driver, string path, BlkioPattern pattern)
    {
        ArgumentNullException.ThrowIfNull(pattern);
        long perQueue = (long)pattern.BlockBytes * pattern.QueueDepth;
        using var disk = new BlkioDisk(driver, path, pattern.Queues, perQueue * pattern.Queues);
        var workers = new Worker[pattern.Queues];
        for (int i = 0; i < workers.Length; i++)
        {
            workers[i] = new Worker(disk, i, pattern);
        }

        Thread[] threads = [.. workers.Skip(1).Select(w => new Thread(w.Run))];
        foreach (Thread thread in threads)
        {
            thread.Start();
        }

        workers[0].Run();
        foreach (Thread thread in threads)
        {
            thread.Join();
        }

        var sum = new LatencyHistogram();
        foreach (Worker worker in workers)
        {
            sum.Merge(worker.Latency);
        }

        double seconds = workers.Max(w => w.ElapsedSeconds);
        return new BlkioResult(
            sum.Count, seconds > 0 ? sum.Count / seconds : 0, sum.MeanNs, sum.Percentile(0.5), sum.Percentile(0.99), sum.Percentile(0.999), workers.Sum(w => w.Errors));
    }

    private sealed unsafe class Worker(BlkioDisk disk, int index, BlkioPattern pattern)
    {
        // The stopwatch is clock_gettime(CLOCK_MONOTONIC) on Linux and ticks in nanoseconds: the factor is 1.
        private static readonly long NsPerTick = 1_000_000_000 / Stopwatch.Frequency;

        private readonly long[] _started = new long[pattern.QueueDepth];
        private ulong _random = 0x9E3779B97F4A7C15UL * (ulong)(index + 1);
        private long _next;

        public LatencyHistogram Latency { get; } = new();

        public long Errors { get; private set; }

        public double ElapsedSeconds { get; private set; }

        public void Run()
        {
            nint queue = disk.Queue(index);
            int most = pattern.Manner == BlkioManner.Singly ? 1 : 64;
            int doorbell = pattern.Manner == BlkioManner.Sleeping ? disk.EnableDoorbell(index) : -1;
            byte* buffer = disk.Buffer + ((long)index * pattern.QueueDepth * pattern.BlockBytes);
            new Span<byte>(buffer, pattern.QueueDepth * pattern.BlockBytes).Fill(0xA5);
            long blocks = Math.Min(pattern.SpanBytes, disk.CapacityBytes) / pattern.BlockBytes;
            long share = blocks / pattern.Queues;
            long now = Stopwatch.GetTimestamp();
            for (int slot = 0; slot < pattern.QueueDepth; slot++)
            {
                Submit(queue, buffer, slot, share, now);
            }

            long warm = now + (long)(pattern.WarmupSeconds * Stopwatch.Frequency);
            long end = warm + (long)(pattern.Seconds * Stopwatch.Frequency);
            long begin = 0;
            int inFlight = pattern.QueueDepth;
            blkio_completion* done = stackalloc blkio_completion[64];
            while (inFlight != 0)
            {
                int count = LibBlkio.blkioq_do_io(queue, done, 0, most, null);
                if (count < 0)
                {
                    throw new IOException($"libblkio: do_io: {LibBlkio.ErrorMessage} ({count})");
                }

                if (count == 0)
                {
                    if (doorbell >= 0)
                    {
                        BlkioDoorbell.Wait(doorbell);
                    }

                    continue;
                }

                now = Stopwatch.GetTimestamp();
                if (begin == 0 && now >= warm)
                {
                    begin = now;
                }

                for (int i = 0; i < count; i++)
                {
                    int slot = (int)done[i].user_data;
                    Errors += done[i].ret == 0 ? 0 : 1;
                    if (now >= end)
                    {
                        inFlight--;
                        continue;
                    }

                    if (begin != 0 && now != begin)
                    {
                        Latency.Add((now - _started[slot]) * NsPerTick);
                        ElapsedSeconds = (double)(now - begin) / Stopwatch.Frequency;
                    }

                    Submit(queue, buffer, slot, share, now);
                }
            }
        }

        private void Submit(nint queue, byte* buffer, int slot, long share, long now)
        {
            long block = pattern.Sequential ? _next++ % share : (long)(NextRandom() % (ulong)share);
            ulong offset = (ulong)(((index * share) + block) * pattern.BlockBytes);
            byte* data = buffer + ((long)slot * pattern.BlockBytes);
            _started[slot] = now;
            if (pattern.Write)
            {
                LibBlkio.blkioq_write(queue, offset, data, (nuint)pattern.BlockBytes, slot, 0);
            }
            else
            {
                LibBlkio.blkioq_read(queue, offset, data, (nuint)pattern.BlockBytes, slot, 0);
            }
        }

        /// <summary>xorshift64: the cheapest generator that is good enough to choose offsets.</summary>
        private ulong NextRandom()
        {
            _random ^= _random << 13;
            _random ^= _random >> 7;
            _random ^= _random << 17;
            return _random;
        }
    }
}
