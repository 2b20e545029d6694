using System.Runtime.InteropServices;

namespace Polyblk.Core.Interop;

/// <summary>Who connected to a Unix socket, as the kernel noted it at connect (unix(7), SO_PEERCRED).</summary>
/// <param name="ProcessId">The process; 0 when it is of another PID namespace.</param>
/// <param name="UserId">The user.</param>
public readonly unsafe partial record struct PeerCredentials(int ProcessId, uint UserId)
{
    private const int SO_PEERCRED = 17;
    private const int Words = 3; // struct ucred: pid, uid, gid

    /// <summary>The peer of a connected Unix socket. Process 0 of the overflow user where the kernel does not say.</summary>
    public static PeerCredentials Of(int fd)
    {
        int* ucred = stackalloc int[Words];
        uint length = Words * sizeof(int);
        return getsockopt_(fd, Libc.SOL_SOCKET, SO_PEERCRED, ucred, &length) == 0
            ? new PeerCredentials(ucred[0], (uint)ucred[1])
            : new PeerCredentials(0, OverflowUser);
    }

    private const uint OverflowUser = 65534;

    [LibraryImport("libc", EntryPoint = "getsockopt")]
    private static partial int getsockopt_(int fd, int level, int name, void* value, uint* length);
}
