// What a load across a restart wrote, and when it was answered.
//
// Each block is written again and again, at most one write of it being in flight, each time with the pattern of a new generation.
// Afterwards a block must hold the last generation that was acknowledged, or, where the last write ended with an error, that one
// or the failed one.

using System.Diagnostics;
using Polyblk.Compare.Running;

namespace Polyblk.Compare.Restart;

/// <summary>The blocks of a restart test. Any thread.</summary>
internal sealed class RestartJournal
{
    /// <summary>Blocks, from the start of the span.</summary>
    public const int Blocks = 256;

    /// <summary>Bytes of a block.</summary>
    public const int BlockBytes = 4096;

    // Generations of a block differ by more than the offsets within it, so that no pattern is a shifted other one.
    private const ulong GenerationStep = 0x1_0000_0001;

    private readonly Lock _lock = new();
    private readonly ulong[] _attempted = new ulong[Blocks];
    private readonly ulong[] _acknowledged = new ulong[Blocks];
    private readonly bool[] _busy = new bool[Blocks];
    private int _next;
    private long _last;
    private long _longest;
    private bool _isTiming;

    /// <summary>Requests that were answered.</summary>
    public long Completions { get; private set; }

    /// <summary>Requests that ended with an error.</summary>
    public long Errors { get; private set; }

    /// <summary>Longest time without an answer since <see cref="BeginTiming"/>.</summary>
    public TimeSpan LongestGap
    {
        get
        {
            lock (_lock)
            {
                return Stopwatch.GetElapsedTime(0, Math.Max(_longest, Stopwatch.GetTimestamp() - _last));
            }
        }
    }

    /// <summary>Offset of a block.</summary>
    public static long OffsetOf(int block) => (long)block * BlockBytes;

    /// <summary>Gaps count from now on; the first from the answer before.</summary>
    public void BeginTiming()
    {
        lock (_lock)
        {
            (_isTiming, _longest) = (true, 0);
        }
    }

    /// <summary>Gaps do not count any more.</summary>
    /// <returns>The longest one.</returns>
    public TimeSpan EndTiming()
    {
        TimeSpan longest = LongestGap;
        lock (_lock)
        {
            _isTiming = false;
        }

        return longest;
    }

    /// <summary>Takes a block that is not in flight and writes its next generation into the buffer.</summary>
    public int Take(Span<byte> buffer)
    {
        lock (_lock)
        {
            while (_busy[_next])
            {
                _next = (_next + 1) % Blocks;
            }

            int block = _next;
            _next = (_next + 1) % Blocks;
            _busy[block] = true;
            _attempted[block]++;
            DataVerifier.Fill(buffer, OffsetOf(block), _attempted[block] * GenerationStep);
            return block;
        }
    }

    /// <summary>A write was answered.</summary>
    public void Complete(int block, bool isOk)
    {
        lock (_lock)
        {
            long now = Stopwatch.GetTimestamp();
            _longest = _isTiming ? Math.Max(_longest, now - _last) : _longest;
            _last = now;
            _busy[block] = false;
            Completions++;
            Errors += isOk ? 0 : 1;
            _acknowledged[block] = isOk ? _attempted[block] : _acknowledged[block];
        }
    }

    /// <summary>
    /// Whether a block that was read back holds what it must. One that was never acknowledged may hold anything.
    /// </summary>
    public bool IsRight(int block, ReadOnlySpan<byte> data)
    {
        byte[] expected = new byte[BlockBytes];
        ulong acknowledged = _acknowledged[block];
        return acknowledged == 0
            || DataVerifier.FirstDifference(data, OffsetOf(block), acknowledged * GenerationStep, expected) < 0
            || (_attempted[block] != acknowledged && DataVerifier.FirstDifference(data, OffsetOf(block), _attempted[block] * GenerationStep, expected) < 0);
    }
}
