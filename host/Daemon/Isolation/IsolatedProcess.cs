// The process of an isolated volume, as the kernel has it: started, or taken as it is, and ended. What tells that it lives is the
// lock of its place, for it may be no child of this process: one of a daemon before, or a successor.

using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.Logging;
using Polyblk.Core.Interop;
using Polyblk.Host.State;

namespace Polyblk.Host.Daemon.Isolation;

/// <summary>See the top of the file. One task takes it; any thread looks, or ends it afterwards.</summary>
/// <param name="volume">Its volume.</param>
/// <param name="place">Where its lock is.</param>
/// <param name="options">How it is started, and how long its end may take.</param>
/// <param name="log">For what becomes of it.</param>
internal sealed class IsolatedProcess(string volume, StateDirectories place, DaemonOptions options, ILogger log)
{
    /// <summary>A successor takes the place of a process within this time.</summary>
    private static readonly TimeSpan s_successionLimit = TimeSpan.FromMilliseconds(300);

    /// <summary>Beyond the deadline of its own end.</summary>
    private static readonly TimeSpan s_endMargin = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(20);

    private volatile Process? _started;

    /// <summary>The process; null where there is none now.</summary>
    public int? Pid => VolumeLock.Holder(place, place.DaemonName);

    /// <summary>How it ended, in a sentence.</summary>
    public string EndInWords => _started is { HasExited: true } process
        ? string.Create(CultureInfo.InvariantCulture, $"Its process ended ({process.ExitCode}).")
        : "Its process ended.";

    /// <summary>Takes the one that is there, or starts one.</summary>
    /// <param name="cancellation">Nobody waits for its end any more.</param>
    /// <returns>Completes with the end of one that was started, and at once for another.</returns>
    /// <exception cref="RefusalException">None can be started.</exception>
    public Task TakeOrStart(CancellationToken cancellation)
    {
        _started?.Dispose();
        _started = null;
        if (Pid is int there)
        {
            log.LogInformation("{Volume} is served by process {Pid} already", volume, there);
            return Task.CompletedTask;
        }

        Process started = Start();
        _started = started;
        log.LogInformation("{Volume} has process {Pid}", volume, started.Id);
        return started.WaitForExitAsync(cancellation);
    }

    /// <summary>Whether there is none any more. One that is succeeded has no place for a moment.</summary>
    public async Task<bool> HasEndedAsync(CancellationToken cancellation)
    {
        for (long began = Stopwatch.GetTimestamp();
            !cancellation.IsCancellationRequested;
            await Task.Delay(s_look, CancellationToken.None).ConfigureAwait(false))
        {
            if (_started is { HasExited: false } || Pid is not null)
            {
                return false;
            }

            if (Stopwatch.GetElapsedTime(began) > s_successionLimit)
            {
                return true;
            }
        }

        return true;
    }

    /// <summary>Passes a signal on.</summary>
    public void Signal(int signal)
    {
        if (Pid is int pid and > 0)
        {
            _ = Libc.kill(pid, signal);
        }
    }

    /// <summary>Ends it in order; nobody starts another one meanwhile.</summary>
    /// <returns>Whether it ended, and in order as far as that is known.</returns>
    public async Task<bool> EndAsync()
    {
        Process? started = _started;
        int? told = null;
        for (long began = Stopwatch.GetTimestamp();
            !await HasEndedAsync(CancellationToken.None).ConfigureAwait(false);
            await Task.Delay(s_look).ConfigureAwait(false))
        {
            told = AskToEnd(told);
            if (Stopwatch.GetElapsedTime(began) > options.StopWithin + s_endMargin)
            {
                log.LogError("The process of {Volume} ({Pid}) does not end, and is left as it is", volume, Pid);
                return false;
            }
        }

        return started is null || started.ExitCode == 0;
    }

    /// <summary>Ends whoever it is now, once: a second signal would not wait for the volume.</summary>
    private int? AskToEnd(int? told)
    {
        // One that was just started has no lock yet.
        int? pid = Pid ?? (_started is { HasExited: false } started ? started.Id : null);
        if (pid is > 0 && pid != told)
        {
            _ = Libc.kill(pid.Value, Libc.SIGTERM);
        }

        return pid ?? told;
    }

    private Process Start()
    {
        ProcessStartInfo start = options.Isolated?.Invoke(volume)
            ?? throw RefusalException.HostLacks("It is to have a process of its own, and this daemon starts none.");
        start.Environment.Remove("NOTIFY_SOCKET"); // The service is this daemon.

        // Nor has it the daemon's standard streams, by which that speaks with a supervisor; what it says is in the log.
        start.RedirectStandardInput = start.RedirectStandardOutput = true;
        Process process = ChildProcess.Start(start);
        process.StandardInput.Close();
        _ = process.StandardOutput.BaseStream.CopyToAsync(Stream.Null, CancellationToken.None);
        return process;
    }
}
