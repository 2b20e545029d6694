// The control socket of a served volume: JSON lines, one request and one answer each. Only the user who serves may connect (mode 0600 in
// a directory of mode 0700). A client that sends nonsense gets an error and is closed; it cannot disturb the exports.

using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Polyblk.Cli.Output;
using Polyblk.Cli.State;

namespace Polyblk.Cli.Serving;

/// <summary>Listens on the control socket of a volume until it is disposed.</summary>
internal sealed class ControlServer : IAsyncDisposable
{
    private const int MaxLineChars = 64 << 10;
    private const int Backlog = 16;
    private static readonly TimeSpan s_answerLimit = TimeSpan.FromSeconds(5);

    private readonly Socket _listener;
    private readonly string _path;
    private readonly Func<ControlRequest, CancellationToken, Task<ControlResponse>> _handle;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<Task, bool> _clients = new();
    private readonly Task _accepting;

    private ControlServer(Socket listener, string path, Func<ControlRequest, CancellationToken, Task<ControlResponse>> handle, ILogger log)
    {
        _listener = listener;
        _path = path;
        _handle = handle;
        _log = log;
        _accepting = AcceptAsync();
    }

    public static string PathOf(StateDirectories directories, string volume) => Path.Combine(directories.RuntimeOf(volume), "control.sock");

    /// <summary>Starts listening. The caller holds the volume's lock, so a socket that is there is a dead process's.</summary>
    public static ControlServer Start(
        StateDirectories directories, string volume, Func<ControlRequest, CancellationToken, Task<ControlResponse>> handle, ILogger log)
    {
        string path = PathOf(directories, volume);
        File.Delete(path);
        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            listener.Bind(new UnixDomainSocketEndPoint(path));
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen(Backlog);
        }
        catch (Exception e) when (e is SocketException or ArgumentOutOfRangeException)
        {
            listener.Dispose();
            throw new CliException(
                ExitCode.HostLacks, $"The control socket {path} cannot be made: {e.Message} (a socket's path has at most 107 bytes; --state DIR moves it).", e);
        }

        return new ControlServer(listener, path, handle, log);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _accepting.ConfigureAwait(false);

        // A client that asked to stop gets its answer: only reading is cancelled.
        await Task.WhenAll(_clients.Keys).ConfigureAwait(false);
        File.Delete(_path);
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                Socket client = await _listener.AcceptAsync(_stop.Token).ConfigureAwait(false);
                Task serving = ServeAsync(client);
                _clients[serving] = true;
                _ = serving.ContinueWith(t => _clients.TryRemove(t, out _), TaskScheduler.Default);
            }
            catch (Exception e) when (e is OperationCanceledException or ObjectDisposedException)
            {
                return;
            }
            catch (SocketException e)
            {
                _log.LogWarning("The control socket refused a client: {Reason}", e.Message);
                await Task.Delay(TimeSpan.FromMilliseconds(100), CancellationToken.None).ConfigureAwait(false);
            }
        }
    }

    private async Task ServeAsync(Socket client)
    {
        try
        {
            await using var stream = new NetworkStream(client, ownsSocket: true);
            using var reader = new StreamReader(stream);
            while (await ReadLineAsync(reader).ConfigureAwait(false) is string line)
            {
                ControlResponse response = await AnswerAsync(line).ConfigureAwait(false);

                // Who does not read his answers must not hold up the end, which waits for all clients.
                using var limit = new CancellationTokenSource(s_answerLimit);
                byte[] answer = [.. JsonSerializer.SerializeToUtf8Bytes(response, LineJson.Default.ControlResponse), (byte)'\n'];
                await stream.WriteAsync(answer, limit.Token).ConfigureAwait(false);
            }
        }
        catch (Exception e) when (e is IOException or SocketException or ObjectDisposedException or OperationCanceledException)
        {
            _log.LogDebug("A control client left: {Reason}", e.Message);
        }
    }

    private async Task<string?> ReadLineAsync(StreamReader reader)
    {
        var line = new System.Text.StringBuilder();
        char[] one = new char[1];
        while (await reader.ReadAsync(one.AsMemory(), _stop.Token).ConfigureAwait(false) == 1 && one[0] != '\n')
        {
            if (line.Append(one[0]).Length > MaxLineChars)
            {
                throw new IOException("a line without end");
            }
        }

        return line.Length == 0 ? null : line.ToString();
    }

    private async Task<ControlResponse> AnswerAsync(string line)
    {
        try
        {
            ControlRequest? request = JsonSerializer.Deserialize(line, LineJson.Default.ControlRequest);
            return request is null
                ? new ControlResponse { Ok = false, Error = "An empty request.", ExitCode = ExitCode.Usage }
                : await _handle(request, _stop.Token).ConfigureAwait(false);
        }
        catch (JsonException e)
        {
            return new ControlResponse { Ok = false, Error = $"No request: {e.Message}", ExitCode = ExitCode.Usage };
        }
        catch (CliException e)
        {
            return new ControlResponse { Ok = false, Error = e.Message, ExitCode = e.Code };
        }
#pragma warning disable CA1031 // Whatever went wrong is the client's answer and in the log; the volume is served on.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogError(e, "The control request {Line} failed", line);
            return new ControlResponse { Ok = false, Error = e.Message, ExitCode = ExitCode.Failed };
        }
    }
}
