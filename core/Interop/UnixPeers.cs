// Who is connected to a Unix socket of this process.
//
// Every accepted connection has the name of the socket that accepted it, and the kernel keeps who was at the other end when it
// was made (SO_PEERCRED). Found by looking through the descriptors of this process, so that no door has to keep a list for it. A
// descriptor that is closed or used again while it is looked at is left out, or named wrongly for that moment: the answer is for
// a message to people.

using System.Globalization;
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Polyblk.Core.Interop;

/// <summary>Names the processes at the other end of connections. Control threads.</summary>
public static unsafe class UnixPeers
{
    /// <summary>
    /// A listening socket is bound under this ending first and renamed (see UnixListener): its connections keep that name.
    /// </summary>
    private const string StagingSuffix = ".new";

    /// <summary>
    /// Everybody who is connected to a listening socket of this process, as "process 123 (qemu-system-x86)"; in no order.
    /// </summary>
    /// <param name="path">The socket's path.</param>
    public static IReadOnlyList<string> Of(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        var peers = new List<string>();
        foreach (string entry in Directory.EnumerateFileSystemEntries("/proc/self/fd"))
        {
            if (int.TryParse(Path.GetFileName(entry), CultureInfo.InvariantCulture, out int fd)
                && NameOf(fd) is string name && (name == path || name == path + StagingSuffix) && Describe(fd) is string peer)
            {
                peers.Add(peer);
            }
        }

        return peers;
    }

    /// <summary>The path of a Unix socket's own end, or null for what is none or has no path.</summary>
    private static string? NameOf(int fd)
    {
        sockaddr_un address = default;
        uint length = (uint)sizeof(sockaddr_un);
        return Libc.getsockname(fd, &address, &length) == 0 && address.sun_family == Libc.AF_UNIX && length > sizeof(ushort)
            ? Marshal.PtrToStringUTF8((nint)address.sun_path)
            : null;
    }

    private static string? Describe(int fd)
    {
        int isListening = 0;
        uint length = sizeof(int);
        if (Libc.getsockopt(fd, Libc.SOL_SOCKET, Libc.SO_ACCEPTCONN, &isListening, &length) != 0 || isListening != 0)
        {
            return null;
        }

        ucred peer;
        length = (uint)sizeof(ucred);
        if (Libc.getsockopt(fd, Libc.SOL_SOCKET, Libc.SO_PEERCRED, &peer, &length) != 0)
        {
            return null;
        }

        int process = peer.pid;
        if (process == 0)
        {
            return $"a process of another PID namespace (user {(uint)peer.uid})";
        }

        try
        {
            return $"process {process} ({File.ReadAllText($"/proc/{process}/comm").TrimEnd()})";
        }
        catch (IOException)
        {
            // It has ended; whoever it passed the connection to is not known.
            return $"process {process}";
        }
    }
}
