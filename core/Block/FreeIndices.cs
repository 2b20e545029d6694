// Which entries of an array are free: the stack of numbers that every pool of objects needs.
//
// It holds numbers, not references: the collector wants to be told of every reference that is stored (the write barrier), and in
// machine code made ahead of time that costs several times the store. The one that was given back last is taken next, as its
// lines are in the cache.

using System.Runtime.CompilerServices;

namespace Polyblk.Core.Block;

/// <summary>
/// The free ones of the numbers from 0 on. A field that is not readonly, and never a copy: it counts by itself. One thread.
/// </summary>
/// <param name="capacity">How many numbers there are. All are free, and the lowest is taken first.</param>
public struct FreeIndices(int capacity)
{
    private readonly int[] _stack = Descending(capacity);

    /// <summary>How many are free.</summary>
    public int Count { get; private set; } = capacity;

    /// <summary>How many there are.</summary>
    public readonly int Capacity => _stack.Length;

    /// <summary>Whether none is free.</summary>
    public readonly bool IsEmpty => Count == 0;

    /// <summary>Whether all are free.</summary>
    public readonly bool IsFull => Count == _stack.Length;

    /// <summary>The one that <see cref="Take"/> would take. There must be one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Next() => _stack[Count - 1];

    /// <summary>Takes one. There must be one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Take()
    {
        // Counted only when it was read: where there is none, this throws and nothing has changed.
        int count = Count - 1;
        int index = _stack[count];
        Count = count;
        return index;
    }

    /// <summary>Gives one back that was taken, once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Return(int index)
    {
        int count = Count;
        _stack[count] = index;
        Count = count + 1;
    }

    private static int[] Descending(int capacity)
    {
        var stack = new int[capacity];
        for (int i = 0; i < capacity; i++)
        {
            stack[i] = capacity - 1 - i;
        }

        return stack;
    }
}
