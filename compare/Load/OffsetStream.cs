using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Load;

/// <summary>The offsets of a workload: aligned to the block, random (splitmix64, seeded) or ascending and starting over at the end.</summary>
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

/// <summary>The offsets of all jobs of a workload in one loop: a request's slot tells its job. Sequential jobs begin apart from each other.</summary>
internal sealed class JobOffsets
{
    private readonly OffsetStream[] _jobs;

    public JobOffsets(ulong seed, long sizeBytes, Workload workload)
    {
        ArgumentNullException.ThrowIfNull(workload);
        // Random jobs draw from one stream: apart, they would have the same distribution.
        _jobs = new OffsetStream[workload.IsRandom ? 1 : workload.Jobs];
        for (int job = 0; job < _jobs.Length; job++)
        {
            _jobs[job] = OfJob(seed, sizeBytes, workload, job);
        }
    }

    /// <summary>The offsets of one job.</summary>
    public static OffsetStream OfJob(ulong seed, long sizeBytes, Workload workload, int job)
    {
        var stream = new OffsetStream(seed + (ulong)job, sizeBytes, workload.BlockBytes, workload.IsRandom);
        stream.StartAt(sizeBytes / 100 * (job * workload.OffsetIncrementPercent));
        return stream;
    }

    public long Next(int slot) => _jobs[slot % _jobs.Length].Next();
}
