// One connection of a front-end: a thread that reads messages, and the back-end that handles them.
//
// A session counts from the moment when its connection was accepted, and has to prove itself: one that says nothing is ended
// after a while, and one that has not run a ring is ended when another connection needs the place (VhostUserExport).
//
// The thread blocks in poll between messages. Other threads that need the back-end (drain, resize) take the session's lock, which
// is held while a message is handled. Whatever goes wrong with a message ends this session and nothing else: the queues are
// drained, descriptors and mappings are let go, the reason is logged. What was taken from a ring is always answered before its
// memory is unmapped.
//
// A session may move to another process (SessionScript): it stops as for its end, but keeps its connection, which goes over with
// what a new session needs to know. The front-end does not notice.
//
// The thread waits for no file of the front-end: what it gives is looked at without asking its file system, and closed by a
// DescriptorCloser.

using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Polyblk.Core.Interop;
using Polyblk.Virtio.VhostUser;

namespace Polyblk.Frontends.VhostUser;

/// <summary>How far a session has come.</summary>
internal enum SessionStage
{
    /// <summary>No message has come.</summary>
    Silent,

    /// <summary>It talks, but no ring has run yet.</summary>
    Talking,

    /// <summary>A ring runs, or did: there is a guest with a disk.</summary>
    InUse,
}

/// <summary>A front-end's session.</summary>
[SuppressMessage("Design", "CA1001", Justification = "The session's own thread lets go of both when the session ends.")]
internal sealed class VhostUserSession
{
    private const int StackBytes = 256 << 10;
    private const string TheExportStops = "the export stops";

    private readonly Action<VhostUserSession> _onEnded;
    private readonly Action<string, string, string?>? _onChange;
    private readonly VhostUserChannel _channel;
    private readonly DescriptorCloser _closer;
    private readonly Backend _backend;
    private readonly Lock _lock = new();
    private readonly Lock _channelLock = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _closed;
    private bool _channelClosed;
    private readonly SessionLog _log;
    private readonly ITimer _silence;
    private readonly HandedOverSession? _predecessor;
    private HandedOverSession? _luggage;
    private volatile bool _isToMove;
    private volatile bool _isToEnd;
    private bool _isAtMessage;
    private volatile string? _offence;
    private volatile bool _hasSpoken;

    /// <summary>Takes a connected descriptor over; <see cref="Run"/> starts.</summary>
    /// <param name="context">What the sessions share.</param>
    /// <param name="name">For messages.</param>
    /// <param name="fd">The connection.</param>
    /// <param name="paused">Whether queues start without taking requests: the export is drained.</param>
    /// <param name="onEnded">Called on the session's thread when it has let go of everything.</param>
    /// <param name="predecessor">The session in another process that goes on here, or null; it is this one's from here
    /// on.</param>
    public VhostUserSession(
        SessionContext context, string name, int fd, bool paused, Action<VhostUserSession> onEnded, HandedOverSession? predecessor = null)
    {
        _onEnded = onEnded;
        _predecessor = predecessor;
        _onChange = context.OnChange;
        Name = name;
        var socket = new UnixSocket(fd);
        _closer = socket.Closer;
        _channel = new VhostUserChannel(socket);
        ProcessId = _channel.Peer.ProcessId;
        Source = $"user {_channel.Peer.UserId}";
        _log = context.Logs.Open(name, Source);
        _backend = new Backend(context, name, paused, _log, OnOffence);
        _silence = context.Clock.CreateTimer(
            static session => ((VhostUserSession)session!).EndIfSilent(), this, SessionContext.SilenceLimit,
            Timeout.InfiniteTimeSpan);
    }

    /// <summary>Who is at the other end.</summary>
    public string Source { get; }

    /// <summary>The same, with its process where that is known.</summary>
    public string Peer => ProcessId == 0 ? Source : $"{Source}, process {ProcessId}";

    /// <summary>The process that connected; 0 for those of another PID namespace.</summary>
    public int ProcessId { get; }

    /// <summary>How far it has come. Any thread.</summary>
    public SessionStage Stage =>
        _backend.HasRun ? SessionStage.InUse : _hasSpoken ? SessionStage.Talking : SessionStage.Silent;

    /// <summary>Whether it was asked to end for a reason of the export's. Any thread.</summary>
    public bool IsEvicted => _offence is not null;

    /// <summary>For messages.</summary>
    public string Name { get; }

    /// <summary>Ends when the session has let go of everything.</summary>
    public Task Ended => _ended.Task;

    /// <summary>Starts the session's thread; where there can be none, the session ends at once.</summary>
    public void Run()
    {
        try
        {
            new Thread(Main, StackBytes) { IsBackground = true, Name = Name }.Start();
        }
        catch (Exception e) when (e is OutOfMemoryException or ThreadStartException)
        {
            // Not for lack of memory, mostly: the runtime says so when the kernel refuses a thread.
            End("no thread can be started for it; raise the limit of threads (ulimit -u, TasksMax= of systemd)");
        }
    }

    /// <summary>Asks the session to end; it drains first. See <see cref="Ended"/>. Any thread.</summary>
    public void Close()
    {
        // Who sends without a pause keeps its thread from waiting, and so from being woken.
        _isToEnd = true;

        // Not the session's lock, which is held while a message is handled: this must not wait for a drain.
        lock (_channelLock)
        {
            if (!_channelClosed)
            {
                _channel.Wake();
            }
        }
    }

