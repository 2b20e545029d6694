using System.Runtime.InteropServices;

namespace Polyblk.Cli.Serving;

/// <summary>
/// SIGINT and SIGTERM ask to end cleanly; the second one ends the process at once, as a crash would. SIGHUP calls a handler.
/// </summary>
internal sealed class Interruption : IDisposable
{
    private const int ForcedExitBase = 128;

    private readonly CancellationTokenSource _requested = new();
    private readonly PosixSignalRegistration[] _registrations;
    private int _count;

    /// <param name="onForced">Called before the second signal ends the process: the last chance to remove what must not stay.</param>
    /// <param name="onHangup">What SIGHUP does; null ignores it.</param>
    public Interruption(Action? onForced = null, Action? onHangup = null)
    {
        _registrations =
        [
            PosixSignalRegistration.Create(PosixSignal.SIGINT, context => OnSignal(context, 2, onForced)),
            PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => OnSignal(context, 15, onForced)),
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

    private void OnSignal(PosixSignalContext context, int number, Action? onForced)
    {
        context.Cancel = true;
        if (Interlocked.Increment(ref _count) == 1)
        {
            _requested.Cancel();
            return;
        }

        onForced?.Invoke();
        Environment.Exit(ForcedExitBase + number);
    }
}
