using System.Net.Sockets;
using System.Text;
using System.Text.Json;

namespace Polyblk.Compare.Methods;

/// <summary>Asks a `polyblk serve` for its counters, by its control socket (docs/cli.md).</summary>
/// <param name="socketPath">The control socket.</param>
internal sealed class ServerCounters(string socketPath)
{
    private const int PatienceMs = 2000;
    private static readonly byte[] s_request = Encoding.UTF8.GetBytes("{\"command\":\"show\"}\n");

    /// <summary>Notifications that an export has sent; null when the server is down or does not say.</summary>
    public long? ReadNotifications(int export)
    {
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = PatienceMs };
            socket.Connect(new UnixDomainSocketEndPoint(socketPath));
            _ = socket.Send(s_request);
            using var reader = new StreamReader(new NetworkStream(socket));
            return Notifications(reader.ReadLine() ?? "{}", export);
        }
        catch (Exception e) when (e is SocketException or IOException or JsonException or KeyNotFoundException)
        {
            // A counter that cannot be read is absent in the results; the measurement does not depend on it.
            return null;
        }
    }

    /// <summary>What a server's answer says; null where it does not count them.</summary>
    internal static long? Notifications(string answer, int export)
    {
        using JsonDocument document = JsonDocument.Parse(answer);
        return document.RootElement.TryGetProperty("live", out JsonElement live)
            && live.GetProperty("exports")[export].GetProperty("statistics").TryGetProperty("notifications", out JsonElement count) ? count.GetInt64() : null;
    }
}
