using System.Net.Sockets;
using Polyblk.Core.Frontend;

namespace Polyblk.Frontends.Nbd;

/// <summary>Makes a listening Unix socket, over a stale one if need be.</summary>
internal static class UnixListener
{
    /// <summary>sizeof(sockaddr_un.sun_path) less its final NUL.</summary>
    private const int MaxPathBytes = 107;

    /// <summary>Binds and listens; the socket is for its owner and group only.</summary>
    /// <exception cref="FrontendException">It cannot be made.</exception>
    public static Socket Bind(string path)
    {
        if (System.Text.Encoding.UTF8.GetByteCount(path) > MaxPathBytes)
        {
            throw new FrontendException($"The socket path {path} is longer than {MaxPathBytes} bytes: choose a shorter one with --socket.");
        }

        RemoveStale(path);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            socket.Bind(new UnixDomainSocketEndPoint(path));
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite);
            socket.Listen(64);
            return socket;
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException)
        {
            socket.Dispose();
            throw new FrontendException($"The socket {path} cannot be made: {e.Message}. Choose another path with --socket.", e);
        }
    }

    /// <summary>Deletes a socket on which nobody listens; refuses when somebody does, or when it is no socket.</summary>
    private static void RemoveStale(string path)
    {
        if (!File.Exists(path))
        {
            return;
        }

        using var probe = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            probe.Connect(new UnixDomainSocketEndPoint(path));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.ConnectionRefused)
        {
            File.Delete(path);
            return;
        }
        catch (SocketException e)
        {
            throw new FrontendException($"{path} exists and is not a socket that can be replaced ({e.Message}): remove it or choose another path.", e);
        }

        throw new FrontendException($"Somebody listens on {path} already: choose another path with --socket.");
    }
}
