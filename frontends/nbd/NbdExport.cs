// An NBD export on a Unix socket: accepts clients, haggles with each on the control plane, and gives it to a reactor for
// transmission.
//
// Every connection is independent: its own reactor, its own queue on the device. All see the same device, and a flush covers the
// writes of all, so the export announces multi-conn. A client that breaks the protocol is logged and dropped; the others go on.
//
// Every connection counts from accept on (NbdAdmission), a handshake has a time, and memory is the lane's, of which there is one
// for each reactor: what a crowd of clients can take is bounded, whatever they do.

using System.Collections.Concurrent;
using System.Net.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Core.Reactors;

namespace Polyblk.Frontends.Nbd;

/// <summary>A volume served by NBD.</summary>
internal sealed class NbdExport : IMovableExport
{
    /// <summary>For the owner and the group.</summary>
    private const UnixFileMode SocketMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.GroupWrite;

    /// <summary>How long nothing is accepted after the process ran out of something.</summary>
    private static readonly TimeSpan ShortageRest = TimeSpan.FromMilliseconds(50);

    private readonly ExportSpec _spec;
    private readonly NbdLimits _limits;
    private readonly ReactorGroup _reactors;
    private readonly TimeProvider _clock;
    private readonly SessionLogs _logs;
    private readonly Action<SessionChange>? _onSession;
    private readonly UnixListener _listener;
    private readonly NbdAdmission _admission;
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentDictionary<int, Session> _sessions = new();
    private readonly ConcurrentDictionary<Reactor, NbdLane> _lanes = new();
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _pauseLock = new();
    private readonly Task _accepting;
    private ExportStatistics _past = new();
    private bool _paused;

