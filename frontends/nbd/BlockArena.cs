// Data memory of the connections of one export on one reactor: equal blocks in one mapping, handed out last-in first-out so that
// a small load stays in the cache. What a request takes is a chain of blocks, linked by number in a table beside the memory, so
// that a chain of any length costs a connection nothing; BlockCursor walks it as segments. The mapping reserves addresses only:
// memory is used when a block is.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Nbd;

/// <summary>A bounded supply of equal blocks of memory. One thread.</summary>
internal sealed unsafe class BlockArena : IDisposable
{
    /// <summary>Bytes of a block; page-aligned, so drives need no bounce copy.</summary>
    public const int BlockBytes = 128 << 10;

    /// <summary>End of a chain, and the chain without blocks.</summary>
    public const int None = -1;

    private readonly int[] _next;
    private byte* _base;
    private int _firstFree;

    /// <summary>Reserves <paramref name="blocks"/> blocks.</summary>
    /// <exception cref="IOException">There is no address space for them.</exception>
    public BlockArena(int blocks)
    {
        int flags = Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE;
        void* area = Libc.mmap(null, BytesOf(blocks), Libc.PROT_READ | Libc.PROT_WRITE, flags, -1, 0);
        if (area == Libc.MAP_FAILED)
        {
            throw new IOException($"No memory for the {BytesOf(blocks) >> 20} MiB of buffers of NBD connections on a reactor.");
        }

        // What clients store is in no core dump.
        _ = Libc.madvise(area, BytesOf(blocks), Libc.MADV_DONTDUMP);
        _base = (byte*)area;
        _next = new int[blocks];
        for (int i = 0; i < blocks; i++)
        {
            _next[i] = i + 1 < blocks ? i + 1 : None;
        }

        FreeBlocks = blocks;
    }

    /// <summary>Blocks that nobody holds.</summary>
    public int FreeBlocks { get; private set; }

    /// <summary>Blocks that <paramref name="bytes"/> bytes need.</summary>
    public static int BlocksFor(long bytes) => (int)((bytes + BlockBytes - 1) / BlockBytes);

    /// <summary>Takes a chain of blocks, of which there must be as many.</summary>
    /// <returns>Its first block, or <see cref="None"/> for a chain of none.</returns>
    public int Take(int blocks)
    {
        if (blocks == 0)
        {
            return None;
        }

        int first = _firstFree;
        int last = first;
        for (int i = 1; i < blocks; i++)
        {
            last = _next[last];
        }

        _firstFree = _next[last];
        _next[last] = None;
        FreeBlocks -= blocks;
        return first;
    }

    /// <summary>Gives a chain of <paramref name="blocks"/> blocks back.</summary>
    public void Return(int first, int blocks)
    {
        if (blocks == 0)
        {
            return;
        }

        int last = first;
        while (_next[last] != None)
        {
            last = _next[last];
        }

        _next[last] = _firstFree;
        _firstFree = first;
        FreeBlocks += blocks;
    }

    /// <summary>The block behind this one in its chain, or <see cref="None"/>.</summary>
    public int Next(int block) => _next[block];

    /// <summary>The first byte of a block.</summary>
    public byte* AddressOf(int block) => _base + ((long)block * BlockBytes);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_base is not null)
        {
            _ = Libc.munmap(_base, BytesOf(_next.Length));
            _base = null;
        }
    }

    private static nuint BytesOf(int blocks) => (nuint)blocks * BlockBytes;
}

/// <summary>A position in a chain of blocks that hands out segments in order. A value: copy it to look ahead.</summary>
internal unsafe struct BlockCursor(BlockArena arena, int first, long lengthBytes)
{
    private int _block = first;
    private int _skip;

    /// <summary>Bytes behind the position.</summary>
    public long LeftBytes { get; private set; } = lengthBytes;

    /// <summary>Writes segments that cover the next bytes into <paramref name="destination"/> and moves past them.</summary>
    /// <returns>Bytes covered: less than wanted when the data ended or the segments did not fit.</returns>
    public long Take(long bytes, IoVec* destination, int capacity, out int count)
    {
        long taken = 0;
        for (count = 0; count < capacity && taken < bytes && LeftBytes != 0; count++)
        {
            long run = Run(bytes - taken);
            destination[count] = new IoVec(arena.AddressOf(_block) + _skip, (nuint)run);
            Move(run);
            taken += run;
        }

        return taken;
    }

    /// <summary>Moves past <paramref name="bytes"/> bytes, at most to the end.</summary>
    public void Skip(long bytes)
    {
        while (bytes != 0 && LeftBytes != 0)
        {
            long run = Run(bytes);
            Move(run);
            bytes -= run;
        }
    }

    private readonly long Run(long bytes) => Math.Min(Math.Min(BlockArena.BlockBytes - _skip, LeftBytes), bytes);

    private void Move(long run)
    {
        _skip += (int)run;
        LeftBytes -= run;
        if (_skip == BlockArena.BlockBytes)
        {
            _block = arena.Next(_block);
            _skip = 0;
        }
    }
}
