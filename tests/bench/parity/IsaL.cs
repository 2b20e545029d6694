// The peer of this benchmark: xor_gen and pq_gen of Intel's ISA-L (Debian package libisal2), which choose the fastest code of
// the processor by themselves.

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
}
