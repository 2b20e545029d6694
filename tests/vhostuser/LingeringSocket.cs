using System.Net;
using System.Net.Sockets;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Tmds.Linux;

namespace Polyblk.VhostUser.Tests;

/// <summary>
/// A descriptor whose last close(2) waits: a TCP socket that lingers over bytes which its peer does not read (socket(7),
/// SO_LINGER). A file of a FUSE server that does not answer is like it, and needs a server.
/// </summary>
internal sealed unsafe class LingeringSocket : IDisposable
{
    private const int AF_INET = 2, SO_LINGER = 13, LingerSeconds = 3600;

    private readonly Socket _peer;
    private int _fd;

    public LingeringSocket()
    {
        using var listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        byte* address = stackalloc byte[16];
        new Span<byte>(address, 16).Clear();
        address[0] = AF_INET;
        int port = ((IPEndPoint)listener.LocalEndPoint!).Port;
        (address[2], address[3]) = ((byte)(port >> 8), (byte)port);
        (address[4], address[7]) = (127, 1);
        _fd = Libc.socket(AF_INET, Libc.SOCK_STREAM | Libc.SOCK_CLOEXEC, 0);
        Assert.Equal(0, Libc.connect(_fd, (sockaddr_un*)address, 16));
        _peer = listener.Accept();
        byte* bytes = stackalloc byte[4096];
        Assert.Equal(0, Libc.fcntl(_fd, Libc.F_SETFL, Libc.O_NONBLOCK));
        while (Libc.write(_fd, bytes, 4096) > 0)
        {
        }

        int* linger = stackalloc int[] { 1, LingerSeconds };
        Assert.Equal(0, Libc.setsockopt(_fd, Libc.SOL_SOCKET, SO_LINGER, linger, 8));
    }

    /// <summary>Sends bytes with several descriptors of it, and keeps none: whoever closes what arrives waits.</summary>
    /// <param name="socket">A connected Unix socket.</param>
    /// <param name="bytes">What to send.</param>
    /// <param name="before">How many descriptors of another file go before it.</param>
    /// <returns>What sendmsg(2) said.</returns>
    public long GiveAway(int socket, ReadOnlySpan<byte> bytes, int before = 0)
    {
        long sent = SendWith(socket, bytes, before);
        Close();
        return sent;
    }

    /// <summary>Lets go of everything: whoever waits for its end goes on.</summary>
    public void Dispose()
    {
        _peer.LingerState = new LingerOption(true, 0);
        _peer.Dispose();
        Close();
    }

    private long SendWith(int socket, ReadOnlySpan<byte> bytes, int before)
    {
        int count = before + 1;
        int other = Libc.eventfd(0, Libc.EFD_CLOEXEC);
        int length = 16 + (count * sizeof(int));
        byte* control = stackalloc byte[length + 8];
        *(cmsghdr*)control = new cmsghdr
        {
            cmsg_len = length, cmsg_level = Libc.SOL_SOCKET, cmsg_type = Libc.SCM_RIGHTS,
        };
        var fds = new Span<int>(control + 16, count);
        fds.Fill(other);
        fds[before] = _fd;
        long sent;
        fixed (byte* p = bytes)
        {
            var vector = new IoVec(p, (nuint)bytes.Length);
            var message = new msghdr { msg_iov = (iovec*)&vector, msg_iovlen = 1, msg_control = control, msg_controllen = length };
            sent = Libc.sendmsg(socket, &message, Libc.MSG_NOSIGNAL);
        }

        _ = Libc.close(other);
        return sent;
    }

    private void Close()
    {
        if (_fd >= 0)
        {
            _ = Libc.close(_fd);
            _fd = -1;
        }
    }
}
