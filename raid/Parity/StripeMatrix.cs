// The coefficients of several sums over the blocks of a stripe, as the kernels of one instruction set want them.
//
// Theory of operation: for each source the coefficients of all sums lie together, for a kernel takes a source once and adds it
// to all sums. There is room for the largest matrix, and none is ever made anew: the matrix of a reconstruction is filled on
// the reactor.

using System.Runtime.InteropServices;

namespace Polyblk.Raid.Parity;

/// <summary>Coefficients of up to eight sums over up to 64 sources, in native memory. One thread's while it is changed.</summary>
public sealed unsafe class StripeMatrix : IDisposable
{
    /// <summary>The room for sums: the coefficients of a source are so many apart.</summary>
    internal const int Stride = StripeCode.MaxParities;

    private const nuint Elements = StripeCode.MaxBlocks * Stride;

    private readonly ParityKernels kernels;

    /// <param name="kernels">Those that are to use it.</param>
    public StripeMatrix(ParityKernels kernels)
    {
        this.kernels = kernels;
        Bytes = (byte*)NativeMemory.AllocZeroed(Elements);
        Forms = (byte*)NativeMemory.AlignedAlloc(Elements * (nuint)kernels.CoefficientBytes, 64);
    }

    /// <summary>The coefficients as elements of the field.</summary>
    internal byte* Bytes { get; }

    /// <summary>The coefficients as the kernels multiply by them.</summary>
    internal byte* Forms { get; }

    /// <summary>Sets a coefficient.</summary>
    /// <param name="source">The source, 0 to 63.</param>
    /// <param name="sum">The sum, 0 to 7.</param>
    /// <param name="c">The coefficient.</param>
    public void Set(int source, int sum, byte c)
    {
        int at = (source * Stride) + sum;
        Bytes[at] = c;
        kernels.WriteCoefficient(c, Forms + (at * kernels.CoefficientBytes));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.Free(Bytes);
        NativeMemory.AlignedFree(Forms);
    }
}
