// Stripes of page-aligned blocks in native memory, handed out in turn, and one staging stripe beside them.

using System.Runtime.InteropServices;

namespace Polyblk.Parity.Bench;

internal sealed unsafe class StripeSet : IDisposable
{
    private readonly byte* memory;
    private readonly byte** pointers;
    private readonly int blocksPerStripe;
    private readonly int stripeCount;
    private int next;

    /// <summary>As many stripes as fill <paramref name="totalBytes"/>, but at least one.</summary>
    public StripeSet(int blocksPerStripe, int blockBytes, long totalBytes)
    {
        this.blocksPerStripe = blocksPerStripe;
        stripeCount = (int)Math.Max(1, totalBytes / ((long)blocksPerStripe * blockBytes));
        int blockCount = (stripeCount + 1) * blocksPerStripe;
        nuint size = (nuint)blockCount * (nuint)blockBytes;
        memory = (byte*)NativeMemory.AlignedAlloc(size, 4096);
        pointers = (byte**)NativeMemory.Alloc((nuint)blockCount, (nuint)sizeof(byte*));
        var random = new Random(1);
        for (int i = 0; i < blockCount; i++)
        {
            pointers[i] = memory + (nuint)i * (nuint)blockBytes;
            random.NextBytes(new Span<byte>(pointers[i], blockBytes));
        }
    }

    /// <summary>The pointers of the staging stripe.</summary>
    public byte** Staging => pointers + stripeCount * blocksPerStripe;

    /// <summary>The address of the next stripe's pointers.</summary>
    public nint Next()
    {
        next = next + 1 < stripeCount ? next + 1 : 0;
        return (nint)(pointers + next * blocksPerStripe);
    }

    public void Dispose()
    {
        NativeMemory.AlignedFree(memory);
        NativeMemory.Free(pointers);
    }
}
