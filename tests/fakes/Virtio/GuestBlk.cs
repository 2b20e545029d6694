// A guest's virtio-blk driver over a pretended virtqueue: builds requests of any shape and knows what their answers must be.

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Polyblk.Virtio;

namespace Polyblk.Fakes.Virtio;

/// <summary>How a request's bytes are divided over descriptors.</summary>
public sealed record ChainShape
{
    /// <summary>Three descriptors: header, data, status.</summary>
    public static ChainShape Ordinary { get; } = new();

    /// <summary>Lengths of the readable descriptors; the last takes the rest. Empty: header and data apart.</summary>
    public IReadOnlyList<int> Readable { get; init; } = [];

    /// <summary>Lengths of the writable descriptors; the last takes the rest. Empty: data and status apart.</summary>
    public IReadOnlyList<int> Writable { get; init; } = [];

    /// <summary>How many of the last descriptors lie in an indirect table; 0 for none.</summary>
    public int Indirect { get; init; }
}

/// <summary>A request in flight.</summary>
public sealed class GuestRequest
{
    /// <summary>Its type.</summary>
    public uint Type { get; init; }

    /// <summary>First sector.</summary>
    public ulong Sector { get; init; }

    /// <summary>The readable bytes after the header.</summary>
    public byte[] Out { get; init; } = [];

    /// <summary>Where the writable bytes lie: data, then status.</summary>
    public required IReadOnlyList<GuestBuffer> WritableBuffers { get; init; }

    /// <summary>Writable bytes, with the status.</summary>
    public int WritableBytes { get; init; }

    /// <summary>The ring's name for it.</summary>
    public int Token { get; set; }

    /// <summary>For the test.</summary>
    public object? Tag { get; set; }
}

/// <summary>A finished request.</summary>
/// <param name="Request">What was asked.</param>
/// <param name="Status">The status byte.</param>
/// <param name="In">The writable bytes without the status.</param>
/// <param name="UsedLength">Length of the used element.</param>
public sealed record GuestAnswer(GuestRequest Request, byte Status, byte[] In, uint UsedLength);

/// <summary>A virtio-blk driver. Each request gets an arena of its own, so that wild writes show.</summary>
public sealed class GuestBlk
{
    private readonly Dictionary<int, GuestRequest> _inFlight = [];
    private readonly Stack<ulong> _arenas = new();
    private readonly Dictionary<GuestRequest, ulong> _arenaOf = [];
    private readonly ulong _arenaBytes;

    /// <summary>Makes a driver whose buffers lie from <paramref name="arenaAddress"/> on.</summary>
    public GuestBlk(GuestDriver ring, ulong arenaAddress, ulong arenaBytes, int arenas)
    {
        Ring = ring;
        _arenaBytes = arenaBytes;
        for (int i = arenas - 1; i >= 0; i--)
        {
            _arenas.Push(arenaAddress + ((ulong)i * arenaBytes));
        }
    }

    /// <summary>The ring.</summary>
    public GuestDriver Ring { get; }

    /// <summary>Requests in flight.</summary>
    public int InFlight => _inFlight.Count;

    /// <summary>Which they are.</summary>
    public IEnumerable<GuestRequest> Requests => _inFlight.Values;

    /// <summary>Adds and shows a request; null when the ring or the arenas are full.</summary>
    public GuestRequest? Submit(uint type, ulong sector, ReadOnlySpan<byte> outData, int inBytes, ChainShape? shape = null)
    {
        GuestRequest? request = Add(type, sector, outData, inBytes, shape);
        if (request is not null)
        {
            KickWanted = Ring.Publish();
        }

        return request;
    }

    /// <summary>Whether the device wanted a kick for what was shown last.</summary>
    public bool KickWanted { get; private set; }

