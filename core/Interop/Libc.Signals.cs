// libc: what a signal handler of our own needs (sigaction, mprotect).

using System.Runtime.InteropServices;

namespace Polyblk.Core.Interop;

public static unsafe partial class Libc
{
    public const int SIGBUS = 7;
    public const int PROT_EXEC = 4;

    /// <summary>struct sigaction of glibc and musl on 64-bit machines; the mask has 1024 bits there.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 152)]
    public struct sigaction
    {
        [FieldOffset(0)] public nuint sa_handler;
        [FieldOffset(8)] public fixed byte sa_mask[128];
        [FieldOffset(136)] public int sa_flags;
        [FieldOffset(144)] public nuint sa_restorer;
    }

    /// <summary>Sets (when not null) and reads (when not null) what a signal does.</summary>
    public static int set_sigaction(int signal, sigaction* action, sigaction* old) => (int)Result(sigaction_(signal, action, old));

    public static int mprotect(void* addr, nuint length, int prot) => (int)Result(mprotect_(addr, length, prot));

    [LibraryImport("libc", EntryPoint = "sigaction", SetLastError = true)]
    private static partial int sigaction_(int signal, sigaction* action, sigaction* old);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int mprotect_(void* addr, nuint length, int prot);
}
