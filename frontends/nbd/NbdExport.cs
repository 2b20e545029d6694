// An NBD export on a Unix socket: accepts clients, haggles with each on the control plane, and gives it to a reactor for transmission.
//
// Every connection is independent: its own reactor, its own queue on the device. All see the same device, and a flush covers the
// writes of all, so the export announces multi-conn. A client that breaks the protocol is logged and dropped; the others go on.

using System.Collections.Concurrent;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Block;
using Polyblk.Core.Frontend;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;

namespace Polyblk.Frontends.Nbd;

/// <summary>A volume served by NBD.</summary>
internal sealed class NbdExport : IExport
{
    private const int MaxConnections = 256;

    /// <summary>For the owner and the group.</summary>
    private const UnixFileMode SocketMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    private static readonly TimeSpan HandshakeTimeout = TimeSpan.FromSeconds(30);

    private readonly ExportSpec _spec;
    private readonly ReactorGroup _reactors;
    private readonly ILogger _log;
    private readonly UnixListener _listener;
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<int, Session> _sessions = new();
    private readonly ConcurrentDictionary<int, Task> _clients = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _pauseLock = new();
    private readonly Task _accepting;
    private ExportStatistics _past = new();
    private bool _paused;
    private int _lastSession;

    private NbdExport(ExportSpec spec, ExportContext context, string path, UnixListener listener)
    {
        _spec = spec;
        _reactors = context.Reactors;
        _log = context.Logging.CreateLogger("nbd");
        _listener = listener;
        Endpoint = new ExportEndpoint(EndpointKind.UnixSocket, path);
        AttachCommands = NbdAttach.Build(spec, path);
        _accepting = Task.Factory.StartNew(Accept, TaskCreationOptions.LongRunning);
    }

    /// <inheritdoc/>
    public string Id => _spec.Id;

    /// <inheritdoc/>
    public string Frontend => NbdFrontend.FrontendName;

    /// <inheritdoc/>
    public ExportEndpoint Endpoint { get; }

    /// <inheritdoc/>
    public IReadOnlyList<AttachCommand> AttachCommands { get; }

    /// <inheritdoc/>
    public IReadOnlyList<string> Notes { get; } = ["NBD has no message for a changed size: clients see a resize when they connect again."];

    /// <inheritdoc/>
    public Task Completion => _completion.Task;

    private bool ReadOnly => _spec.ReadOnly || _spec.Device.Limits.ReadOnly;

    /// <summary>Binds the socket and starts accepting.</summary>
    /// <exception cref="FrontendException">The socket cannot be made.</exception>
    public static NbdExport Start(ExportSpec spec, ExportContext context)
    {
        string path = spec.SocketPath ?? Path.Combine(context.RuntimeDirectory, spec.Id.Replace('/', '-') + ".sock");
        try
        {
            return new NbdExport(spec, context, path, UnixListener.Listen(path, SocketMode));
        }
        catch (IOException e)
        {
            throw new FrontendException(e.Message, e);
        }
    }

    /// <inheritdoc/>
    public ExportStatistics GetStatistics()
    {
        ExportStatistics sum = _past;
        long inFlight = 0;
        var reactors = new List<string>();
        foreach (Session session in _sessions.Values)
        {
            sum = session.Counters.AddTo(sum);
            inFlight += session.Connection.InFlight;
            reactors.Add(session.Reactor.Name);
        }

        return sum with { Sessions = reactors.Count, InFlight = inFlight, QueueReactors = reactors };
    }

    /// <inheritdoc/>
    public Task ResizeAsync(CancellationToken cancellation) => Task.CompletedTask;

