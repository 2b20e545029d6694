// The arithmetic of parities on native memory, chosen at run time for the processor.
//
// Theory of operation: P is the XOR of the data blocks of a stripe; Q is the sum of 2^i * D_i in GF(2^8) modulo 0x11D, where i
// is the data index of the block in the stripe. Linux md numbers the blocks of a left-symmetric stripe from the disk behind Q,
// which is the same order in which it lays the data out, so both parities are byte-identical to md's. Stripes with more parities
// have more sums with coefficients (StripeCode); what makes several sums in one pass, of an encoding or of a reconstruction, is
// Combine.
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

    /// <summary>Name of the kernels for AVX2 with GFNI.</summary>
    public const string Avx2Gfni = "avx2-gfni";

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

    /// <summary>
    /// The parities of <paramref name="count"/> data blocks, for any number of parities: with <paramref name="copies"/> each
    /// block is copied, too, and read exactly once.
    /// </summary>
    /// <param name="data">The data blocks in data-index order; memory that others may be writing to.</param>
    /// <param name="copies">Where copies go; null for none, or for those that need none.</param>
    /// <param name="count">The number of data blocks, 1 to 63.</param>
    /// <param name="parities">Where the parities go, P first.</param>
    /// <param name="parityCount">Their number, 1 to 8.</param>
    /// <param name="length">The length of each block in bytes.</param>
    public void Encode(byte** data, byte** copies, int count, byte** parities, int parityCount, nuint length)
    {
        var sums = new StripeSums
        {
            Sources = data,
            Copies = copies,
            Count = count,
            XorCount = count,
            Matrix = encoding ??= MakeEncoding(),
            Outputs = parities + 1,
            Rows = parityCount - 1,
            Xor = parities[0],
        };
        Combine(sums, length);
    }

    /// <summary>
    /// Read-modify-write of one data block with any number of parities: <paramref name="block"/> holds the old data and receives
    /// a copy of <paramref name="source"/>, of which every byte is read once; the difference is added to the parities.
    /// </summary>
    /// <param name="index">The data index of the block in its stripe, 0 to 62.</param>
    /// <param name="source">The new data; memory that others may be writing to.</param>
    /// <param name="block">The old data; receives the copy of the new.</param>
    /// <param name="parities">The parities, P first, updated in place; null for those that are lost.</param>
    /// <param name="parityCount">Their number, 1 to 8.</param>
    /// <param name="length">The length in bytes.</param>
    public void Update(int index, byte* source, byte* block, byte** parities, int parityCount, nuint length) =>
        UpdateAll(encoding ??= MakeEncoding(), index, source, block, parities, parityCount, length);

    /// <summary>Bytes of a coefficient in the form in which these kernels multiply.</summary>
    internal abstract int CoefficientBytes { get; }

    /// <summary>Writes a coefficient in that form.</summary>
    internal abstract void WriteCoefficient(byte c, byte* to);

    /// <summary>Makes sums of blocks in one pass. No output is one of the sources.</summary>
    internal abstract void Combine(in StripeSums sums, nuint length);

    private protected abstract void UpdateAll(
        StripeMatrix matrix, int index, byte* source, byte* block, byte** parities, int parityCount, nuint length);

    /// <summary>The coefficients of all parities but P.</summary>
    private StripeMatrix? encoding;

    /// <summary>
    /// Makes what <see cref="Encode"/> and <see cref="Update"/> would make when they are called first, which may be on a reactor.
    /// </summary>
    internal void Prepare() => encoding ??= MakeEncoding();

    private StripeMatrix MakeEncoding()
    {
        var made = new StripeMatrix(this);
        for (int data = 0; data < StripeCode.MaxBlocks - 1; data++)
        {
            for (int parity = 1; parity < StripeCode.MaxParities; parity++)
                made.Set(data, parity - 1, StripeCode.Coefficient(parity, data));
        }
        return made;
    }

    private static ParityKernels[] Detect()
    {
        var kernels = new List<ParityKernels>();
        if (Avx512GfniField.IsSupported) kernels.Add(VectorKernels.Avx512Gfni());
        if (Avx2GfniField.IsSupported) kernels.Add(VectorKernels.Avx2Gfni());
        if (Avx2Field.IsSupported) kernels.Add(VectorKernels.Avx2());
        kernels.Add(VectorKernels.Portable());
        kernels.Add(new ScalarParityKernels());
        return [.. kernels];
    }
}
