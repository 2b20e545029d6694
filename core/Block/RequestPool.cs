// The bounded pool from which one reactor rents its requests.
//
// All requests and all their segment lists are made when the pool is made; renting and returning are a pop and a push. An empty
// pool is back-pressure: the renter stops taking work and tries again when something came back. One thread only.

using System.Runtime.InteropServices;

namespace Polyblk.Core.Block;

/// <summary>
/// A fixed number of <see cref="BlockRequest"/> with segment lists of their own. Not thread-safe: one reactor owns it.
/// </summary>
public sealed unsafe class RequestPool : IDisposable
{
    private readonly BlockRequest[] _all;
    private readonly int _vectorsPerRequest;
    private readonly List<nint> _laterVectors = [];
    private FreeIndices _free;
    private IoVec* _vectors;

    /// <summary>
    /// Makes <paramref name="capacity"/> requests with room for <paramref name="vectorsPerRequest"/> segments each.
    /// </summary>
    public RequestPool(int capacity, int vectorsPerRequest)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(vectorsPerRequest);
        _all = new BlockRequest[capacity];
        _vectorsPerRequest = vectorsPerRequest;
        _free = new FreeIndices(capacity);
        _vectors = AllocateVectors(capacity);
        for (int i = 0; i < capacity; i++)
        {
            IoVec* vectors = _vectors + ((long)i * vectorsPerRequest);
            _all[i] = new BlockRequest { PoolIndex = i, OwnVectors = vectors, OwnVectorCapacity = vectorsPerRequest };
        }
    }

    /// <summary>Requests in the pool when none is rented.</summary>
    public int Capacity => _all.Length;

    /// <summary>Requests that can be rented now.</summary>
    public int Available => _free.Count;

    /// <summary>Takes a request, or returns null when all are in flight.</summary>
    public BlockRequest? TryRent() => _free.IsEmpty ? null : _all[_free.Take()];

    /// <summary>
    /// Gives a request back, which forgets whose it was. Each rented request is returned once, to the pool that it is of.
    /// </summary>
    public void Return(BlockRequest request)
    {
        request.Parent = null;
        request.Context = null;
        _free.Return(request.PoolIndex);
    }

    /// <summary>All of its requests, rented or not; one that was replaced is not among them.</summary>
    public ReadOnlySpan<BlockRequest> Requests => _all;

    /// <summary>
    /// Leaves a rented request to the device that has it: another one takes its place in the pool and is rented instead, with its
    /// fields and, where the segments were its own, a copy of them. The old one, and its segment list, stay as they are until the
    /// pool is disposed. Allocates.
    /// </summary>
    public BlockRequest Replace(BlockRequest request)
    {
        ArgumentNullException.ThrowIfNull(request);
        IoVec* vectors = AllocateVectors(1);
        _laterVectors.Add((nint)vectors);
        var next = new BlockRequest
        {
            PoolIndex = request.PoolIndex, OwnVectors = vectors, OwnVectorCapacity = _vectorsPerRequest,
        };
        next.Prepare(
            request.Operation,
            request.OffsetBytes,
            request.LengthBytes,
            request.Vectors,
            request.VectorCount,
            request.Completion!);
        if (request.Vectors == request.OwnVectors && request.VectorCount != 0)
        {
            new ReadOnlySpan<IoVec>(request.Vectors, request.VectorCount).CopyTo(new Span<IoVec>(vectors, _vectorsPerRequest));
            next.Vectors = vectors;
        }

        next.Flags = request.Flags;
        next.Traits = request.Traits;
        next.RegisteredBuffer = request.RegisteredBuffer;
        next.Parent = request.Parent;
        next.Context = request.Context;
        next.Tag = request.Tag;
        return _all[request.PoolIndex] = next;
    }

    /// <summary>
    /// Frees the segment lists. Every request must be back, and those that were replaced must be done.
    /// </summary>
    public void Dispose()
    {
        if (_vectors is null)
        {
            return;
        }

        if (!_free.IsFull)
        {
            throw new InvalidOperationException($"{Capacity - _free.Count} of {Capacity} requests are still in flight.");
        }

        NativeMemory.AlignedFree(_vectors);
        _vectors = null;
        foreach (nint vectors in _laterVectors)
        {
            NativeMemory.AlignedFree((void*)vectors);
        }
    }

    private IoVec* AllocateVectors(int requests) =>
        (IoVec*)NativeMemory.AlignedAlloc((nuint)Math.Max(1, requests * _vectorsPerRequest) * (nuint)sizeof(IoVec), 64);
}
