// Keeps a daemon working: a process that serves (the worker), and one that stands by (polyblk daemon --standby).
//
// What a start after a kill costs is nearly all the start of the program. The process that stands by has that behind it: it has
// opened nothing and waits for a word on its standard input. When the worker dies the word is said, and volumes are served again
// as soon as their drives are open. A process that ends by itself is none that died: the supervisor ends with its exit code.
//
// What passes between them are lines (WorkerLines). A worker's standard output goes to the supervisor, and with it that of the
// successor that it starts (polyblk daemon restart): so the supervisor learns of a worker that is no child of its own. While one
// takes over, both are known; when the worker dies in the midst of that, its successor goes on with all, not the one that stands
// by.
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
/// <param name="pass">Given what a worker prints that is not for the supervisor.</param>
public sealed class DaemonSupervisor(
    Func<bool, ProcessStartInfo> program, bool takesOver, Action<string> notify, ILogger log, Action<string> pass)
{
    private const int SignalHup = 1;
    private const int SignalKill = 9;
    private const int SignalTerm = 15;

    /// <summary>
    /// An exit code from there on is that of a process that a signal has ended (POSIX shells' convention, which Process follows).
    /// </summary>
    private const int SignalBase = 128;
    private const int Failed = 1;

    /// <summary>Who dies so soon, so often in a row, is replaced after a pause: what kills it will do so again.</summary>
    private const int MostQuickDeaths = 4;
    private static readonly TimeSpan s_quick = TimeSpan.FromSeconds(2);

    /// <summary>One that has not got the daemon's place by then does not get it.</summary>
    private static readonly TimeSpan s_placeLimit = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan s_shortestPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_longestPause = TimeSpan.FromMinutes(1);

    private readonly Channel<Happening> _happenings = Channel.CreateUnbounded<Happening>(
        new UnboundedChannelOptions { SingleReader = true });
    private readonly Dictionary<int, int> _ended = [];
    private int _current;           // the process that serves, or is about to; 0 in a pause
    private int _giving;            // the process that takes over from it just now; 0 for none
    private bool _serves;           // whether the current one has got the daemon's place
    private bool _hasServed;        // whether one ever had
    private long _began;            // when the current one was told to serve
    private int _quickDeaths;
    private string _word = WorkerLines.Serve;   // with which the next one begins
    private Worker? _standby;
    private readonly Backoff _beforeServing = new(s_shortestPause, s_longestPause);  // where one dies again and again
    private readonly Backoff _beforeStanding = new(s_shortestPause, s_longestPause); // where none can stand by
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
            Serve(Worker.Start(program(takesOver), _happenings.Writer), isLimited: !takesOver);
            await foreach (Happening happening in _happenings.Reader.ReadAllAsync(CancellationToken.None).ConfigureAwait(false))
            {
                if (Handle(happening) is int code)
                {
                    return code;
                }
            }

            return Failed;
        }
        finally
        {
            EndStandby();
        }
    }

    private int? Handle(Happening happening)
    {
        switch (happening.Kind)
        {
            case HappeningKind.Line:
                Hear(happening.Text!, happening.Source!);
                return null;
            case HappeningKind.End when happening.Pid == _current:
                return AfterEnd(happening.Code);
            case HappeningKind.End when happening.Pid == _standby?.Pid:
                AfterStandbyEnded(happening.Code);
                return null;
            case HappeningKind.Check when happening.Pid == _current && !_serves:
                log.LogError("Process {Pid} does not come to serve within {Seconds} s, and is killed", _current,
                    s_placeLimit.TotalSeconds);
                Signal(_current, SignalKill);
                return null;
            case HappeningKind.Serve when !_isStopping:
                ServeNext();
                return null;
            case HappeningKind.StandBy:
                StandBy();
                return null;
            case HappeningKind.Reload:
                Signal(_current, SignalHup);
                return null;
            case HappeningKind.Stop when _current == 0:
                return Failed;
            case HappeningKind.Stop:
                _isStopping = true;
                EndStandby();
                Signal(_current, SignalTerm);
                Signal(_giving, SignalTerm);
                return null;
            default:
                return null; // of one that was succeeded, or was not wanted any more
        }
    }

    /// <summary>A line of a worker; what is none of ours is what a program that it started has printed.</summary>
    private void Hear(string line, Worker source)
    {
        (string word, string what) = WorkerLines.Parse(line);
        int[] numbers =
            [.. what.Split(' ').Select(n => int.TryParse(n, CultureInfo.InvariantCulture, out int number) ? number : 0)];
        switch (word)
        {
            case WorkerLines.Standing:
                source.IsStanding = true;
                break;
            case WorkerLines.Serving when numbers[0] == _current:
                _serves = _hasServed = true;
                break;
            case WorkerLines.Serving:
                break;
            case WorkerLines.Notify:
                notify(what);
                if (what.StartsWith("READY=1", StringComparison.Ordinal) && !_isStopping)
                {
                    // The program may be another one by now.
                    EndStandby();
                    _beforeStanding.Reset();
                    StandBy();
                }

                break;
            case WorkerLines.Giving:
                _giving = numbers[0];
                Signal(_isStopping ? _giving : 0, SignalTerm);
                break;
            case WorkerLines.Kept:
                _giving = 0;
                break;
            case WorkerLines.Successor when numbers[0] > 1:
                source.Say(WorkerLines.Heard);
                Follow(numbers[0]);
                break;
            case WorkerLines.Ended when numbers.Length == 2:
                source.Say(WorkerLines.Heard);
                _ended[numbers[0]] = numbers[1];
                break;
            default:
                pass(line);
                break;
        }
    }

    /// <summary>A process that this one has not started is the worker from now on.</summary>
    private void Follow(int pid)
    {
        _current = pid;
        _giving = 0;
        _serves = true;
        _ended.Remove(pid);
        _began = Stopwatch.GetTimestamp();
        _ = ProcessEnd.WaitAsync(pid).ContinueWith(
            _ => _happenings.Writer.TryWrite(new Happening(HappeningKind.End, pid)), TaskScheduler.Default);
        Signal(_isStopping ? pid : 0, SignalTerm);
    }

    /// <summary>The worker has ended: so does this, or another one goes on.</summary>
    /// <param name="code">Its exit code; null where it was no child of this process.</param>
    private int? AfterEnd(int? code)
    {
        int pid = _current;
        bool endsByItself = _ended.Remove(pid, out int told) || (code < SignalBase && (_serves || !_hasServed));
        code = endsByItself && code is null ? told : code;
        if (_giving != 0)
        {
            log.LogWarning("Process {Pid} has ended while process {Successor} took over from it, which goes on", pid, _giving);
            Follow(_giving);
            return null;
        }

        if (endsByItself || _isStopping)
        {
            return code ?? Failed;
        }

        _current = 0;
        _word = $"{WorkerLines.Serve} {pid} {(code is null or < SignalBase ? 0 : code - SignalBase)}";
        _quickDeaths = Stopwatch.GetElapsedTime(_began) < s_quick ? _quickDeaths + 1 : 0;
        if (_quickDeaths <= MostQuickDeaths)
        {
            _beforeServing.Reset();
            ServeNext();
        }
        else
        {
            TimeSpan pause = _beforeServing.Next();
            log.LogCritical("The daemon dies again and again, at last as process {Pid}: the next one comes in {Seconds} s", pid,
                pause.TotalSeconds);
            Later(new Happening(HappeningKind.Serve), pause);
        }

        return null;
    }

    private void ServeNext()
    {
        try
        {
            if (_standby is not { IsStanding: true })
            {
                // It may hang, or be about to end.
                EndStandby();
            }

            Worker next = _standby ?? Worker.Start(program(false), _happenings.Writer);
            _standby = null;
            Serve(next, isLimited: true);
        }
        catch (RefusalException e)
        {
            log.LogCritical("Nobody serves: {Reason}", e.Message);
            Later(new Happening(HappeningKind.Serve), s_shortestPause);
        }
    }

    private void Serve(Worker worker, bool isLimited)
    {
        _current = worker.Pid;
        _serves = false;
        _began = Stopwatch.GetTimestamp();
        worker.Say(_word);
        if (isLimited)
        {
            Later(new Happening(HappeningKind.Check, worker.Pid), s_placeLimit);
        }
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

    private void EndStandby()
    {
        _standby?.Kill();
        _standby = null;
    }

    private void AfterStandbyEnded(int? code)
    {
        _standby = null;
        if (!_isStopping)
        {
            log.LogWarning("The process that stood by has ended with exit code {Code}", code);
            StandByLater();
        }
    }

    private void StandByLater() => Later(new Happening(HappeningKind.StandBy), _beforeStanding.Next());

    private void Later(Happening happening, TimeSpan pause) =>
        _ = Task.Delay(pause).ContinueWith(_ => _happenings.Writer.TryWrite(happening), TaskScheduler.Default);

    /// <summary>Sends a signal to a process, where there is one.</summary>
    private static void Signal(int pid, int signal) => _ = pid > 1 ? Libc.kill(pid, signal) : 0;
}
