namespace Polyblk.Compare.Load;

/// <summary>The offsets of a workload: aligned to the block, random (splitmix64, seeded) or ascending and starting over at the end.</summary>
internal struct OffsetStream(ulong seed, long sizeBytes, int blockBytes, bool random)
{
    private readonly ulong _blocks = (ulong)(sizeBytes / blockBytes);
    private ulong _state = seed;
    private ulong _next;

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
