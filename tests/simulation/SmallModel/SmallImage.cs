using Polyblk.Core.Block;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>What a drive holds. Copies share pages, which are never changed: a write makes new ones.</summary>
internal sealed class SmallImage
{
    private const int PageBytes = 4096;

    private static readonly byte[] s_zeroes = new byte[PageBytes];

    private readonly byte[]?[] _pages;

    /// <summary>All zeroes.</summary>
    public SmallImage(long sizeBytes)
        : this(new byte[sizeBytes / PageBytes][])
    {
    }

    private SmallImage(byte[]?[] pages) => _pages = pages;

    /// <summary>Its size in bytes.</summary>
    public long SizeBytes => (long)_pages.Length * PageBytes;

    /// <summary>The same content, to be changed by itself.</summary>
    public SmallImage Copy() => new([.. _pages]);

    /// <summary>Reads a part.</summary>
    public byte[] Read(long offset, long length)
    {
        var data = new byte[length];
        for (long at = 0; at < length;)
        {
            (int page, int inPage, int part) = Piece(offset + at, length - at);
            _pages[page]?.AsSpan(inPage, part).CopyTo(data.AsSpan((int)at));
            at += part;
        }

        return data;
    }

    /// <summary>Writes a part.</summary>
    public void Write(long offset, ReadOnlySpan<byte> data)
    {
        while (data.Length != 0)
        {
            (int page, int inPage, int part) = Piece(offset, data.Length);
            byte[] made = _pages[page] is { } old ? [.. old] : new byte[PageBytes];
            data[..part].CopyTo(made.AsSpan(inPage));
            _pages[page] = made;
            data = data[part..];
            offset += part;
        }
    }

    /// <summary>What a request reads, into it.</summary>
    public unsafe void ReadInto(BlockRequest request)
    {
        long offset = request.OffsetBytes;
        foreach (ref readonly IoVec vector in new ReadOnlySpan<IoVec>(request.Vectors, request.VectorCount))
        {
            for (var to = new Span<byte>(vector.Base, (int)vector.Length); to.Length != 0;)
            {
                (int page, int inPage, int part) = Piece(offset, to.Length);
                (_pages[page] ?? s_zeroes).AsSpan(inPage, part).CopyTo(to);
                to = to[part..];
                offset += part;
            }
        }
    }

    /// <summary>What a request writes; zeroes for one without data.</summary>
    public static unsafe byte[] DataOf(BlockRequest request)
    {
        var made = new byte[request.LengthBytes];
        if (request.HasData)
        {
            fixed (byte* data = made)
            {
                _ = RequestCopy.Copy(request, 0, data, request.LengthBytes, toRequest: false);
            }
        }

        return made;
    }

    private static (int Page, int InPage, int Part) Piece(long offset, long length)
    {
        int inPage = (int)(offset % PageBytes);
        return ((int)(offset / PageBytes), inPage, (int)Math.Min(length, PageBytes - inPage));
    }
}
