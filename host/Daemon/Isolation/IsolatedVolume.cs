// A volume that has a process of its own: a daemon of that one volume, with a place of its own beside the daemon's.
//
// The daemon starts it, starts it again when it ends, and passes on what is asked of it; nothing else goes between the two, and
// what comes back is data of the control socket. The process (IsolatedProcess) is no part of the daemon's life: one that is there
// already (of a daemon that was killed, or succeeded) is taken as it is.

using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.Serving;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon.Isolation;

/// <summary>Watches the process of one volume.</summary>
#pragma warning disable CA1001 // The source has no timer and no handle, and who asks may come after the end.
internal sealed class IsolatedVolume
#pragma warning restore CA1001
{
    /// <summary>How often it is looked whether it lives; that a child of this process ended is known at once.</summary>
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(500);

    /// <summary>How often it is asked how it is, where nobody wants to know.</summary>
    private static readonly TimeSpan s_ask = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_firstLook = TimeSpan.FromMilliseconds(20);

    /// <summary>A process answers at once; one that hangs must not hang who asks for all of them.</summary>
    private static readonly TimeSpan s_answerLimit = TimeSpan.FromSeconds(1);

    /// <summary>One that was started answers by then.</summary>
    private static readonly TimeSpan s_startLimit = TimeSpan.FromSeconds(30);

    private readonly StateDirectories _place;
    private readonly IsolatedProcess _process;
    private readonly ILogger _log;
    private readonly EventTeller _events;
    private readonly CancellationTokenSource _ending = new();
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource _tried = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _watching = Task.CompletedTask;
    private bool _isWatched;
    private volatile DaemonVolumeJson? _status;
    private volatile LiveJson? _live;
    private volatile string? _failure;

    public IsolatedVolume(string name, DaemonContext context)
    {
        (Name, _place) = (name, context.Directories.OfIsolated(name));
        _log = context.Logging.CreateLogger("polyblk.daemon");
        _process = new IsolatedProcess(name, _place, context.Options, _log);
        _events = new EventTeller(name, context.Events, _log);
    }

    public string Name { get; }

    /// <summary>Completes when it is known whether its process serves it: it does, it does not, or there is none.</summary>
    public Task Tried => _tried.Task;

    /// <summary>The process; null where there is none now.</summary>
    public int? Pid => _process.Pid;

    /// <summary>What its process said when it was asked last; null where there is none, or it is not served.</summary>
    public LiveJson? Live => _live;

    /// <summary>How it is, as its process said when it was asked last.</summary>
    public DaemonVolumeJson? Status => _failure is string failure && _status is DaemonVolumeJson before
        ? before with
        {
            State = DaemonState.Failed, Reason = failure, Pid = null,
            Exports = [.. before.Exports.Select(e => e with { State = ExportJson.FailedState, Reason = failure, Live = null })],
        }
        : _status;

    /// <summary>Whether it did not answer when it was asked last, or nothing that is understood.</summary>
    public bool IsSilent => _failure is not null;

    /// <summary>Sees to it from now on that there is a process.</summary>
    public void Begin()
    {
        lock (_lock)
        {
            if (!_isWatched && !_ending.IsCancellationRequested)
            {
                _isWatched = true;
                _watching = Task.Run(WatchAsync);
            }
        }
    }

    /// <summary>It has no process until somebody asks for something.</summary>
    public void Rest(DaemonVolumeJson status)
    {
        _status = status;
        _tried.TrySetResult();
    }

    /// <summary>Asks its process, which is started where there is none.</summary>
    /// <exception cref="RefusalException">It refused, or does not start.</exception>
    public async Task<ControlResponse> AskAsync(ControlRequest request, CancellationToken cancellation)
    {
        Begin();
        for (long began = Stopwatch.GetTimestamp(); ; await Task.Delay(s_firstLook, cancellation).ConfigureAwait(false))
        {
            ControlResponse? answer = await ControlClient
                .AskAsync(_place, _place.DaemonName, request, cancellation).ConfigureAwait(false);
            if (answer is not null)
            {
                await RefreshAsync(cancellation).ConfigureAwait(false);
                return answer;
            }

            if (_failure is not null || Stopwatch.GetElapsedTime(began) > s_startLimit)
            {
                throw RefusalException.Refused(
                    $"The process of volume '{Name}' is not there: {_failure ?? "it does not answer."}", "The log says more.");
            }
        }
    }

    /// <summary>Asks how it is.</summary>
    public async Task RefreshAsync(CancellationToken cancellation)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        limit.CancelAfter(s_answerLimit);
        var show = new ControlRequest { Command = "show" };
        try
        {
            ControlResponse? answer = await ControlClient.AskAsync(_place, _place.DaemonName, show, limit.Token)
                .ConfigureAwait(false);
            if (answer?.Daemon is DaemonJson its && its.Volumes.FirstOrDefault(v => v.Name == Name) is DaemonVolumeJson volume)
            {
                ControlResponse? told = volume.State != DaemonState.Served ? null
                    : await ControlClient.AskAsync(_place, Name, show with { Histograms = true }, limit.Token)
                        .ConfigureAwait(false);
                LiveJson? live = told?.Live is LiveJson picture ? told.Statistics?.FillIn(picture) ?? picture : null;
                if (live is not null && live.Volume != Name)
                {
                    throw new JsonException("it speaks of another volume.");
                }

                (_status, _live, _failure) = (volume with { Pid = its.Pid }, live, null);
            }
        }
        catch (RefusalException e)
        {
            _log.LogDebug(e, "The process of {Volume} does not say how it is", Name); // It is ending.
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            _failure = "Its process does not answer.";
        }
#pragma warning disable CA1031 // Of another version, or not itself any more: nobody who asks for all volumes is to be told by a failure.
        catch (Exception e) when (e is not OperationCanceledException)
#pragma warning restore CA1031
        {
            _failure = $"Its process answers what is not understood: {e.Message}";
        }
    }

    /// <summary>Passes a signal on.</summary>
    public void Signal(int signal) => _process.Signal(signal);

    /// <summary>Leaves the process to a successor of this one.</summary>
    public async Task LeaveAsync()
    {
        await _ending.CancelAsync().ConfigureAwait(false);
        await _watching.ConfigureAwait(false);
        _tried.TrySetResult();
    }

    /// <summary>Ends the process in order.</summary>
    /// <returns>Whether it ended, and in order as far as that is known.</returns>
    public async Task<bool> EndAsync()
    {
        await LeaveAsync().ConfigureAwait(false);
        return await _process.EndAsync().ConfigureAwait(false);
    }

    private async Task WatchAsync()
    {
        var restarts = new Restarts();
        while (!_ending.IsCancellationRequested)
        {
            long began = Stopwatch.GetTimestamp();
            string reason = await LiveAsync().ConfigureAwait(false);
            if (_ending.IsCancellationRequested)
            {
                return;
            }

            TimeSpan rest = restarts.After(Stopwatch.GetElapsedTime(began));
            string what = string.Create(CultureInfo.InvariantCulture, $"{reason} It is started again in {rest.TotalSeconds} s.");
            (_failure, _live) = (what, null);
            _status ??= new DaemonVolumeJson { Name = Name, State = DaemonState.Failed };
            _tried.TrySetResult();
            _log.LogError("{Volume}: {Reason}", Name, what);
            _events.Tell(new EventJson { Kind = EventKinds.VolumeFailed, Volume = Name, Reason = what });
            await Task.WhenAny(Task.Delay(rest, _ending.Token)).ConfigureAwait(false);
        }
    }

    /// <summary>Starts a process, or takes the one that is there, until it has ended.</summary>
    /// <returns>How it ended, in a sentence.</returns>
    private async Task<string> LiveAsync()
    {
        try
        {
            Task exit = _process.TakeOrStart(_ending.Token);
            long asked = 0;
            while (!await _process.HasEndedAsync(_ending.Token).ConfigureAwait(false))
            {
                if (!_tried.Task.IsCompleted || asked == 0 || Stopwatch.GetElapsedTime(asked) > s_ask)
                {
                    asked = Stopwatch.GetTimestamp();
                    await RefreshAsync(_ending.Token).ConfigureAwait(false);
                }

                if (_failure is not null ? Pid is not null : _status is { State: not DaemonState.Starting })
                {
                    _tried.TrySetResult();
                }

                Task look = Task.Delay(_tried.Task.IsCompleted ? s_look : s_firstLook, _ending.Token);
                await (exit.IsCompleted ? Task.WhenAny(look) : Task.WhenAny(look, exit)).ConfigureAwait(false);
            }

            return _process.EndInWords;
        }
        catch (RefusalException e)
        {
            return e.Message;
        }
        catch (OperationCanceledException)
        {
            return "It is left.";
        }
#pragma warning disable CA1031 // Whatever goes wrong with one process, it is looked after again.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _log.LogError(e, "The process of {Volume} cannot be watched", Name);
            return e.Message;
        }
    }
}
