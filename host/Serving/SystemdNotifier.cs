using System.Net.Sockets;
using System.Text;

namespace Polyblk.Host.Serving;

/// <summary>Tells systemd how the service is doing: sd_notify(3), a datagram to the socket in NOTIFY_SOCKET.</summary>
public static class SystemdNotifier
{
    /// <summary>Sends a state such as <c>READY=1</c>, where somebody is to be told.</summary>
    /// <returns>
    /// Why it could not be sent, or null. That is no reason to stop serving: the variable is inherited by whatever a service
    /// starts, also into places where the socket cannot be reached.
    /// </returns>
    public static string? Notify(string state)
    {
        string? path = Environment.GetEnvironmentVariable("NOTIFY_SOCKET");
        if (string.IsNullOrEmpty(path))
        {
            return null;
        }

        try
        {
            // '@' stands for the abstract namespace.
            string address = path[0] == '@' ? '\0' + path[1..] : path;
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            socket.SendTo(Encoding.UTF8.GetBytes(state), new UnixDomainSocketEndPoint(address));
            return null;
        }
        catch (Exception e) when (e is SocketException or ArgumentException)
        {
            return $"NOTIFY_SOCKET ({path}) does not take '{state}': {e.Message}";
        }
    }
}
