// Keeps a daemon working: a process that serves (the worker), and one that stands by (polyblk daemon --standby).
//
// What a start after a kill costs is nearly all the start of the program. The process that stands by has that behind it: it has
// opened nothing and waits for a word on its standard input. When the worker dies the word is said, and volumes are served again
// as soon as their drives are open. A process that ends by itself is none that died: the supervisor ends with its exit code.
//
// What passes between them are lines (WorkerLines). A worker's standard output goes to the supervisor, and with it that of the
// successor that it starts (polyblk daemon restart): so the supervisor learns of a worker that is no child of its own.
//
// The supervisor opens no drive and no socket, has no thread that polls, and cannot be harmed by a guest. When it is killed the
// worker serves on, and who stands by ends with it.

using System.Diagnostics;
using System.Globalization;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;

namespace Polyblk.Host.Daemon.Standby;

/// <summary>See the top of the file.</summary>
/// <param name="program">How a worker is started; the argument says whether it takes over from a daemon that works.</param>
/// <param name="takesOver">Whether the first one does.</param>
/// <param name="notify">Tells systemd.</param>
/// <param name="log">For what only the supervisor knows.</param>
public sealed class DaemonSupervisor(Func<bool, ProcessStartInfo> program, bool takesOver, Action<string> notify, ILogger log)
{
    private const int SignalHup = 1;
    private const int SignalTerm = 15;

    /// <summary>An exit code above is that of a process that a signal has ended (POSIX shells' convention, which Process
    /// follows).</summary>
    private const int SignalBase = 128;
    private const int Failed = 1;

    /// <summary>Who dies so soon, so often in a row, is replaced after a pause: what kills it will do so again.</summary>
    private const int MostQuickDeaths = 4;
    private static readonly TimeSpan s_quick = TimeSpan.FromSeconds(2);

    /// <summary>What a worker says last may come after the news of its end. While it is waited for nobody serves.</summary>
    private static readonly TimeSpan s_lastWords = TimeSpan.FromMilliseconds(20);

    private static readonly TimeSpan s_shortestPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_longestPause = TimeSpan.FromMinutes(1);

    private readonly Channel<Happening> _happenings = Channel.CreateUnbounded<Happening>(new UnboundedChannelOptions { SingleReader = true });
    private readonly Dictionary<int, int> _ended = [];
    private int _current;           // the process that serves, or is about to; 0 in a pause
    private long _began;            // when it was told to
    private int _quickDeaths;
    private string _word = WorkerLines.Serve;   // with which the next one begins
    private Worker? _standby;
    private TimeSpan _pause = s_shortestPause;  // before another one stands by
    private bool _isStopping;

    /// <summary>Asks the daemon to take the sizes that drives have now (SIGHUP).</summary>
    public void Reload() => _happenings.Writer.TryWrite(new Happening(HappeningKind.Reload));

    /// <summary>Keeps a daemon working until it is asked to end, or the daemon ends by itself.</summary>
    /// <param name="stop">Asks it to end.</param>
    /// <returns>The exit code of the last worker.</returns>
    public async Task<int> RunAsync(CancellationToken stop)
    {
        await using CancellationTokenRegistration registration = stop.Register(
            () => _happenings.Writer.TryWrite(new Happening(HappeningKind.Stop)));
        try
        {
            Serve(Worker.Start(program(takesOver), _happenings.Writer));
            await foreach (Happening happening in _happenings.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                if (await HandleAsync(happening).ConfigureAwait(false) is int code)
                {
                    return code;
                }
            }

            return Failed;
        }
        finally
        {
            _standby?.Dispose();
        }
    }

    private async Task<int?> HandleAsync(Happening happening)
    {
        switch (happening.Kind)
        {
            case HappeningKind.Line:
                await HearAsync(happening.Text!).ConfigureAwait(false);
                return null;
            case HappeningKind.End when happening.Pid == _current:
                return await AfterEndAsync(happening.Code).ConfigureAwait(false);
            case HappeningKind.End when happening.Pid == _standby?.Pid:
                AfterStandbyEnded(happening.Code);
                return null;
            case HappeningKind.Serve when !_isStopping:
                ServeNext();
                return null;
            case HappeningKind.StandBy:
                StandBy();
                return null;
            case HappeningKind.Reload when _current != 0:
                _ = Libc.kill(_current, SignalHup);
                return null;
            case HappeningKind.Stop when _current == 0:
                return Failed;
            case HappeningKind.Stop:
                _isStopping = true;
                _standby?.Dispose();
                _standby = null;
                _ = Libc.kill(_current, SignalTerm);
                return null;
            default:
                return null; // the end of one that was succeeded, or was not wanted any more
        }
    }

