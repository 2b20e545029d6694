// Which regions of a member may be written to. A word for each: the highest bit says that the header on the drive, durably, calls
// it dirty; the rest counts those who are writing there. Who finds it shut asks the keeper. The keeper alone opens and shuts, and
// shuts only where nobody writes: from then on until it opens it again, no block of the region changes.

namespace Polyblk.Raid.Checksums;

/// <summary>See the top of the file.</summary>
internal sealed class ChecksumRegions(int count)
{
    private const int Open = 1 << 30;

    private readonly int[] _words = new int[count];
    private readonly int[] _usedAt = new int[count];
    private int _now;

    /// <summary>Counts the keeper's looks: how long a region has been at rest.</summary>
    public int Now
    {
        get => Volatile.Read(ref _now);
        set => Volatile.Write(ref _now, value);
    }

    /// <summary>Begins to write in a region, where it is open. Any thread.</summary>
    public bool TryEnter(int region)
    {
        ref int word = ref _words[region];
        int seen = Volatile.Read(ref word);
        while ((seen & Open) != 0)
        {
            int found = Interlocked.CompareExchange(ref word, seen + 1, seen);
            if (found == seen)
            {
                return true;
            }

            seen = found;
        }

        return false;
    }

    /// <summary>Has written. Any thread.</summary>
    public void Exit(int region)
    {
        Volatile.Write(ref _usedAt[region], Now);
        Interlocked.Decrement(ref _words[region]);
    }

    /// <summary>Whether it may be written to.</summary>
    public bool IsOpen(int region) => (Volatile.Read(ref _words[region]) & Open) != 0;

    /// <summary>For how many looks nobody has written there.</summary>
    public int RestOf(int region) => Now - Volatile.Read(ref _usedAt[region]);

    /// <summary>Lets writers in. The keeper's.</summary>
    public void Let(int region)
    {
        Volatile.Write(ref _usedAt[region], Now);
        Interlocked.Or(ref _words[region], Open);
    }

    /// <summary>Lets no writer in any more, where none is in. The keeper's.</summary>
    public bool TryShut(int region) => Interlocked.CompareExchange(ref _words[region], 0, Open) == Open;
}
