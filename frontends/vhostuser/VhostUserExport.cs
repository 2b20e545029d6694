// A volume behind a Unix socket. Each connection is a session of its own on the same device; sessions come and go on their own.

using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Block;
using Polyblk.Core.Interop;
using Polyblk.Virtio;

namespace Polyblk.Frontends.VhostUser;

/// <summary>An export with its listening socket and its sessions.</summary>
internal sealed class VhostUserExport : IMovableExport
{
    /// <summary>How long a connection waits for the end of a session that was asked to end.</summary>
    private static readonly TimeSpan EndingLimit = TimeSpan.FromSeconds(5);

    /// <summary>How long nothing is accepted after the process ran out of something.</summary>
    private static readonly TimeSpan ShortageRest = TimeSpan.FromMilliseconds(100);

    private const string TooMany = "there are as many sessions as there may be (--max-sessions)";

    private readonly ExportSpec _spec;
    private readonly SessionContext _context;
    private readonly UnixListener _listener;
    private readonly Thread _acceptor;
    private readonly Lock _lock = new();
    private readonly List<VhostUserSession> _sessions = [];
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _stopped = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _sessionCount;
    private bool _drained;
    private bool _stopping;

    /// <summary>Starts to listen.</summary>
    /// <exception cref="FrontendException">The socket cannot be made.</exception>
    public VhostUserExport(ExportSpec spec, ExportContext context, VhostUserOptions options, string socketPath)
    {
        _spec = spec;
        Id = spec.Id;
        var logs = new SessionLogs(context.Logging.CreateLogger("vhost-user"), context.Clock);
        var virtio = new VirtioBlkDeviceOptions
        {
            Serial = spec.Serial,
            ReadOnly = spec.ReadOnly,
            Queues = options.Queues,
            QueueSize = spec.QueueSize ?? 0,
            OfferPacked = options.Packed,
            OfferEventIdx = options.EventIdx,
        };
        _context = new SessionContext(spec.Device, virtio, options, context.Reactors, new QueueTotals(), logs, context.Clock)
        {
            OnChange = context.OnSession is not { } tell ? null
                : (name, peer, why) => tell(new SessionChange(Id, name, peer, why)),
        };
        try
        {
            // Made once here, so that a serial or a limit that is not possible is an error of the command and not of the first
            // session.
            _ = new VirtioBlkDevice(spec.Device, virtio);
            _listener = spec.HandedOver is null
                ? UnixListener.Listen(socketPath, options.SocketMode, takesDescriptors: true)
                : UnixListener.Adopt(socketPath, HandedOverExport.Take(spec.HandedOver.Listener));
        }
        catch (Exception e) when (e is IOException or ArgumentException or UnauthorizedAccessException)
        {
            throw new FrontendException(e.Message, e);
        }

        Endpoint = new ExportEndpoint(EndpointKind.UnixSocket, socketPath);
        AttachCommands = AttachCommandList.Make(spec.Id, socketPath, options);
        Notes = MakeNotes(spec, options, context.Reactors.Reactors.Count);
        foreach (HandedOverSession session in spec.HandedOver?.Sessions ?? [])
        {
            Add(HandedOverExport.Take(session.Connection), session);
        }

        _acceptor = new Thread(Accept, 256 << 10) { IsBackground = true, Name = "vhost-user" };
        _acceptor.Start();
    }

    public string Id { get; }

    public string Frontend => VhostUserFrontend.FrontendName;

    public ExportEndpoint Endpoint { get; }

    public IReadOnlyList<AttachCommand> AttachCommands { get; }

    public IReadOnlyList<string> Notes { get; }

    public Task Completion => _completion.Task;

    public ExportStatistics GetStatistics()
    {
        (VirtioBlkQueueStatistics sum, IReadOnlyList<string> reactors) = _context.Totals.Read();
        VhostUserSession[] sessions;
        lock (_lock)
        {
            sessions = [.. _sessions];
        }

        return new ExportStatistics
        {
            Sessions = sessions.Length,
            SessionList = [.. sessions.Select(StatisticsOf)],
            Latencies = sum.Latencies,
            Reads = sum.Reads,
            ReadBytes = sum.ReadBytes,
            Writes = sum.Writes,
            WriteBytes = sum.WriteBytes,
            Flushes = sum.Flushes,
            Discards = sum.Discards,
            Errors = sum.Errors,
            Notifications = sum.Notifications,
            InFlight = sum.InFlight,
            QueueReactors = reactors,
        };
    }