    /// <summary>A line of a worker; what is none of ours is what a program that it started has printed.</summary>
    private async Task HearAsync(string line)
    {
        switch (WorkerLines.Parse(line))
        {
            case (WorkerLines.Notify, string state):
                notify(state);
                if (state.StartsWith("READY=1", StringComparison.Ordinal) && !_isStopping)
                {
                    // The program may be another one by now.
                    _standby?.Dispose();
                    _standby = null;
                    _pause = s_shortestPause;
                    StandBy();
                }

                break;
            case (WorkerLines.Successor, string text) when int.TryParse(text, CultureInfo.InvariantCulture, out int watched):
                _current = watched;
                _ended.Remove(watched);
                _began = Stopwatch.GetTimestamp();
                _ = ProcessEnd.WaitAsync(watched).ContinueWith(
                    _ => _happenings.Writer.TryWrite(new Happening(HappeningKind.End, watched)), TaskScheduler.Default);
                break;
            case (WorkerLines.Ended, string text) when text.Split(' ') is [string first, string second]
                && int.TryParse(first, CultureInfo.InvariantCulture, out int pid) && int.TryParse(second, CultureInfo.InvariantCulture, out int code):
                _ended[pid] = code;
                break;
            default:
                await Console.Error.WriteLineAsync(line).ConfigureAwait(false);
                break;
        }
    }

    /// <summary>The worker has ended: so does this, or the one that stands by goes on.</summary>
    /// <param name="code">Its exit code; null where it was no child of this process.</param>
    private async Task<int?> AfterEndAsync(int? code)
    {
        int pid = _current;
        if (code is null or < SignalBase)
        {
            await HearLastWordsAsync(code is null ? s_lastWords : s_lastWords * 10).ConfigureAwait(false);
            code ??= _ended.TryGetValue(pid, out int told) ? told : null;
        }

        if (_current != pid)
        {
            return null; // It has told of its successor.
        }

        if (code < SignalBase || _isStopping)
        {
            return code ?? Failed;
        }

        _current = 0;
        _word = $"{WorkerLines.Serve} {pid} {(code is null ? 0 : code - SignalBase)}";
        _quickDeaths = Stopwatch.GetElapsedTime(_began) < s_quick ? _quickDeaths + 1 : 0;
        if (_quickDeaths <= MostQuickDeaths)
        {
            ServeNext();
        }
        else
        {
            TimeSpan pause = Doubled(s_shortestPause, _quickDeaths - MostQuickDeaths - 1);
            log.LogCritical("The daemon dies again and again, at last as process {Pid}: the next one comes in {Seconds} s", pid, pause.TotalSeconds);
            Later(HappeningKind.Serve, pause);
        }

        return null;
    }

    /// <summary>Handles what workers have said until now; whatever else has happened meanwhile comes afterwards.</summary>
    private async Task HearLastWordsAsync(TimeSpan time)
    {
        await Task.Delay(time).ConfigureAwait(false);
        var others = new List<Happening>();
        while (_happenings.Reader.TryRead(out Happening happening))
        {
            if (happening.Kind == HappeningKind.Line)
            {
                await HearAsync(happening.Text!).ConfigureAwait(false);
            }
            else
            {
                others.Add(happening);
            }
        }

        others.ForEach(o => _happenings.Writer.TryWrite(o));
    }

    private void ServeNext()
    {
        try
        {
            Worker next = _standby ?? Worker.Start(program(false), _happenings.Writer);
            _standby = null;
            Serve(next);
        }
        catch (RefusalException e)
        {
            log.LogCritical("Nobody serves: {Reason}", e.Message);
            Later(HappeningKind.Serve, s_shortestPause);
        }
    }

    private void Serve(Worker worker)
    {
        _current = worker.Pid;
        _began = Stopwatch.GetTimestamp();
        worker.Say(_word);
    }

    private void StandBy()
    {
        if (!_isStopping && _standby is null)
        {
            try
            {
                _standby = Worker.Start(program(false), _happenings.Writer);
            }
            catch (RefusalException e)
            {
                log.LogError("Nobody stands by: {Reason}", e.Message);
                StandByLater();
            }
        }
    }

    private void AfterStandbyEnded(int? code)
    {
        if (!_isStopping)
        {
            log.LogWarning("The process that stood by has ended with exit code {Code}", code);
            _standby?.Dispose();
            _standby = null;
            StandByLater();
        }
    }

    private void StandByLater()
    {
        Later(HappeningKind.StandBy, _pause);
        _pause = Doubled(_pause, 1);
    }

    private void Later(HappeningKind kind, TimeSpan pause) =>
        _ = Task.Delay(pause).ContinueWith(_ => _happenings.Writer.TryWrite(new Happening(kind)), TaskScheduler.Default);

    private static TimeSpan Doubled(TimeSpan pause, int times) =>
        TimeSpan.FromSeconds(Math.Min(pause.TotalSeconds * Math.Pow(2, times), s_longestPause.TotalSeconds));
}
