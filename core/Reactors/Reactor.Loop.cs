// The thread: its start, its turns one after the other, what happens when something in them throws, its end.

using Polyblk.Core.Interop;
using Polyblk.Core.Uring;

namespace Polyblk.Core.Reactors;

public sealed unsafe partial class Reactor
{
    private void Main()
    {
        t_current = this;
        try
        {
            Start();
        }
#pragma warning disable CA1031 // Whatever went wrong goes to the constructor.
        catch (Exception e)
#pragma warning restore CA1031
        {
            _startFailure = e;
            _started.Set();
            return;
        }

        _started.Set();
        while (!_stopping)
        {
            // The try is outside the loop of turns: it costs nothing until something throws.
            try
            {
                RunTurns();
            }
#pragma warning disable CA1031 // A bug in one poller must not take the others down.
            catch (Exception e)
#pragma warning restore CA1031
            {
                OnFault(e);
            }
        }

        Finish();
        Ring?.Dispose();
    }

    /// <summary>Runs what was posted before the end, so that nobody waits for it forever.</summary>
    private void Finish()
    {
        Interlocked.Exchange(ref _stopped, 1);
        bool more = true;
        for (int rounds = 0; rounds < LastRounds && more; rounds++)
        {
            try
            {
                more = RunMail() + RunDeferred() + RunBulk() != 0;
            }
#pragma warning disable CA1031 // As in the loop.
            catch (Exception e)
#pragma warning restore CA1031
            {
                OnFault(e);
            }
        }
    }

    private void Start()
    {
        if (Cpu is int cpu)
        {
            int rc = CpuSet.PinCurrentThread(cpu);
            if (rc < 0)
            {
                throw new IOException($"Processor {cpu} cannot be used (errno {-rc}): choose from {CpuSet.Allowed()}.");
            }
        }

        AddToEpoll(_doorbellFd, Libc.EPOLLIN | Libc.EPOLLET, OwnDoorbell);
        if (_options.RingEntries == 0)
        {
            RingNotice = "io_uring is switched off";
            return;
        }

        if (IoUring.TryCreate(new IoUringOptions { Entries = _options.RingEntries }, out IoUring? ring, out string reason))
        {
            Ring = ring;
            _rings = [ring!];
            if (HelperCpus is CpuSet helpers)
            {
                // Linux 5.14. Without it the kernel's workers stay on this processor: slower, not wrong.
                _ = ring!.PinWorkers(helpers);
            }

            WatchRing(ring!);
            _pins.AddRing(ring!);
        }

        RingNotice = reason;
    }

    private void RunTurns()
    {
        while (!_stopping)
        {
            int work = RunTurn();
            _turns++;
            _windowTurn++;
            if (work != 0)
            {
                _windowBusy++;
            }

            if (_windowTurn == WindowTurns)
            {
                CloseWindow();
            }
        }
    }

    private void OnFault(Exception e)
    {
        object? source = _running;
        _running = null;
        _gate.Leave();
        if (source is IPoller poller)
        {
            Drop(poller, e);
        }
        else
        {
            _faults++;
            Tell(source, e);
        }

        // The fault may have come between arming and sleeping. What is disarmed already does not mind being told again.
        foreach (IPoller each in _pollers)
        {
            DisarmAfterFault(each);
        }

        foreach (IoUring ring in _rings)
        {
            ring.DisarmDoorbell();
        }
    }

    private void Tell(object? source, Exception e)
    {
        try
        {
            Faulted?.Invoke(this, source, e);
        }
#pragma warning disable CA1031 // A handler that fails while it tells of a failure must not end the process.
        catch (Exception)
#pragma warning restore CA1031
        {
            _faults++;
        }
    }

    private void DisarmAfterFault(IPoller poller)
    {
        try
        {
            poller.Disarm();
        }
#pragma warning disable CA1031 // This one is broken as well.
        catch (Exception e)
#pragma warning restore CA1031
        {
            Drop(poller, e);
        }
    }
}