    /// <summary>Adds a request without showing it.</summary>
    public GuestRequest? Add(uint type, ulong sector, ReadOnlySpan<byte> outData, int inBytes, ChainShape? shape = null)
    {
        shape ??= ChainShape.Ordinary;
        if (_arenas.Count == 0)
        {
            return null;
        }

        ulong arena = _arenas.Peek();
        var readable = new byte[16 + outData.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(readable, type);
        BinaryPrimitives.WriteUInt64LittleEndian(readable.AsSpan(8), sector);
        outData.CopyTo(readable.AsSpan(16));

        ulong next = arena;
        IReadOnlyList<int> readCuts = shape.Readable.Count != 0 || outData.IsEmpty ? shape.Readable : [16];
        IReadOnlyList<int> writeCuts = shape.Writable.Count != 0 || inBytes == 0 ? shape.Writable : [inBytes];
        List<GuestBuffer> buffers = Cut(readable.Length, readCuts, false, ref next);
        int readableCount = buffers.Count;
        int at = 0;
        foreach (GuestBuffer buffer in buffers)
        {
            Ring.Space.Write(buffer.Address, readable.AsSpan(at, (int)buffer.Length));
            at += (int)buffer.Length;
        }

        List<GuestBuffer> writable = Cut(inBytes + 1, writeCuts, true, ref next);
        foreach (GuestBuffer buffer in writable)
        {
            Ring.Space.Fill(buffer.Address, (int)buffer.Length, 0xEE);
        }

        buffers.AddRange(writable);
        ulong table = shape.Indirect == 0 ? 0 : (next + 15) & ~15UL;
        if (table + ((ulong)buffers.Count * 16) > arena + _arenaBytes || next > arena + _arenaBytes)
        {
            throw new InvalidOperationException("The test's arenas are too small for this request.");
        }

        int token = Ring.Add(CollectionsMarshal.AsSpan(buffers), table, shape.Indirect == 0 ? int.MaxValue : shape.Indirect);
        if (token < 0)
        {
            return null;
        }

        var request = new GuestRequest
        {
            Type = type, Sector = sector, Out = outData.ToArray(), WritableBuffers = buffers[readableCount..], WritableBytes = inBytes + 1, Token = token,
        };
        _arenaOf[request] = _arenas.Pop();
        _inFlight.Add(token, request);
        return request;
    }

    /// <summary>Takes the next answer, or null.</summary>
    public GuestAnswer? TryGetAnswer()
    {
        if (!Ring.TryGetUsed(out int token, out uint length))
        {
            return null;
        }

        if (!_inFlight.Remove(token, out GuestRequest? request))
        {
            throw new InvalidOperationException($"The device answered {token} twice, or never got it.");
        }

        _arenas.Push(_arenaOf[request]);
        _arenaOf.Remove(request);
        // The last byte is the status.
        var bytes = new byte[request.WritableBytes - 1];
        int at = 0;
        Span<byte> status = stackalloc byte[1];
        foreach (GuestBuffer buffer in request.WritableBuffers)
        {
            int data = Math.Min((int)buffer.Length, bytes.Length - at);
            Ring.Space.Read(buffer.Address, bytes.AsSpan(at, data));
            Ring.Space.Read(buffer.Address + (ulong)data, status[..Math.Min(1, (int)buffer.Length - data)]);
            at += data;
        }

        return new GuestAnswer(request, status[0], bytes, length);
    }

    private static List<GuestBuffer> Cut(int total, IReadOnlyList<int> cuts, bool write, ref ulong next)
    {
        var buffers = new List<GuestBuffer>();
        int left = total;
        foreach (int cut in cuts)
        {
            int part = Math.Min(cut, left);
            buffers.Add(new GuestBuffer(next, (uint)part, write));

            // An odd gap, so that neighbours are not contiguous and alignments vary.
            next += (ulong)part + 7;
            left -= part;
        }

        if (left != 0)
        {
            buffers.Add(new GuestBuffer(next, (uint)left, write));
            next += (ulong)left + 7;
        }

        return buffers;
    }
}
