// A segment of memory and the walk over lists of them.
//
// The layout is that of struct iovec (POSIX <sys/uio.h>), so a list goes to preadv2 or to an io_uring READV as it stands.
// Layers that split a request (RAID) never copy data: they copy entries, trimmed at both ends, into a child's own list.

using System.Runtime.InteropServices;

namespace Polyblk.Core.Block;

/// <summary>One segment: <c>struct iovec</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
public unsafe struct IoVec
{
    /// <summary>First byte of the segment.</summary>
    public byte* Base;

    /// <summary>Length in bytes.</summary>
    public nuint Length;

    /// <summary>Makes a segment of <paramref name="length"/> bytes.</summary>
    public IoVec(byte* address, nuint length)
    {
        Base = address;
        Length = length;
    }
}

/// <summary>
/// A position in a list of segments that hands out slices in order. A value type: keep it in a local, pass it by reference.
/// </summary>
public unsafe struct IoVecCursor
{
    private IoVec* _entry;
    private readonly IoVec* _end;
    private nuint _skip;

    /// <summary>Starts at the first byte of the list.</summary>
    public IoVecCursor(IoVec* vectors, int count)
    {
        _entry = vectors;
        _end = vectors + count;
        _skip = 0;
    }

    /// <summary>
    /// Writes entries that cover the next bytes into <paramref name="destination"/> and moves past them.
    /// </summary>
    /// <param name="bytes">How many bytes are wanted.</param>
    /// <param name="destination">Where the entries go.</param>
    /// <param name="capacity">How many entries fit there.</param>
    /// <param name="count">How many entries were written.</param>
    /// <returns>Bytes covered: less than wanted when the entries ran out or did not fit.</returns>
    public long Take(long bytes, IoVec* destination, int capacity, out int count)
    {
        nuint wanted = (nuint)bytes;
        nuint taken = 0;
        int n = 0;
        while (taken < wanted && n < capacity && _entry != _end)
        {
            nuint rest = _entry->Length - _skip;
            nuint part = rest < wanted - taken ? rest : wanted - taken;
            if (part != 0)
            {
                destination[n++] = new IoVec(_entry->Base + _skip, part);
            }

            taken += part;
            Advance(part);
        }

        count = n;
        return (long)taken;
    }

    /// <summary>Moves past <paramref name="bytes"/> bytes (at most to the end).</summary>
    public void Skip(long bytes)
    {
        nuint left = (nuint)bytes;
        while (left != 0 && _entry != _end)
        {
            nuint rest = _entry->Length - _skip;
            nuint part = rest < left ? rest : left;
            left -= part;
            Advance(part);
        }
    }

    /// <summary>
    /// The longest run of contiguous memory at the cursor, at most <paramref name="maximum"/> bytes; moves past it.
    /// Length 0 at the end of the list.
    /// </summary>
    public IoVec NextRun(long maximum)
    {
        while (_entry != _end)
        {
            nuint rest = _entry->Length - _skip;
            if (rest == 0)
            {
                Advance(0);
                continue;
            }

            nuint part = rest < (nuint)maximum ? rest : (nuint)maximum;
            var run = new IoVec(_entry->Base + _skip, part);
            Advance(part);
            return run;
        }

        return default;
    }

    private void Advance(nuint part)
    {
        _skip += part;
        if (_skip == _entry->Length)
        {
            _entry++;
            _skip = 0;
        }
    }
}
