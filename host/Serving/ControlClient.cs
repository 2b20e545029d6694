using System.Net.Sockets;
using System.Text.Json;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Serving;

/// <summary>Asks the process that serves a volume.</summary>
public static class ControlClient
{
    private const int PieceBytes = 16 << 10;

    /// <summary>A daemon of some hundred volumes, each with many drives, says less.</summary>
    private const int MostLineBytes = 64 << 20;

    private static readonly TimeSpan s_queueRest = TimeSpan.FromMilliseconds(10);

    /// <summary>Sends one request and waits for the answer.</summary>
    /// <returns>The answer, or null when nobody listens.</returns>
    /// <exception cref="RefusalException">The other side refused; its message and code.</exception>
    public static async Task<ControlResponse?> AskAsync(
        StateDirectories directories, string volume, ControlRequest request, CancellationToken cancellation)
    {
        using Socket? socket = await ConnectAsync(ControlServer.PathOf(directories, volume), cancellation).ConfigureAwait(false);
        if (socket is null)
        {
            return null;
        }

        await using var stream = new NetworkStream(socket);
        byte[]? line = null;
        try
        {
            IOException? unsent = await SendAsync(stream, request, cancellation).ConfigureAwait(false);
            line = await ReadLineAsync(stream, cancellation).ConfigureAwait(false);
            if (line is null && unsent is not null)
            {
                throw unsent;
            }
        }
        catch (IOException e)
        {
            throw new RefusalException(
                new Refusal(RefusalKind.Failed, $"The process that serves '{volume}' broke off: {e.Message}", "Its log says more."), e);
        }

        ControlResponse? response = line is null ? null : JsonSerializer.Deserialize(line, LineJson.Default.ControlResponse);
        return response switch
        {
            null => throw new RefusalException(RefusalKind.Failed, $"The process that serves '{volume}' ended without an answer.", "Its log says more."),
            { Ok: false } => throw new RefusalException(response.Refusal!),
            _ => response,
        };
    }

    /// <summary>Reads a line; null where there is none. The other side may be nobody who is to be trusted with memory.</summary>
    /// <exception cref="IOException">It is longer than any answer.</exception>
    private static async Task<byte[]?> ReadLineAsync(NetworkStream stream, CancellationToken cancellation)
    {
        using var line = new MemoryStream();
        byte[] piece = new byte[PieceBytes];
        for (int read; (read = await stream.ReadAsync(piece, cancellation).ConfigureAwait(false)) > 0;)
        {
            int end = Array.IndexOf(piece, (byte)'\n', 0, read);
            line.Write(piece, 0, end < 0 ? read : end);
            if (end >= 0)
            {
                return line.ToArray();
            }

            if (line.Length > MostLineBytes)
            {
                throw new IOException("its answer has no end");
            }
        }

        return line.Length == 0 ? null : line.ToArray();
    }

    /// <summary>
    /// Sends a request. Who has no room for one more client says so at once and closes, before he has read it: that it could not
    /// be sent is told, and the answer is there all the same.
    /// </summary>
    private static async Task<IOException?> SendAsync(NetworkStream stream, ControlRequest request, CancellationToken cancellation)
    {
        byte[] line = [.. JsonSerializer.SerializeToUtf8Bytes(request, LineJson.Default.ControlRequest), (byte)'\n'];
        try
        {
            await stream.WriteAsync(line, cancellation).ConfigureAwait(false);
            return null;
        }
        catch (IOException e)
        {
            return e;
        }
    }

    /// <summary>Connects; null when nobody listens.</summary>
    private static async Task<Socket?> ConnectAsync(string path, CancellationToken cancellation)
    {
        while (true)
        {
            var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            try
            {
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellation).ConfigureAwait(false);
                return socket;
            }
            catch (SocketException e) when (e.SocketErrorCode is SocketError.WouldBlock or SocketError.TryAgain)
            {
                // Somebody listens, and many come at once: the queue of those that wait is full (unix(7): EAGAIN).
                socket.Dispose();
                await Task.Delay(s_queueRest, cancellation).ConfigureAwait(false);
            }
            catch (SocketException)
            {
                socket.Dispose();
                return null;
            }
            catch
            {
                socket.Dispose();
                throw;
            }
        }
    }
}
