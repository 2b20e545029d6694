// The peer of this benchmark: xor_gen, pq_gen and the erasure codes of Intel's ISA-L (Debian package libisal2), which choose the
// fastest code of the processor by themselves.

using System.Runtime.InteropServices;

namespace Polyblk.Parity.Bench;

internal static unsafe partial class IsaL
{
    private const string Library = "libisal.so.2";

    /// <summary>True when the library can be loaded.</summary>
    public static bool IsInstalled { get; } = NativeLibrary.TryLoad(Library, out _);

    /// <summary>XOR of the first <paramref name="vectors"/> - 1 blocks into the last; blocks are aligned to 32 bytes.</summary>
    [LibraryImport(Library, EntryPoint = "xor_gen")]
    public static partial int XorGenerate(int vectors, int length, void** blocks);

    /// <summary>P and Q of the first <paramref name="vectors"/> - 2 blocks into the last two.</summary>
    [LibraryImport(Library, EntryPoint = "pq_gen")]
    public static partial int PqGenerate(int vectors, int length, void** blocks);

    /// <summary>Makes the tables of a matrix of <paramref name="rows"/> rows of <paramref name="k"/> coefficients.</summary>
    [LibraryImport(Library, EntryPoint = "ec_init_tables")]
    public static partial void InitTables(int k, int rows, byte* coefficients, byte* tables);

    /// <summary>
    /// Makes <paramref name="rows"/> blocks from <paramref name="k"/> others: of an encoding or of a reconstruction.
    /// </summary>
    [LibraryImport(Library, EntryPoint = "ec_encode_data")]
    public static partial void Encode(int length, int k, int rows, byte* tables, byte** data, byte** made);
}
