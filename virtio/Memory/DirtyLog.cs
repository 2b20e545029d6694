// The dirty log of live migration: one bit for each 4-KiB page of guest-physical memory, shared with the front-end.
//
// The front-end takes the bits away with atomic exchanges while the device sets them, so they are set with an atomic OR. The page
// was written before its bit is set, and the OR is a full fence: whoever takes the bit sees the data.

using Polyblk.Core.Block;

namespace Polyblk.Virtio.Memory;

/// <summary>The log that the front-end gave (vhost-user, SET_LOG_BASE; VHOST_F_LOG_ALL).</summary>
public sealed unsafe class DirtyLog : IDisposable
{
    /// <summary>Bytes of guest memory for each bit (VHOST_LOG_PAGE).</summary>
    public const ulong PageBytes = 4096;

    private readonly MappedRegion _bitmap;
    private int _disposed;

    /// <summary>Uses a mapped bitmap; takes a reference of it.</summary>
    public DirtyLog(MappedRegion bitmap)
    {
        ArgumentNullException.ThrowIfNull(bitmap);
        bitmap.AddReference();
        _bitmap = bitmap;
    }

    /// <summary>Guest-physical addresses below this number of bytes have a bit.</summary>
    public ulong CoveredBytes => _bitmap.SizeBytes * 8 * PageBytes;

    /// <summary>Marks the pages of a guest range that was written. Pages without a bit are left out.</summary>
    public void Mark(ulong guestAddress, ulong length)
    {
        if (length == 0)
        {
            return;
        }

        ulong last = (guestAddress + length - 1) / PageBytes;
        ulong bits = _bitmap.SizeBytes * 8;
        for (ulong page = guestAddress / PageBytes; page <= last && page < bits; page++)
        {
            Set(page);
        }
    }

    /// <summary>Marks what a list of segments points to.</summary>
    public void Mark(GuestMemory memory, IoVec* vectors, int count)
    {
        for (int i = 0; i < count; i++)
        {
            if (memory.TryGetGuestAddress(vectors[i].Base, out ulong guestAddress))
            {
                Mark(guestAddress, vectors[i].Length);
            }
        }
    }

    /// <summary>Lets the bitmap go. No queue may use the log any more.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _bitmap.Release();
        }
    }

    private void Set(ulong page)
    {
        // Bits are counted in little-endian bytes, so an atomic OR of one byte is the unit; the runtime has it for bytes.
        byte bit = (byte)(1 << (int)(page & 7));
        byte* cell = _bitmap.Address + (page >> 3);
        // Even when the bit is set already: the front-end may be taking it at this moment, before the page's new content is
        // visible.
        byte seen = Volatile.Read(ref *cell);
        while (true)
        {
            byte found = Interlocked.CompareExchange(ref *cell, (byte)(seen | bit), seen);
            if (found == seen)
            {
                return;
            }

            seen = found;
        }
    }
}
