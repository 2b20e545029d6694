using Tmds.Linux;

namespace Polyblk.Core.Interop;

/// <summary>Who connected to a Unix socket, as the kernel noted it at connect (unix(7), SO_PEERCRED).</summary>
/// <param name="ProcessId">The process; 0 when it is of another PID namespace.</param>
/// <param name="UserId">The user.</param>
public readonly unsafe record struct PeerCredentials(int ProcessId, uint UserId)
{
    private const uint OverflowUser = 65534;

    /// <summary>The peer of a connected Unix socket. Process 0 of the overflow user where the kernel does not say.</summary>
    public static PeerCredentials Of(int fd)
    {
        ucred peer;
        uint length = (uint)sizeof(ucred);
        return Libc.getsockopt(fd, Libc.SOL_SOCKET, Libc.SO_PEERCRED, &peer, &length) == 0
            ? new PeerCredentials(peer.pid, peer.uid)
            : new PeerCredentials(0, OverflowUser);
    }
}
