// The bounded pool from which one reactor rents its requests.
//
// All requests and all their segment lists are made when the pool is made; renting and returning are a push and a pop. An empty
// pool is back-pressure: the renter stops taking work and tries again when something came back. One thread only.

using System.Runtime.InteropServices;

namespace Polyblk.Core.Block;

/// <summary>A fixed number of <see cref="BlockRequest"/> with segment lists of their own. Not thread-safe: one reactor owns it.</summary>
public sealed unsafe class RequestPool : IDisposable
{
    private readonly BlockRequest[] _free;
    private IoVec* _vectors;
    private int _count;

    /// <summary>Makes <paramref name="capacity"/> requests with room for <paramref name="vectorsPerRequest"/> segments each.</summary>
    public RequestPool(int capacity, int vectorsPerRequest)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(capacity, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(vectorsPerRequest);
        Capacity = capacity;
        _free = new BlockRequest[capacity];
        _vectors = (IoVec*)NativeMemory.AlignedAlloc((nuint)Math.Max(1, capacity * vectorsPerRequest) * (nuint)sizeof(IoVec), 64);
        for (int i = capacity - 1; i >= 0; i--)
        {
            _free[_count++] = new BlockRequest { OwnVectors = _vectors + (long)i * vectorsPerRequest, OwnVectorCapacity = vectorsPerRequest };
        }
    }

    /// <summary>Requests in the pool when none is rented.</summary>
    public int Capacity { get; }

    /// <summary>Requests that can be rented now.</summary>
    public int Available => _count;

    /// <summary>Takes a request, or returns null when all are in flight.</summary>
    public BlockRequest? TryRent() => _count == 0 ? null : _free[--_count];

    /// <summary>Gives a request back. Each rented request is returned once.</summary>
    public void Return(BlockRequest request) => _free[_count++] = request;

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