    private NbdExport(ExportSpec spec, ExportContext context, NbdLimits limits, string path, UnixListener listener)
    {
        _spec = spec;
        _limits = limits;
        _reactors = context.Reactors;
        _clock = context.Clock;
        _onSession = context.OnSession;
        _logs = new SessionLogs(context.Logging.CreateLogger("nbd"), context.Clock);
        _listener = listener;
        _admission = new NbdAdmission(limits);
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
    public static NbdExport Start(ExportSpec spec, ExportContext context, NbdLimits limits)
    {
        string path = spec.SocketPath ?? Path.Combine(context.RuntimeDirectory, spec.Id.Replace('/', '-') + ".sock");
        try
        {
            UnixListener listener = spec.HandedOver is null
                ? UnixListener.Listen(path, SocketMode)
                : UnixListener.Adopt(path, HandedOverExport.Take(spec.HandedOver.Listener));
            return new NbdExport(spec, context, limits, path, listener);
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
        var list = new List<SessionStatistics>();
        foreach (Session session in _sessions.Values)
        {
            sum = session.Counters.AddTo(sum);
            inFlight += session.Connection.InFlight;
            reactors.Add(session.Reactor.Name);
            list.Add(session.Counters.Of(
                new SessionStatistics(session.Name, session.Peer) { Queues = 1, InFlight = session.Connection.InFlight }));
        }

        return sum with { Sessions = reactors.Count, SessionList = list, InFlight = inFlight, QueueReactors = reactors };
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

        if (mode == StopMode.IfIdle && _admission.Seated is > 0 and int clients)
        {
            throw new FrontendException($"{clients} NBD clients are connected to {Endpoint.Path}: disconnect them, or stop with --force.");
        }

        await StopAcceptingAsync().ConfigureAwait(false);
        _listener.Dispose();
        await EndSessionsAsync(cancellation).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    /// <remarks>
    /// The socket goes over; sessions end when what they asked is answered. Clients connect again, and wait in the socket until
    /// the successor accepts them.
    /// </remarks>
    public async Task<HandedOverExport> HandOverAsync()
    {
        ObjectDisposedException.ThrowIf(_stop.IsCancellationRequested, this);
        await StopAcceptingAsync().ConfigureAwait(false);
        var listener = new SafeFileHandle(_listener.Release(), ownsHandle: true);
        _listener.Dispose();
        await EndSessionsAsync(CancellationToken.None).ConfigureAwait(false);
        return new HandedOverExport(listener, []);
    }

    private async Task StopAcceptingAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        _listener.Wake();
        await _accepting.ConfigureAwait(false);
    }

    private async Task EndSessionsAsync(CancellationToken cancellation)
    {
        foreach (Session session in _sessions.Values)
        {
            await session.Reactor.InvokeAsync(session.Connection.Close).ConfigureAwait(false);
        }

        // Those, too, that are between the handshake and their session: they see the stop, and end.
        await Task.WhenAll(_admission.Guests.Select(g => g.Serving)).WaitAsync(cancellation).ConfigureAwait(false);
        _logs.Dispose();
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
            if (fd == -Errno.ECANCELED)
            {
                return;
            }

            if (fd >= 0)
            {
                Admit(fd);
                continue;
            }

            _logs.Door.LogError(
                "An NBD client on {Path} is refused: errno {Errno}{Remedy}",
                Endpoint.Path, -fd, fd == -Errno.EMFILE ? ", too few descriptors (raise the limit: ulimit -n)" : string.Empty);
            _ = Task.WhenAny(Task.Delay(ShortageRest, _clock, _stop.Token)).GetAwaiter().GetResult();
        }
    }

    private void Admit(int fd)
    {
        PeerCredentials peer = PeerCredentials.Of(fd);
        if (_spec.WhyNotLetIn(peer.UserId) is string stranger)
        {
            _ = Libc.close(fd);
            _logs.Door.LogWarning("An NBD client on {Path} is refused: {Reason}", Endpoint.Path, stranger);
            return;
        }

        NbdGuest guest = _admission.Enter(peer.ProcessId, out NbdGuest? crowdedOut);
        guest.Serving = Task.Run(() => ServeAsync(fd, guest, peer));
        if (crowdedOut is null)
        {
            return;
        }

        // Waiting for its end is what bounds the descriptors: no client comes faster than others go.
        crowdedOut.Dismiss();
        try
        {
            crowdedOut.Haggled.Wait(_stop.Token);
        }
        catch (OperationCanceledException)
        {
            // The export stops, and with it everybody.
        }
    }

    private async Task ServeAsync(int fd, NbdGuest guest, PeerCredentials peer)
    {
        using SessionLog log = _logs.Open($"NBD client {guest.Number} on {Endpoint.Path}", $"user {peer.UserId}");
        try
        {
            using var client = new Socket(new SafeSocketHandle(fd, ownsHandle: true));
            NbdSessionOptions? options = await HaggleAsync(client, guest).ConfigureAwait(false);
            if (options is not null)
            {
                await TransmitAsync(client, guest, peer, options, log).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            string reason = _stop.IsCancellationRequested ? "the export stops"
                : guest.IsDismissed ? $"process {peer.ProcessId} has more than {_limits.Handshakes} connections that say nothing"
                : $"it did not end its handshake in {_limits.HandshakeTime.TotalSeconds:0} s";
            LogDropped(log, guest, reason);
        }
        catch (Exception e) when (e is InvalidDataException or SocketException or IOException)
        {
            LogDropped(log, guest, e.Message);
        }
#pragma warning disable CA1031 // What fails for one client must be said, and must not keep the export from stopping.
        catch (Exception e)
#pragma warning restore CA1031
        {
            log.LogError(e, "NBD client {Number} on {Path} is dropped", guest.Number, Endpoint.Path);
        }
        finally
        {
            _admission.Leave(guest);
        }
    }

    /// <summary>The name of a client's session, as events have it.</summary>
    private string NameOf(NbdGuest guest) => $"{Id}#{guest.Number}";

    private void LogDropped(SessionLog log, NbdGuest guest, string reason) =>
        log.LogWarning("NBD client {Number} on {Path} is dropped: {Reason}", guest.Number, Endpoint.Path, reason);

    private async Task<NbdSessionOptions?> HaggleAsync(Socket client, NbdGuest guest)
    {
        using var late = new CancellationTokenSource(_limits.HandshakeTime, _clock);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token, guest.Dismissal, late.Token);
        var handshake = new NbdHandshake(client, Describe(), () => _admission.TakeSeat(guest));
        return await handshake.RunAsync(limit.Token).ConfigureAwait(false);
    }

    private async Task TransmitAsync(
        Socket client, NbdGuest guest, PeerCredentials peer, NbdSessionOptions options, SessionLog log)
    {
        client.Blocking = false;
        Reactor reactor = _reactors.Assign();
        try
        {
            var counters = new NbdCounters(reactor);
            int fd = (int)client.SafeHandle.DangerousGetHandle();
            string who = $"user {peer.UserId}, process {peer.ProcessId}";
            Session session = await reactor.InvokeAsync(() => Connect(reactor, fd, guest, who, options, counters))
                .ConfigureAwait(false);
            NbdConnection connection = session.Connection;
            log.LogInformation(
                "NBD client {Number} on {Path}: {Options}, on {Reactor}", guest.Number, Endpoint.Path, options, reactor.Name);
            _onSession?.Invoke(new SessionChange(Id, NameOf(guest), who, WhyGone: null));
            await connection.Closed.ConfigureAwait(false);
            await reactor.InvokeAsync(() => Disconnect(reactor, connection)).ConfigureAwait(false);
            Unregister(guest, session);
            string why = connection.Bug?.Message ?? connection.Fault ?? "the client left";
            _onSession?.Invoke(new SessionChange(Id, NameOf(guest), who, why));
            if (connection.Bug is not null)
            {
                log.LogError(
                    connection.Bug, "NBD client {Number} on {Path} is dropped: this is a bug", guest.Number, Endpoint.Path);
            }
            else if (connection.Fault is not null)
            {
                LogDropped(log, guest, connection.Fault);
            }
        }
        finally
        {
            _reactors.Release(reactor);
        }
    }

    /// <summary>
    /// On the reactor's thread. The session is known before its first request is taken: who asks does not miss it.
    /// </summary>
    private Session Connect(
        Reactor reactor, int fd, NbdGuest guest, string peer, NbdSessionOptions options, NbdCounters counters)
    {
        // Once the export stops, nobody may open the device any more.
        _stop.Token.ThrowIfCancellationRequested();
        if (!_lanes.TryGetValue(reactor, out NbdLane? lane))
        {
            long memory = Math.Max(_limits.LeastLaneBytes, _limits.BudgetBytes / _reactors.Reactors.Count);
            _lanes[reactor] = lane = new NbdLane(reactor, memory, _limits.StallTime);
        }

        try
        {
            var connection = new NbdConnection(lane, reactor, _spec.Device, fd, options, ReadOnly, counters);
            var session = new Session(NameOf(guest), peer, reactor, connection, counters);
            Register(guest.Number, session);
            return session;
        }
        finally
        {
            LetGoIfEmpty(reactor, lane);
        }
    }

    /// <summary>On the reactor's thread.</summary>
    private void Disconnect(Reactor reactor, NbdConnection connection)
    {
        connection.Dispose();
        LetGoIfEmpty(reactor, _lanes[reactor]);
    }

    /// <summary>A reactor without connections keeps no memory of them.</summary>
    private void LetGoIfEmpty(Reactor reactor, NbdLane lane)
    {
        if (lane.IsEmpty)
        {
            _lanes.TryRemove(reactor, out _);
            lane.Dispose();
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

    private void Unregister(NbdGuest guest, Session session)
    {
        lock (_pauseLock)
        {
            _past = session.Counters.AddTo(_past);
            _sessions.TryRemove(guest.Number, out _);
        }

        _admission.LeaveSeat(guest);
    }

    private NbdExportInfo Describe()
    {
        BlockLimits limits = _spec.Device.Limits;
        NbdTransmissionFlags flags = NbdTransmissionFlags.HasFlags | NbdTransmissionFlags.SendFlush | NbdTransmissionFlags.SendFua
            | NbdTransmissionFlags.CanMultiConn;
        if (ReadOnly)
        {
            flags |= NbdTransmissionFlags.ReadOnly;
        }
        else
        {
            flags |= NbdTransmissionFlags.SendWriteZeroes | (limits.Discard ? NbdTransmissionFlags.SendTrim : 0);
        }

        // The preferred size is a power of two of at least 4096 by the specification; a stripe of 5 data drives is none, a chunk
        // is.
        uint preferred = (uint)Math.Clamp(int.IsPow2(limits.MinimumIoSize) ? limits.MinimumIoSize : 4096, 4096, NbdProtocol.MaxRequestBytes);
        return new NbdExportInfo(
            _spec.VolumeName, $"polyblk volume {_spec.VolumeName}", _spec.Device.SizeBytes, flags, (uint)limits.LogicalBlockSize, preferred);
    }

    /// <summary>A client in its transmission phase.</summary>
    private sealed class Session(string name, string peer, Reactor reactor, NbdConnection connection, NbdCounters counters)
    {
        public string Name { get; } = name;

        public string Peer { get; } = peer;

        public Reactor Reactor { get; } = reactor;

        public NbdConnection Connection { get; } = connection;

        public NbdCounters Counters { get; } = counters;
    }
}
