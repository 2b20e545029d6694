using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load;

/// <summary>
/// The offsets of a workload: aligned to the block, random (splitmix64, seeded) or ascending and starting over at the end.
/// </summary>
internal struct OffsetStream(ulong seed, long sizeBytes, int blockBytes, bool random)
{
    private readonly ulong _blocks = (ulong)(sizeBytes / blockBytes);
    private ulong _state = seed;
    private ulong _next;

    /// <summary>Lets a sequential stream begin at the block that holds an offset.</summary>
    public void StartAt(long offsetBytes) => _next = (ulong)(offsetBytes / blockBytes);

    public long Next()
    {
        if (!random)
        {
            return (long)(_next++ % _blocks) * blockBytes;
        }

        _state += 0x9E3779B97F4A7C15;
        ulong z = _state;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        z ^= z >> 31;

        // Multiply-shift instead of a remainder: even enough, and cheap.
        return (long)Math.BigMul(z, _blocks, out _) * blockBytes;
    }
}

/// <summary>
/// The offsets of all jobs of a sequential workload, for any number of threads: a request's slot, counted over all queues, tells
/// its job. Jobs begin apart from each other; the threads that share a job take its blocks in turn, so that none is asked for
/// twice before the end is reached.
/// </summary>
internal sealed class JobOffsets
{
    private readonly long _blocks;
    private readonly int _blockBytes;

    /// <summary>Of each job, the number of its next block.</summary>
    private readonly long[] _next;

    public JobOffsets(long sizeBytes, Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        (_blocks, _blockBytes) = (sizeBytes / workload.BlockBytes, workload.BlockBytes);
        _next = [.. Enumerable.Range(0, workload.Jobs).Select(job => StartOf(sizeBytes, workload, job) / workload.BlockBytes)];
    }

    /// <summary>The offsets of one job.</summary>
    public static OffsetStream OfJob(ulong seed, long sizeBytes, Workload workload, int job)
    {
        var stream = new OffsetStream(seed + (ulong)job, sizeBytes, workload.BlockBytes, workload.IsRandom);
        stream.StartAt(StartOf(sizeBytes, workload, job));
        return stream;
    }

    /// <summary>The next offset of the job of a slot. Any thread.</summary>
    public long Next(int slot) => (Interlocked.Increment(ref _next[slot % _next.Length]) - 1) % _blocks * _blockBytes;

    private static long StartOf(long sizeBytes, Workload workload, int job) => sizeBytes / 100 * (job * workload.OffsetIncrementPercent);
}
