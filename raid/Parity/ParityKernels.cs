// The parity arithmetic of RAID 5 and 6 on native memory, chosen at run time for the processor.
//
// Theory of operation: P is the XOR of the data blocks of a stripe; Q is the sum of 2^i * D_i in GF(2^8) modulo 0x11D, where i
// is the data index of the block in the stripe. Linux md numbers the blocks of a left-symmetric stripe from the disk behind Q,
// which is the same order in which it lays the data out, so both parities are byte-identical to md's.
//
// A source that a guest can write to is read exactly once: every byte is loaded into a register, and the copy, P and Q are made
// from that register. Whatever the guest does meanwhile, the staging copy and the parity agree. (This is why the ends of blocks
// are done byte by byte and not with one overlapping vector, which would read some bytes twice.)
//
// No kernel allocates, throws or keeps state; all may be called from any number of threads at once.

namespace Polyblk.Raid.Parity;

/// <summary>
/// Parity kernels of one instruction set. Lengths are in bytes, pointers have any alignment, counts are at least 1. Blocks
/// either coincide with a destination or do not overlap it at all.
/// </summary>
public abstract unsafe class ParityKernels
{
    /// <summary>Name of the kernels for AVX-512BW with GFNI.</summary>
    public const string Avx512Gfni = "avx512-gfni";

    /// <summary>Name of the kernels for AVX2.</summary>
    public const string Avx2Name = "avx2";

    /// <summary>Name of the kernels on 128-bit vectors of any platform.</summary>
    public const string Portable = "portable";

    /// <summary>Name of the byte-wise kernels, by which the others are proven.</summary>
    public const string Scalar = "scalar";

    /// <summary>The most data blocks that a stripe can have and a generator of order 255 can tell apart.</summary>
    public const int MaxDataBlocks = 255;

    /// <summary>The name of the instruction set: one of the constants of this class.</summary>
    public abstract string Name { get; }

    private static readonly ParityKernels[] Kernels = Detect();

    /// <summary>The kernels that this processor runs fastest.</summary>
    public static ParityKernels Best => Kernels[0];

    /// <summary>All kernels that this processor can run, the fastest first.</summary>
    public static IReadOnlyList<ParityKernels> Available() => Kernels;

    /// <summary>The kernels of that name.</summary>
    /// <exception cref="ArgumentException">No such kernels, or the processor cannot run them.</exception>
    public static ParityKernels Select(string name)
    {
        foreach (ParityKernels kernels in Kernels)
            if (kernels.Name == name) return kernels;
        string names = string.Join(", ", Kernels.Select(kernels => kernels.Name));
        throw new ArgumentException($"No parity kernels '{name}' on this processor; choose one of: {names}.", nameof(name));
    }

    /// <summary>destination = XOR of all sources. A source may be the destination itself.</summary>
    public abstract void Xor(byte** sources, int count, byte* destination, nuint length);

    /// <summary>
    /// P and Q of <paramref name="count"/> data blocks in data-index order. <paramref name="p"/> may be null when only Q is
    /// wanted.
    /// </summary>
    public abstract void GeneratePq(byte** data, int count, byte* p, byte* q, nuint length);

    /// <summary>
    /// Copies each source to its staging block and makes P of the copies, reading every source byte once. A null staging block
    /// says that its source is stable already: it is folded into P only.
    /// </summary>
    /// <param name="sources">The data blocks; memory that others may be writing to.</param>
    /// <param name="staging">Where the copies go, or null for those that need none.</param>
    /// <param name="count">The number of blocks.</param>
    /// <param name="p">Where P goes.</param>
    /// <param name="length">The length of each block in bytes.</param>
    /// <param name="nonTemporal">
    /// Write staging and P past the caches: right only for memory that is large and not used again soon, such as that of a member
    /// that is memory, where it more than doubles the speed; on staging from a pool it halves the speed (tests/bench/parity shows
    /// both). Takes effect when all destinations are aligned to 64 bytes.
    /// </param>
    public abstract void CopyXor(byte** sources, byte** staging, int count, byte* p, nuint length, bool nonTemporal = false);

    /// <summary>As <see cref="CopyXor"/>, with Q as well.</summary>
    public abstract void CopyPq(
        byte** sources, byte** staging, int count, byte* p, byte* q, nuint length, bool nonTemporal = false);

    /// <summary>
    /// Read-modify-write of one data block: <paramref name="block"/> holds the old data and receives a copy of
    /// <paramref name="source"/>; P ^= old ^ new. Reads every source byte once.
    /// </summary>
    public abstract void UpdateP(byte* source, byte* block, byte* p, nuint length);

    /// <summary>
    /// As <see cref="UpdateP"/>, and Q ^= 2^index * (old ^ new). <paramref name="p"/> may be null when P is lost.
    /// </summary>
    /// <param name="index">The data index of the block in its stripe, 0..254.</param>
    /// <param name="source">The new data; memory that others may be writing to.</param>
    /// <param name="block">The old data; receives the copy of the new.</param>
    /// <param name="p">P, updated in place; null when it is lost.</param>
    /// <param name="q">Q, updated in place.</param>
    /// <param name="length">The length in bytes.</param>
    public abstract void UpdatePq(int index, byte* source, byte* block, byte* p, byte* q, nuint length);

    /// <summary>
    /// Makes two lost data blocks, <c>data[x]</c> and <c>data[y]</c>, from the others, P and Q. <c>data[y]</c> may be null when
    /// only the first is wanted.
    /// </summary>
    public abstract void RecoverTwoData(byte** data, int count, int x, int y, byte* p, byte* q, nuint length);

    /// <summary>
    /// Makes the lost data block <c>data[x]</c> from the others and Q, and the lost P as well unless <paramref name="p"/> is
    /// null.
    /// </summary>
    public abstract void RecoverDataFromQ(byte** data, int count, int x, byte* p, byte* q, nuint length);

    /// <summary>destination ^= c * source.</summary>
    public abstract void MultiplyAccumulate(byte c, byte* source, byte* destination, nuint length);

    private static ParityKernels[] Detect()
    {
        var kernels = new List<ParityKernels>();
        if (Avx512GfniField.IsSupported) kernels.Add(VectorKernels.Avx512Gfni());
        if (Avx2Field.IsSupported) kernels.Add(VectorKernels.Avx2());
        kernels.Add(VectorKernels.Portable());
        kernels.Add(new ScalarParityKernels());
        return [.. kernels];
    }
}
