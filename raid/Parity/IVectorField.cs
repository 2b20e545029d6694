// What a parity algorithm needs of a vector instruction set.
//
// Theory of operation: the algorithms (VectorParityKernels) are written once over this interface; the JIT makes machine code
// of its own for each struct that implements it, with every member inlined. A coefficient is a constant of the field in the
// form in which the instruction set multiplies best: nibble tables for byte shuffles, a bit matrix for the affine instruction.

namespace Polyblk.Raid.Parity;

/// <summary>Vectors of field elements of one instruction set; all members are static and inlined.</summary>
internal unsafe interface IVectorField<TVector, TCoefficient>
    where TVector : struct
    where TCoefficient : unmanaged
{
    /// <summary>Bytes in a vector.</summary>
    static abstract int Width { get; }

    /// <summary>The name by which <see cref="ParityKernels.Select"/> finds these kernels.</summary>
    static abstract string Name { get; }

    /// <summary>
    /// True where one multiplication costs about as much as a doubling: Q is then a sum of independent products instead of a
    /// chain of doublings.
    /// </summary>
    static abstract bool MultiplyIsCheap { get; }

    static abstract TVector Zero { get; }

    /// <summary>Reads at any alignment.</summary>
    static abstract TVector Load(byte* source);

    /// <summary>Writes at any alignment.</summary>
    static abstract void Store(TVector value, byte* destination);

    /// <summary>Writes past the caches; the destination is aligned to <see cref="Width"/>.</summary>
    static abstract void StoreNonTemporal(TVector value, byte* destination);

    static abstract TVector Xor(TVector a, TVector b);

    /// <summary>Every element times 2.</summary>
    static abstract TVector Double(TVector a);

    static abstract TVector Multiply(TVector a, in TCoefficient coefficient);

    static abstract TCoefficient Coefficient(byte c);

    /// <summary>
    /// So many vectors of sums are kept in registers beside what multiplying takes.
    /// </summary>
    static abstract int SumsInRegisters { get; }

    /// <summary>
    /// A vector as <see cref="AddProduct"/> wants it, which is made once for all coefficients: its low nibbles, or all of it.
    /// </summary>
    static abstract TVector LowPart(TVector a);

    /// <summary>Its high nibbles, or nothing of use.</summary>
    static abstract TVector HighPart(TVector a);

    /// <summary>The sum and the product of a vector, which comes in its parts, with a coefficient in memory.</summary>
    static abstract TVector AddProduct(TVector sum, TVector low, TVector high, TCoefficient* coefficient);
}
