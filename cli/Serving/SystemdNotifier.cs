using System.Net.Sockets;
using System.Text;

namespace Polyblk.Cli.Serving;

/// <summary>Tells systemd how the service is doing: sd_notify(3), a datagram to the socket in NOTIFY_SOCKET.</summary>
internal static class SystemdNotifier
{
    /// <summary>Sends a state such as <c>READY=1</c>. Returns false when there is nobody to tell.</summary>
    public static bool Notify(string state) => Notify(state, Environment.GetEnvironmentVariable("NOTIFY_SOCKET"));

    /// <exception cref="SocketException">The socket is there but does not take the message.</exception>
    public static bool Notify(string state, string? path)
    {
        if (string.IsNullOrEmpty(path))
        {
            return false;
        }

        // '@' stands for the abstract namespace.
        string address = path[0] == '@' ? '\0' + path[1..] : path;
        using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        socket.SendTo(Encoding.UTF8.GetBytes(state), new UnixDomainSocketEndPoint(address));
        return true;
    }
}
