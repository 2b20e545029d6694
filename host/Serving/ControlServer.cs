// The control socket of a served volume: JSON lines, one request and one answer each. Only the user who serves may connect (mode
// 0600 in a directory of mode 0700). A client that sends nonsense gets an error and is closed; it cannot disturb the exports.
//
// Every client counts from accept on. A request has its time: a client that says nothing, or a byte now and then, is closed.
// Where all places are taken one more client takes the place of the one that has said nothing for longest; where all of them wait
// for an answer the newcomer is told so. Answers are not cut short: a stop takes as long as it takes. Who changed something is in
// the log.

using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Frontends;
using Polyblk.Host.Model;
using Polyblk.Host.State;

namespace Polyblk.Host.Serving;

/// <summary>What the clients of a control socket may use together.</summary>
public sealed record ControlLimits
{
    /// <summary>Clients at a time: people and scripts, each for one request.</summary>
    public int Clients { get; init; } = 32;

    /// <summary>Longest wait for a whole request, from the connection or from the answer before.</summary>
    public TimeSpan RequestTime { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Longest time in which a client takes an answer.</summary>
    public TimeSpan AnswerTime { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>Listens on the control socket of a volume until it is disposed.</summary>
public sealed class ControlServer : IAsyncDisposable
{
    /// <summary>Longest request in bytes.</summary>
    internal const int MaxLineBytes = 64 << 10;

    private static readonly TimeSpan s_shortageRest = TimeSpan.FromMilliseconds(50);

    private readonly UnixListener _listener;
    private readonly ControlLimits _limits;
    private readonly Func<ControlRequest, CancellationToken, Task<ControlResponse>> _handle;
    private readonly SessionLogs _logs;
    private readonly CancellationTokenSource _stop = new();
    private readonly Lock _lock = new();
    private readonly LinkedList<Client> _clients = [];
    private readonly Task _accepting;

    private ControlServer(
        UnixListener listener,
        ControlLimits limits,
        Func<ControlRequest, CancellationToken, Task<ControlResponse>> handle,
        ILogger log)
    {
        _listener = listener;
        _limits = limits;
        _handle = handle;
        _logs = new SessionLogs(log);
        _accepting = Task.Factory.StartNew(Accept, TaskCreationOptions.LongRunning);
    }

    public static string PathOf(StateDirectories directories, string volume) => Path.Combine(directories.RuntimeOf(volume), "control.sock");

    /// <summary>Starts listening. The caller holds the volume's lock, so a socket that is there is a dead process's.</summary>
    public static ControlServer Start(
        StateDirectories directories,
        string volume,
        Func<ControlRequest, CancellationToken, Task<ControlResponse>> handle,
        ILogger log,
        ControlLimits? limits = null)
    {
        return new ControlServer(
            OwnSocket.Listen(PathOf(directories, volume), "The control socket"), limits ?? new ControlLimits(), handle, log);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Wake();
        await _accepting.ConfigureAwait(false);
        _listener.Dispose();

        // A client that asked to stop gets its answer: only reading is cancelled.
        Task[] ends;
        lock (_lock)
        {
            ends = [.. _clients.Select(c => c.Serving)];
        }

        await Task.WhenAll(ends).ConfigureAwait(false);
        _logs.Dispose();
        _stop.Dispose();
    }

    /// <summary>Runs on a thread of its own until the listener is woken.</summary>
    private void Accept()
    {
        while (true)
        {
            int fd = _listener.Accept();
            if (fd == -Errno.ECANCELED)
            {
                return;
            }

            if (fd >= 0)
            {
                Admit(fd);
                continue;
            }

            _logs.Door.LogWarning(
                "A client of the control socket is refused: errno {Errno}{Remedy}",
                -fd, fd == -Errno.EMFILE ? ", too few descriptors (raise the limit: ulimit -n)" : string.Empty);
            _stop.Token.WaitHandle.WaitOne(s_shortageRest);
        }
    }

    private void Admit(int fd)
    {
        var client = new Client(fd);
        Client? crowdedOut = null;
        bool full;
        lock (_lock)
        {
            full = _clients.Count >= _limits.Clients;
            if (full)
            {
                // Those that ask are in the order in which they began to be silent.
                crowdedOut = _clients.FirstOrDefault(c => !c.IsAnswered);
                crowdedOut?.IsChosenToGo = true;
            }

            if (!full || crowdedOut is not null)
            {
                client.Place = _clients.AddLast(client);
            }
        }

        if (client.Place is null)
        {
            client.Serving = Task.Run(() => RefuseAsync(client));
            client.Serving.Wait();
            return;
        }

        client.Serving = Task.Run(() => ServeAsync(client));
        if (crowdedOut is not null)
        {
            // Waiting for it is what bounds the descriptors.
            crowdedOut.Dismiss();
            crowdedOut.Away.Wait();
        }
    }

    private async Task RefuseAsync(Client client)
    {
        using var socket = client.TakeSocket();
        try
        {
            await SendAsync(socket, ControlResponse.Refuse(
                new Refusal(RefusalKind.Refused, $"{_limits.Clients} requests are being answered already.", "Ask again when one is done."))).ConfigureAwait(false);
        }
        catch (Exception e) when (e is SocketException or OperationCanceledException)
        {
            _logs.Door.LogDebug("A control client that was refused left: {Reason}", e.Message);
        }
    }

    private async Task ServeAsync(Client client)
    {
        using SessionLog log = _logs.Open("a control client", "the control socket");
        try
        {
            using Socket socket = client.TakeSocket();
            var reader = new LineReader(socket);
            while (await ReadRequestAsync(client, reader).ConfigureAwait(false) is string line)
            {
                await SendAsync(socket, await AnswerAsync(line, _handle, log, client.Peer, _stop.Token).ConfigureAwait(false))
                    .ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            log.LogDebug("A control client was closed: it sent no request in time, or did not take its answer");
        }
        catch (Exception e) when (e is IOException or SocketException)
        {
            log.LogDebug("A control client left: {Reason}", e.Message);
        }
        finally
        {
            lock (_lock)
            {
                _clients.Remove(client.Place!);
            }

            client.End();
        }
    }

    private async Task<string?> ReadRequestAsync(Client client, LineReader reader)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token, client.Dismissal);
        limit.CancelAfter(_limits.RequestTime);
        lock (_lock)
        {
            client.IsAnswered = false;
            _clients.Remove(client.Place!);
            _clients.AddLast(client.Place!);
        }

        string? line = await reader.ReadAsync(MaxLineBytes, limit.Token).ConfigureAwait(false);
        lock (_lock)
        {
            client.IsAnswered = !client.IsChosenToGo;
        }

        // Who was chosen to go meanwhile goes: somebody waits for his place.
        return client.IsAnswered ? line : throw new OperationCanceledException();
    }

    private async Task SendAsync(Socket socket, ControlResponse response)
    {
        // Who does not read his answers must not hold up the end, which waits for all clients.
        using var limit = new CancellationTokenSource(_limits.AnswerTime);
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(response, LineJson.Default.ControlResponse);
        ReadOnlyMemory<byte> answer = (byte[])[.. json, (byte)'\n'];
        while (!answer.IsEmpty)
        {
            answer = answer[await socket.SendAsync(answer, limit.Token).ConfigureAwait(false)..];
        }
    }

    /// <summary>Answers one request, whatever its text is.</summary>
    internal static async Task<ControlResponse> AnswerAsync(
        string line, Func<ControlRequest, CancellationToken, Task<ControlResponse>> handle, ILogger log, PeerCredentials peer,
            CancellationToken stop)
    {
        ControlRequest? request = null;
        ControlResponse response = await AnswerAsync().ConfigureAwait(false);
        if (request is { IsChange: true })
        {
            log.LogInformation(
                "{Request}, asked for by user {User}, process {Process}: {Outcome}", request.Describe(), peer.UserId,
                    peer.ProcessId, response.Refusal?.Problem ?? "done");
        }

        return response;

        async Task<ControlResponse> AnswerAsync()
        {
            try
            {
                request = JsonSerializer.Deserialize(line, LineJson.Default.ControlRequest);
                return request is null
                    ? ControlResponse.Refuse(new Refusal(RefusalKind.Invalid, "An empty request."))
                    : await handle(request, stop).ConfigureAwait(false);
            }
            catch (JsonException e)
            {
                return ControlResponse.Refuse(new Refusal(RefusalKind.Invalid, $"No request: {e.Message}"));
            }
            catch (Exception e) when (Refusals.Of(e) is { } refusal)
            {
                return ControlResponse.Refuse(refusal);
            }
#pragma warning disable CA1031 // Whatever went wrong is the client's answer and in the log; the volume is served on.
            catch (Exception e)
#pragma warning restore CA1031
            {
                log.LogError(e, "The control request {Line} failed", line);
                return ControlResponse.Refuse(new Refusal(RefusalKind.Failed, e.Message));
            }
        }
    }

    /// <summary>A connection, from accept to its end.</summary>
#pragma warning disable CA1001 // The dismissal has no timer and no handle, and who dismisses may come after the end.
    private sealed class Client(int fd)
#pragma warning restore CA1001
    {
        private readonly CancellationTokenSource _dismissal = new();
        private readonly TaskCompletionSource _away = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public CancellationToken Dismissal => _dismissal.Token;

        /// <summary>Who is at the other end.</summary>
        public PeerCredentials Peer { get; } = PeerCredentials.Of(fd);

        /// <summary>Completes when its descriptor is closed.</summary>
        public Task Away => _away.Task;

        public LinkedListNode<Client>? Place { get; set; }

        /// <summary>Whether its request is being worked on.</summary>
        public bool IsAnswered { get; set; }

        /// <summary>Whether its place was given to another.</summary>
        public bool IsChosenToGo { get; set; }

        public Task Serving { get; set; } = Task.CompletedTask;

        public Socket TakeSocket() => new(new SafeSocketHandle(fd, ownsHandle: true));

        public void Dismiss() => _dismissal.Cancel();

        public void End() => _away.TrySetResult();
    }

    /// <summary>Lines of a socket.</summary>
    private sealed class LineReader(Socket socket)
    {
        private readonly byte[] _bytes = new byte[4096];
        private int _start;
        private int _end;

        /// <summary>The next line; null at the end of the connection, or for an empty line.</summary>
        /// <exception cref="IOException">It has more than <paramref name="maxBytes"/> bytes.</exception>
        public async Task<string?> ReadAsync(int maxBytes, CancellationToken cancellation)
        {
            var line = new MemoryStream();
            while (true)
            {
                int newline = _bytes.AsSpan(_start, _end - _start).IndexOf((byte)'\n');
                int length = newline < 0 ? _end - _start : newline;
                line.Write(_bytes, _start, length);
                _start += newline < 0 ? length : length + 1;
                if (line.Length > maxBytes)
                {
                    throw new IOException($"a request of more than {maxBytes} bytes");
                }

                if (newline < 0)
                {
                    _start = 0;
                    _end = await socket.ReceiveAsync(_bytes, cancellation).ConfigureAwait(false);
                }

                if (newline >= 0 || _end == 0)
                {
                    return line.Length == 0 ? null : Encoding.UTF8.GetString(line.GetBuffer(), 0, (int)line.Length);
                }
            }
        }
    }
}
