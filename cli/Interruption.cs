using System.Diagnostics;
using System.Runtime.InteropServices;
using Polyblk.Machine;

namespace Polyblk.Cli;

/// <summary>
/// SIGINT and SIGTERM ask to end cleanly; a second request ends the process at once, as a crash would, only that its temporary
/// folders are removed. Signals that come together are one request: timeout(1), for one, sends SIGTERM to its child and again to
/// the child's group. SIGHUP calls a handler.
/// </summary>
internal sealed class Interruption : IDisposable
{
    private const int ForcedExitBase = 128;
    private static readonly TimeSpan s_together = TimeSpan.FromSeconds(1);

    private readonly CancellationTokenSource _requested = new();
    private readonly PosixSignalRegistration[] _registrations;
    private long _first;

    private readonly Action<int>? _onForcedExit;

    /// <param name="onHangup">What SIGHUP does; null ignores it.</param>
    /// <param name="onForcedExit">Told of the exit code before the process ends at once; null for nobody.</param>
    public Interruption(Action? onHangup = null, Action<int>? onForcedExit = null)
    {
        _onForcedExit = onForcedExit;
        _registrations =
        [
            PosixSignalRegistration.Create(PosixSignal.SIGINT, context => OnSignal(context, 2)),
            PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => OnSignal(context, 15)),
            PosixSignalRegistration.Create(PosixSignal.SIGHUP, context =>
            {
                context.Cancel = true;
                onHangup?.Invoke();
            }),
        ];
    }

    /// <summary>Cancelled by the first signal.</summary>
    public CancellationToken Token => _requested.Token;

    /// <summary>Finishes at the first signal.</summary>
    public Task Requested => Task.Delay(Timeout.Infinite, _requested.Token).ContinueWith(
        _ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in _registrations)
        {
            registration.Dispose();
        }

        _requested.Dispose();
    }

    private void OnSignal(PosixSignalContext context, int number)
    {
        context.Cancel = true;
        long now = Stopwatch.GetTimestamp();
        long first = Interlocked.CompareExchange(ref _first, now, 0);
        if (first == 0)
        {
            _requested.Cancel();
        }
        else if (Stopwatch.GetElapsedTime(first, now) >= s_together)
        {
            OwnedFolder.RemoveOwn();
            _onForcedExit?.Invoke(ForcedExitBase + number);
            Environment.Exit(ForcedExitBase + number);
        }
    }
}
