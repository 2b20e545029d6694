// The bounded pool from which one reactor rents its requests.
//
// All requests and all their segment lists are made when the pool is made; renting and returning are a pop and a push. An empty
// pool is back-pressure: the renter stops taking work and tries again when something came back. One thread only.
//
// The stack holds numbers, not references: the collector wants to be told of every reference that is stored (the write barrier),
// and in machine code made ahead of time that costs several times the store.

using System.Runtime.InteropServices;

namespace Polyblk.Core.Block;

/// <summary>
/// A fixed number of <see cref="BlockRequest"/> with segment lists of their own. Not thread-safe: one reactor owns it.
/// </summary>
public sealed unsafe class RequestPool : IDisposable
{
    private readonly BlockRequest[] _all;
    private readonly int[] _free;
    private IoVec* _vectors;
    private int _count;

    /// <summary>
    /// Makes <paramref name="capacity"/> requests with room for <paramref name="vectorsPerRequest"/> segments each.
    /// </summary>
    public RequestPool(int capacity, int vectorsPerRequest)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(vectorsPerRequest);
        Capacity = capacity;
        _all = new BlockRequest[capacity];
        _free = new int[capacity];
        _vectors = (IoVec*)NativeMemory.AlignedAlloc((nuint)Math.Max(1, capacity * vectorsPerRequest) * (nuint)sizeof(IoVec), 64);
        for (int i = capacity - 1; i >= 0; i--)
        {
            IoVec* vectors = _vectors + ((long)i * vectorsPerRequest);
            _all[i] = new BlockRequest { PoolIndex = i, OwnVectors = vectors, OwnVectorCapacity = vectorsPerRequest };
            _free[_count++] = i;
        }
    }

    /// <summary>Requests in the pool when none is rented.</summary>
    public int Capacity { get; }

    /// <summary>Requests that can be rented now.</summary>
    public int Available => _count;

    /// <summary>Takes a request, or returns null when all are in flight.</summary>
    public BlockRequest? TryRent() => _count == 0 ? null : _all[_free[--_count]];

    /// <summary>
    /// Gives a request back, which forgets whose it was. Each rented request is returned once, to the pool that it is of.
    /// </summary>
    public void Return(BlockRequest request)
    {
        request.Parent = null;
        request.Context = null;
        _free[_count++] = request.PoolIndex;
    }

    /// <summary>Frees the segment lists. Every request must be back.</summary>
    public void Dispose()
    {
        if (_vectors is null)
        {
            return;
        }

        if (_count != Capacity)
        {
            throw new InvalidOperationException($"{Capacity - _count} of {Capacity} requests are still in flight.");
        }

        NativeMemory.AlignedFree(_vectors);
        _vectors = null;
    }
}