    /// <inheritdoc/>
    public async Task DrainAsync(CancellationToken cancellation)
    {
        Session[] sessions;
        lock (_pauseLock)
        {
            _paused = true;
            sessions = [.. _sessions.Values];
        }

        await Task.WhenAll(sessions.Select(s => s.Reactor.InvokeAsync(s.Connection.DrainAsync).Unwrap())).WaitAsync(cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task ResumeAsync(CancellationToken cancellation)
    {
        Session[] sessions;
        lock (_pauseLock)
        {
            _paused = false;
            sessions = [.. _sessions.Values];
        }

        await Task.WhenAll(sessions.Select(s => s.Reactor.InvokeAsync(s.Connection.Resume))).WaitAsync(cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task StopAsync(StopMode mode, CancellationToken cancellation)
    {
        if (_stop.IsCancellationRequested)
        {
            return;
        }

        if (mode == StopMode.IfIdle && !_sessions.IsEmpty)
        {
            throw new FrontendException($"{_sessions.Count} NBD clients are connected to {Endpoint.Path}: disconnect them, or stop with --force.");
        }

        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Wake();
        await _accepting.ConfigureAwait(false);
        _listener.Dispose();
        foreach (Session session in _sessions.Values)
        {
            await session.Reactor.InvokeAsync(session.Connection.Close).ConfigureAwait(false);
        }

        // Those, too, that are between the handshake and their session: they see the stop, and end.
        await Task.WhenAll(_clients.Values).WaitAsync(cancellation).ConfigureAwait(false);
        _completion.TrySetResult();
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        await StopAsync(StopMode.Force, CancellationToken.None).ConfigureAwait(false);
        _stop.Dispose();
    }

    /// <summary>Runs on a thread of its own until the listener is woken.</summary>
    private void Accept()
    {
        while (true)
        {
            int fd = _listener.Accept();
            if (fd >= 0)
            {
                int number = ++_lastSession;
                Task serving = ServeAsync(new Socket(new SafeSocketHandle(fd, ownsHandle: true)), number);
                _clients[number] = serving;
                _ = serving.ContinueWith(_ => _clients.TryRemove(number, out Task? ended), TaskScheduler.Default);
            }
            else if (fd == -Errno.ECANCELED)
            {
                return;
            }
            else
            {
                // Out of descriptors, most likely: wait for some to come back rather than spin.
                _log.LogError("Accepting an NBD client on {Path} failed: errno {Errno}", Endpoint.Path, -fd);
                _stop.Token.WaitHandle.WaitOne(TimeSpan.FromSeconds(1));
            }
        }
    }

    private async Task ServeAsync(Socket client, int number)
    {
        using (client)
        {
            try
            {
                NbdSessionOptions? options = await HaggleAsync(client).ConfigureAwait(false);
                if (options is not null && _sessions.Count < MaxConnections)
                {
                    await TransmitAsync(client, number, options).ConfigureAwait(false);
                }
            }
            catch (Exception e) when (e is InvalidDataException or SocketException or IOException or OperationCanceledException)
            {
                _log.LogWarning("NBD client {Number} on {Path} is dropped: {Reason}", number, Endpoint.Path, e.Message);
            }
#pragma warning disable CA1031 // What fails for one client must be said, and must not keep the export from stopping.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _log.LogError(e, "NBD client {Number} on {Path} is dropped", number, Endpoint.Path);
            }
        }
    }

    private async Task<NbdSessionOptions?> HaggleAsync(Socket client)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        limit.CancelAfter(HandshakeTimeout);
        return await new NbdHandshake(client, Describe()).RunAsync(limit.Token).ConfigureAwait(false);
    }

    private async Task TransmitAsync(Socket client, int number, NbdSessionOptions options)
    {
        client.Blocking = false;
        Reactor reactor = _reactors.Assign();
        try
        {
            var counters = new NbdCounters();
            int fd = (int)client.SafeHandle.DangerousGetHandle();
            NbdConnection connection = await reactor.InvokeAsync(() =>
            {
                // Once the export stops, nobody may open the device any more.
                _stop.Token.ThrowIfCancellationRequested();
                return new NbdConnection(reactor, _spec.Device, fd, options, ReadOnly, counters);
            }).ConfigureAwait(false);
            var session = new Session(reactor, connection, counters);
            Register(number, session);
            _log.LogInformation("NBD client {Number} on {Path}: {Options}, on {Reactor}", number, Endpoint.Path, options, reactor.Name);
            await connection.Closed.ConfigureAwait(false);
            await reactor.InvokeAsync(connection.Dispose).ConfigureAwait(false);
            Unregister(number, session);
            if (connection.Fault is not null)
            {
                throw new InvalidDataException(connection.Fault);
            }
        }
        finally
        {
            _reactors.Release(reactor);
        }
    }

    private void Register(int number, Session session)
    {
        lock (_pauseLock)
        {
            _sessions[number] = session;
            if (_paused)
            {
                _ = session.Reactor.InvokeAsync(session.Connection.DrainAsync);
            }
        }

        if (_stop.IsCancellationRequested)
        {
            _ = session.Reactor.InvokeAsync(session.Connection.Close);
        }
    }

    private void Unregister(int number, Session session)
    {
        lock (_pauseLock)
        {
            _past = session.Counters.AddTo(_past);
            _sessions.TryRemove(number, out _);
        }

    }

    private NbdExportInfo Describe()
    {
        BlockLimits limits = _spec.Device.Limits;
        NbdTransmissionFlags flags = NbdTransmissionFlags.HasFlags | NbdTransmissionFlags.SendFlush | NbdTransmissionFlags.SendFua
            | NbdTransmissionFlags.SendDf | NbdTransmissionFlags.CanMultiConn;
        if (ReadOnly)
        {
            flags |= NbdTransmissionFlags.ReadOnly;
        }
        else
        {
            flags |= NbdTransmissionFlags.SendWriteZeroes | (limits.Discard ? NbdTransmissionFlags.SendTrim : 0);
        }

        // The preferred size is a power of two of at least 4096 by the specification; a stripe of 5 data drives is none, a chunk is.
        uint preferred = (uint)Math.Clamp(int.IsPow2(limits.MinimumIoSize) ? limits.MinimumIoSize : 4096, 4096, NbdProtocol.MaxRequestBytes);
        return new NbdExportInfo(
            _spec.VolumeName, $"polyblk volume {_spec.VolumeName}", _spec.Device.SizeBytes, flags, (uint)limits.LogicalBlockSize, preferred);
    }

    /// <summary>A client in its transmission phase.</summary>
    private sealed class Session(Reactor reactor, NbdConnection connection, NbdCounters counters)
    {
        public Reactor Reactor { get; } = reactor;

        public NbdConnection Connection { get; } = connection;

        public NbdCounters Counters { get; } = counters;
    }
}