    /// <summary>
    /// Asks the session to stop, and to give away what a successor in another process needs to go on with it. Where it cannot, it
    /// ends as by <see cref="Close"/>. Any thread.
    /// </summary>
    /// <returns>What goes over, or null; the caller owns it.</returns>
    public async Task<HandedOverSession?> MoveAsync()
    {
        _isToMove = true;
        Close();
        await Ended.ConfigureAwait(false);
        return _luggage;
    }

    /// <summary>Ends the session to make room for another. Any thread.</summary>
    public void Evict() => OnOffence("no ring of it had run, and another connection needed its place (--max-sessions)");

    /// <summary>
    /// Stops taking requests; the task ends when none is in flight. The session's lock is not held so long: a drive that does not
    /// answer must not keep <see cref="Resume"/> from it. Any thread.
    /// </summary>
    public Task PauseAsync()
    {
        Task drained = Task.CompletedTask;
        WithBackend(backend => drained = backend.PauseAsync());
        return drained;
    }

    /// <summary>Takes requests again. Any thread.</summary>
    public void Resume() => WithBackend(static backend => backend.Resume());

    /// <summary>Tells the front-end of a new size. Any thread.</summary>
    public void SendConfigChange() => WithBackend(static backend => backend.SendConfigChange());

    /// <summary>The front-end did harm by other means than a message.</summary>
    private void OnOffence(string offence)
    {
        _offence ??= offence;
        Close();
    }

    private void EndIfSilent()
    {
        if (!_hasSpoken)
        {
            OnOffence($"it said nothing for {SessionContext.SilenceLimit.TotalSeconds} s");
        }
    }

    private void WithBackend(Action<Backend> action)
    {
        lock (_lock)
        {
            if (!_closed)
            {
                action(_backend);
            }
        }
    }

    private void Main()
    {
        _log.LogInformation("{Session}: {How}", Name, _predecessor is null ? "attached" : "taken over from another process");
        _onChange?.Invoke(Name, Peer, null);
        string reason;
        bool mayMove = false;
        try
        {
            GoOn();
            reason = ReadMessages();
            mayMove = _isToMove && _isAtMessage && _offence is null;
        }
        catch (ProtocolException e)
        {
            reason = e.Message;
        }
#pragma warning disable CA1031 // A bug in the handling of one session's messages must not take the process down.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogError(e, "{Session}: an error of ours ends the session", Name);
            reason = e.Message;
        }

        End(reason, mayMove);
    }

    /// <summary>Goes on where a predecessor stopped.</summary>
    private void GoOn()
    {
        using HandedOverSession? predecessor = _predecessor;
        if (predecessor is not null && predecessor.State.Length > 0)
        {
            HasSpoken();
            lock (_lock)
            {
                SessionScript.Replay(predecessor, _backend, _closer);
            }
        }
    }

    /// <summary>Handles messages until the session is over; returns why.</summary>
    private string ReadMessages()
    {
        while (true)
        {
            if (_isToEnd)
            {
                _isAtMessage = true;
                return _offence ?? TheExportStops;
            }

            using var fds = new FdList(_closer);
            switch (_channel.Receive(fds))
            {
                case SocketResult.Done:
                    break;
                case SocketResult.Closed:
                    return "the front-end closed the connection";
                case SocketResult.Woken:
                    _isAtMessage = !_channel.IsAmidMessage;
                    return _offence ?? TheExportStops;
                case SocketResult.TooManyFds:
                    return "a message carries more descriptors than any may";
                case SocketResult.FdsRefused:
                    return _closer.WhyFull;
                default:
                    return "the connection broke";
            }

            Handle(fds);
        }
    }

    private void Handle(FdList fds)
    {
        HasSpoken();
        lock (_lock)
        {
            _backend.Handle(_channel, fds);
        }
    }

    private void HasSpoken()
    {
        if (!_hasSpoken)
        {
            _hasSpoken = true;
            _silence.Dispose();
        }
    }

    private void End(string reason, bool mayMove = false)
    {
        _silence.Dispose();
        lock (_lock)
        {
            _closed = true;
            try
            {
                if (mayMove)
                {
                    Move(ref reason);
                }

                _backend.Dispose();
            }
#pragma warning disable CA1031 // As above.
            catch (Exception e)
#pragma warning restore CA1031
            {
                _log.LogError(e, "{Session}: an error of ours while the session ends", Name);
            }

            // Only now: a front-end that sees the end of the connection may take its memory away.
            lock (_channelLock)
            {
                _channelClosed = true;
                _channel.Dispose();
            }
        }

        _log.LogInformation("{Session}: detached: {Reason}", Name, reason);
        _onChange?.Invoke(Name, Peer, reason);
        _log.Dispose();
        _onEnded(this);
        _ended.SetResult();
    }

    /// <summary>Gives the session away, with its connection.</summary>
    private void Move(ref string reason)
    {
        using var writer = new SessionWriter(_backend.HasRun);
        try
        {
            // One that has said nothing takes nothing along but its connection.
            if (!_hasSpoken || _backend.TryWriteDown(writer))
            {
                _luggage = _hasSpoken ? writer.Finish(Connection()) : new HandedOverSession(Connection(), [], []);
                reason = "it goes over to another process";
            }
        }
        catch (IOException e)
        {
            _log.LogWarning("{Session}: it cannot go over to another process: {Reason}", Name, e.Message);
        }

        SafeFileHandle Connection() => new(_channel.Release(), ownsHandle: true);
    }
}
