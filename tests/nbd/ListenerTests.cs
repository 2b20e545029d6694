using System.Net.Sockets;
using System.Runtime.InteropServices;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;

namespace Polyblk.Nbd.Tests;

public sealed unsafe partial class ListenerTests
{
    private const int RLIMIT_NOFILE = 7;

    /// <summary>
    /// Few or no descriptors left: the waiting client is told by the end of its connection, and later ones are served.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_process_short_of_descriptors_refuses_whom_it_cannot_serve(bool useAll)
    {
        string path = Path.Combine(Path.GetTempPath(), $"polyblk-{Guid.NewGuid():N}.sock");
        using UnixListener listener = UnixListener.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using Socket client = Connect(path);
        using Socket second = Connect(path);
        Limits before = default;
        Assert.Equal(0, prlimit_(0, RLIMIT_NOFILE, null, &before));
        Limits few = before with { Soft = (ulong)Highest() + 8 };
        var used = new List<int>();
        int accepted;
        Assert.Equal(0, prlimit_(0, RLIMIT_NOFILE, &few, null));
        try
        {
            for (int fd = Libc.eventfd(0, Libc.EFD_CLOEXEC); fd >= 0; fd = Libc.eventfd(0, Libc.EFD_CLOEXEC))
            {
                used.Add(fd);
            }

            for (int free = useAll ? 0 : 4; free > 0; free--)
            {
                // The last opened have the highest numbers.
                _ = Libc.close(used[^1]);
                used.RemoveAt(used.Count - 1);
            }

            accepted = listener.Accept();
        }
        finally
        {
            used.ForEach(fd => _ = Libc.close(fd));
            Assert.Equal(0, prlimit_(0, RLIMIT_NOFILE, &before, null));
        }

        Assert.Equal(-Errno.EMFILE, accepted);
        Assert.True(UnixListener.IsShortage(-accepted));
        Assert.Equal(0, client.Receive(new byte[1]));
        int next = listener.Accept();
        Assert.True(next >= 0);
        _ = Libc.close(next);
    }

    [Fact]
    public void Who_connected_is_known()
    {
        string path = Path.Combine(Path.GetTempPath(), $"polyblk-{Guid.NewGuid():N}.sock");
        using UnixListener listener = UnixListener.Listen(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        using Socket client = Connect(path);
        int fd = listener.Accept();
        PeerCredentials peer = PeerCredentials.Of(fd);
        _ = Libc.close(fd);
        Assert.Equal(Environment.ProcessId, peer.ProcessId);
    }

    private static int Highest() =>
        Directory.GetFileSystemEntries("/proc/self/fd").Max(p => int.Parse(Path.GetFileName(p), null));

    private static Socket Connect(string path)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 30_000 };
        socket.Connect(new UnixDomainSocketEndPoint(path));
        return socket;
    }

    private struct Limits
    {
        public ulong Soft;
        public ulong Hard;
    }

    [LibraryImport("libc", EntryPoint = "prlimit")]
    private static partial int prlimit_(int pid, int resource, Limits* value, Limits* old);
}