    private SessionStatistics StatisticsOf(VhostUserSession session)
    {
        (VirtioBlkQueueStatistics sum, int queues) = _context.Totals.Read(session.Name);
        return new SessionStatistics(session.Name, session.Peer)
        {
            Queues = queues,
            InFlight = sum.InFlight,
            Reads = sum.Reads,
            ReadBytes = sum.ReadBytes,
            Writes = sum.Writes,
            WriteBytes = sum.WriteBytes,
            Flushes = sum.Flushes,
            Discards = sum.Discards,
            Errors = sum.Errors,
            Latencies = sum.Latencies,
        };
    }

    /// <summary>The configuration's capacity is read from the device; the front-ends are told to read it again.</summary>
    public Task ResizeAsync(CancellationToken cancellation) => ForEachSession(s => s.SendConfigChange(), cancellation);

    public Task DrainAsync(CancellationToken cancellation)
    {
        lock (_lock)
        {
            _drained = true;
        }

        return ForEachSession(s => s.PauseAsync(), cancellation);
    }

    public Task ResumeAsync(CancellationToken cancellation)
    {
        lock (_lock)
        {
            _drained = false;
        }

        return ForEachSession(s => s.Resume(), cancellation);
    }

    /// <summary>
    /// All modes end the same way, since a front-end keeps what was not yet taken in its rings and, when it reconnects, goes on
    /// with the successor: what was taken is answered, the connections are closed, the socket is removed.
    /// </summary>
    public async Task StopAsync(StopMode mode, CancellationToken cancellation)
    {
        VhostUserSession[] sessions;
        bool first;
        lock (_lock)
        {
            first = !_stopping;
            _stopping = true;
            sessions = [.. _sessions];
        }

        if (!first)
        {
            await Completion.WaitAsync(cancellation).ConfigureAwait(false);
            return;
        }

        _listener.Wake();
        _stopped.TrySetResult();
        foreach (VhostUserSession session in sessions)
        {
            session.Close();
        }

        // Goes on when the caller no longer waits: what began to stop must end.
        await FinishStopAsync(sessions).WaitAsync(cancellation).ConfigureAwait(false);
    }

    private async Task FinishStopAsync(VhostUserSession[] sessions)
    {
        await Task.WhenAll(sessions.Select(s => s.Ended)).ConfigureAwait(false);
        await Task.Run(_acceptor.Join).ConfigureAwait(false);
        _listener.Dispose();
        _context.Logs.Dispose();
        _completion.TrySetResult();
    }

