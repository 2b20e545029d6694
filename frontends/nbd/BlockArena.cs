// Data memory of one connection: equal blocks in one mapping, handed out last-in first-out so that a small load stays in the cache.
// A request of any size takes as many blocks as it needs and sees them as a segment list; nothing needs to be contiguous. The mapping
// reserves addresses only: memory is used when a block is used.

using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Frontends.Nbd;

/// <summary>A bounded supply of equal blocks of memory. One thread.</summary>
internal sealed unsafe class BlockArena : IDisposable
{
    /// <summary>Bytes of a block; page-aligned, so drives need no bounce copy.</summary>
    public const int BlockBytes = 128 << 10;

    private readonly int[] _free;
    private readonly nuint _bytes;
    private byte* _base;
    private int _count;

    /// <summary>Reserves <paramref name="blocks"/> blocks.</summary>
    /// <exception cref="IOException">There is no address space for them.</exception>
    public BlockArena(int blocks)
    {
        _bytes = (nuint)blocks * BlockBytes;
        void* area = Libc.mmap(null, _bytes, Libc.PROT_READ | Libc.PROT_WRITE, Libc.MAP_PRIVATE | Libc.MAP_ANONYMOUS | Libc.MAP_NORESERVE, -1, 0);
        if (area == Libc.MAP_FAILED)
        {
            throw new IOException($"No memory for the {_bytes >> 20} MiB of buffers of an NBD connection.");
        }

        _base = (byte*)area;
        _free = new int[blocks];
        for (int i = blocks - 1; i >= 0; i--)
        {
            _free[_count++] = i;
        }
    }

    /// <summary>Takes blocks for <paramref name="bytes"/> bytes and describes them; false, with nothing taken, when there are too few.</summary>
    /// <param name="bytes">Length wanted.</param>
    /// <param name="vectors">Gets a segment for each block; the last is cut to the length.</param>
    /// <param name="count">Number of segments.</param>
    public bool TryTake(long bytes, IoVec* vectors, out int count)
    {
        int blocks = (int)((bytes + BlockBytes - 1) / BlockBytes);
        count = 0;
        if (blocks > _count)
        {
            return false;
        }

        for (; count < blocks; count++)
        {
            long length = Math.Min(BlockBytes, bytes - ((long)count * BlockBytes));
            vectors[count] = new IoVec(_base + ((long)_free[--_count] * BlockBytes), (nuint)length);
        }

        return true;
    }

    /// <summary>Gives blocks back that <see cref="TryTake"/> described.</summary>
    public void Return(IoVec* vectors, int count)
    {
        for (int i = count - 1; i >= 0; i--)
        {
            _free[_count++] = (int)((vectors[i].Base - _base) / BlockBytes);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_base is not null)
        {
            _ = Libc.munmap(_base, _bytes);
            _base = null;
        }
    }
}
