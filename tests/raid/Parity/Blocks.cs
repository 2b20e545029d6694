// Native blocks at chosen alignments with guard bytes around them: what the kernel tests read and write.

using System.Runtime.InteropServices;

namespace Polyblk.Raid.Tests.Parity;

/// <summary>
/// A few blocks of one length in native memory; a write outside of a block is found by <see cref="CheckGuards"/>.
/// </summary>
internal sealed unsafe class Blocks : IDisposable
{
    private const int Guard = 128;
    private const byte GuardByte = 0xA5;

    private readonly List<nint> allocations = [];
    private readonly byte** pointers;

    public Blocks(Random random, int count, int length, int alignment = 1)
    {
        Count = count;
        Length = length;
        pointers = (byte**)NativeMemory.AllocZeroed((nuint)count, (nuint)sizeof(byte*));
        for (int i = 0; i < count; i++)
        {
            nuint size = (nuint)(length + 3 * Guard);
            var memory = (byte*)NativeMemory.AlignedAlloc(size, 128);
            allocations.Add((nint)memory);
            new Span<byte>(memory, (int)size).Fill(GuardByte);
            pointers[i] = memory + Guard + random.Next(0, Guard / alignment) * alignment;
            random.NextBytes(Span(i));
        }
    }

    public int Count { get; }
    public int Length { get; }
    public byte** Pointers => pointers;
    public byte* this[int i] => Original(i);

    public Span<byte> Span(int i) => new(Original(i), Length);

    public byte[][] Snapshot() => Enumerable.Range(0, Count).Select(i => Span(i).ToArray()).ToArray();

    public void Restore(byte[][] contents)
    {
        for (int i = 0; i < Count; i++) contents[i].CopyTo(Span(i));
    }

    public void CheckGuards()
    {
        for (int i = 0; i < Count; i++)
        {
            var memory = (byte*)allocations[i];
            byte* block = Original(i);
            byte* end = memory + Length + 3 * Guard;
            Assert.Equal(-1, new ReadOnlySpan<byte>(memory, (int)(block - memory)).IndexOfAnyExcept(GuardByte));
            Assert.Equal(-1, new ReadOnlySpan<byte>(block + Length, (int)(end - block - Length)).IndexOfAnyExcept(GuardByte));
        }
    }

    public void Dispose()
    {
        foreach (nint memory in allocations) NativeMemory.AlignedFree((void*)memory);
        NativeMemory.Free(pointers);
    }

    private byte* Original(int i) => pointers[i];
}