    /// <summary>Who connects meanwhile waits in the socket, which goes over.</summary>
    public async Task<HandedOverExport> HandOverAsync()
    {
        _listener.Wake();
        await Task.Run(_acceptor.Join).ConfigureAwait(false);
        VhostUserSession[] sessions;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_stopping, this);
            _stopping = true;
            sessions = [.. _sessions];
        }

        HandedOverSession?[] luggage = await Task.WhenAll(sessions.Select(s => s.MoveAsync())).ConfigureAwait(false);
        var listener = new SafeFileHandle(_listener.Release(), ownsHandle: true);
        _listener.Dispose();
        _stopped.TrySetResult();
        _context.Logs.Dispose();
        _completion.TrySetResult();
        return new HandedOverExport(listener, [.. luggage.OfType<HandedOverSession>()]);
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync(StopMode.Force, CancellationToken.None).ConfigureAwait(false);
    }

    private void Accept()
    {
        while (true)
        {
            int fd = _listener.Accept();
            if (fd == -Errno.ECANCELED)
            {
                return;
            }

            if (fd < 0)
            {
                // Too few descriptors, mostly: the listener has refused the connection. Slowly, for there is nothing better to
                // do.
                _context.Logs.Door.LogWarning(
                    "{Export}: a connection is refused (errno {Errno}): raise the limit of descriptors (ulimit -n)", Id, -fd);
                _ = EndsWithin(_stopped.Task, ShortageRest);
                continue;
            }

            Begin(fd);
        }
    }

    private void Begin(int fd)
    {
        PeerCredentials peer = PeerCredentials.Of(fd);
        if (_spec.WhyNotLetIn(peer.UserId) is string stranger)
        {
            Refuse(fd, stranger);
            return;
        }

        DescriptorCloser closer = DescriptorCloser.OfUser(peer.UserId);
        if (closer.IsFull)
        {
            Refuse(fd, closer.WhyFull);
            return;
        }

        // Sessions that were asked to end hold descriptors and a thread until they have: not too many of them at once.
        for (Task? ending = EndingIfMany(); ending is not null; ending = EndingIfMany())
        {
            if (!EndsWithin(ending, EndingLimit))
            {
                Refuse(fd, TooMany);
                return;
            }
        }

        lock (_lock)
        {
            string? refusal = _stopping ? "the export stops" : WhyNoPlace(peer.ProcessId);
            if (refusal is not null)
            {
                Refuse(fd, refusal);
                return;
            }

            Add(fd, predecessor: null);
        }
    }

    private void Add(int fd, HandedOverSession? predecessor)
    {
        lock (_lock)
        {
            VhostUserSession session;
            try
            {
                session = new VhostUserSession(_context, $"{Id}#{++_sessionCount}", fd, _drained, Forget, predecessor);
            }
            catch (IOException e)
            {
                _context.Logs.Door.LogWarning("{Export}: a connection is refused: {Reason}", Id, e.Message);
                return;
            }

            _sessions.Add(session);
            session.Run();
        }
    }

    /// <summary>Waits for a task or for a time; the listening thread has nothing else to do. Whether the task ended.</summary>
    private bool EndsWithin(Task task, TimeSpan limit)
    {
        using var waiting = new CancellationTokenSource();
        Task first = Task.WhenAny(task, Task.Delay(limit, _context.Clock, waiting.Token)).GetAwaiter().GetResult();
        waiting.Cancel();
        return ReferenceEquals(first, task);
    }

    private void Refuse(int fd, string reason)
    {
        DescriptorCloser.OfPeer(fd).CloseConnection(fd);
        _context.Logs.Door.LogWarning("{Export}: a connection is refused: {Reason}", Id, reason);
    }

    /// <summary>The end of one of those that were asked to end, when there are as many of them as sessions may be.</summary>
    private Task? EndingIfMany()
    {
        lock (_lock)
        {
            List<VhostUserSession> ending = [.. _sessions.Where(s => s.IsEvicted)];
            return ending.Count < _context.Options.MaxSessions ? null : Task.WhenAny(ending.Select(s => s.Ended));
        }
    }

    /// <summary>
    /// Why there is no place for one more session of a process, or null. Where all places are taken, or all that the process may
    /// have, one that has not proved itself is asked to end in its favour: first one that says nothing, then one of the user who
    /// has the most such sessions, the oldest of them. One that is asked has given up its place.
    /// </summary>
    private string? WhyNoPlace(int process)
    {
        List<VhostUserSession> staying = [.. _sessions.Where(s => !s.IsEvicted)];
        List<VhostUserSession> own = [.. staying.Where(s => s.ProcessId == process)];
        bool hasShare = own.Count >= _context.Options.MaxSessionsOfProcess;
        if (!hasShare && staying.Count < _context.Options.MaxSessions)
        {
            return null;
        }

        List<VhostUserSession> unproved = [.. (hasShare ? own : staying).Where(s => s.Stage != SessionStage.InUse)];
        Dictionary<string, int> perUser = unproved.CountBy(s => s.Source).ToDictionary();
        VhostUserSession? victim = unproved.OrderBy(s => s.Stage).ThenByDescending(s => perUser[s.Source]).FirstOrDefault();
        victim?.Evict();
        return victim is not null ? null
            : hasShare && own.Count < _context.Options.MaxSessions
                ? $"process {process} has {own.Count} sessions, and no process gets more: the others are for others (--max-sessions)"
                : TooMany;
    }

    private void Forget(VhostUserSession session)
    {
        lock (_lock)
        {
            _sessions.Remove(session);
        }

        _context.Totals.SessionEnded(session.Name);
    }

    /// <summary>Does something with all sessions at once, on threads of the pool: a session may be busy with a message.</summary>
    private Task ForEachSession(Action<VhostUserSession> action, CancellationToken cancellation) => ForEachSession(
        session =>
        {
            action(session);
            return Task.CompletedTask;
        },
        cancellation);

    private Task ForEachSession(Func<VhostUserSession, Task> action, CancellationToken cancellation)
    {
        VhostUserSession[] sessions;
        lock (_lock)
        {
            sessions = [.. _sessions];
        }

        return Task.WhenAll(sessions.Select(s => Task.Run(() => action(s), CancellationToken.None))).WaitAsync(cancellation);
    }

    private static List<string> MakeNotes(ExportSpec spec, VhostUserOptions options, int reactors)
    {
        var notes = new List<string>
        {
            $"Up to {options.Queues} queues a session, spread over {reactors} reactor{(reactors == 1 ? string.Empty : "s")}; the front-end chooses how many it uses.",
            "Data moves between the guest's memory and the device without a copy"
                + (spec.Device.Limits.NeedsCpuAccessForWrites ? ", except that parity writes read it once into staging buffers." : "."),
        };
        if (spec.ReadOnly || spec.Device.Limits.ReadOnly)
        {
            notes.Add("Read-only: writes are refused.");
        }

        return notes;
    }
}
