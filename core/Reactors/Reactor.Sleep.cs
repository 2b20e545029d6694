// The window of turns (clock, statistics, timers), the way to sleep, and the doorbells that end it.

using Polyblk.Core.Interop;
using Polyblk.Core.Uring;
using Tmds.Linux;

namespace Polyblk.Core.Reactors;

public sealed unsafe partial class Reactor
{
    /// <summary>
    /// Makes a descriptor wake this reactor from sleep (edge-triggered). With a handler, that is called as well, from sleep at
    /// once and from a busy loop within some hundred turns; without one the pollers find the work. On the reactor's thread.
    /// </summary>
    /// <exception cref="IOException">The descriptor cannot be watched.</exception>
    /// <param name="fd">The descriptor; it stays the caller's.</param>
    /// <param name="handler">Called when it wakes the reactor, or null.</param>
    /// <param name="writable">Wake also when the descriptor becomes writable again (sockets).</param>
    public void Watch(int fd, IDoorbell? handler = null, bool writable = false)
    {
        AssertCurrent();
        int slot = Array.IndexOf(_doorbellFds, 0);
        if (slot < 0)
        {
            slot = _doorbellFds.Length;
            Array.Resize(ref _doorbellFds, slot * 2);
            Array.Resize(ref _doorbells, slot * 2);
        }

        AddToEpoll(fd, Libc.EPOLLIN | Libc.EPOLLET | (writable ? Libc.EPOLLOUT : 0), (ulong)slot + FirstDoorbell);
        _doorbellFds[slot] = fd;
        _doorbells[slot] = handler;
        _watchedCallbacks += handler is null ? 0 : 1;
        MarkBusy();
    }

    /// <summary>Stops watching a descriptor; before it is closed. On the reactor's thread.</summary>
    public void Unwatch(int fd)
    {
        AssertCurrent();
        int slot = Array.IndexOf(_doorbellFds, fd);
        if (slot < 0)
        {
            return;
        }

        ForgetInEpoll(fd);
        _watchedCallbacks -= _doorbells[slot] is null ? 0 : 1;
        _doorbellFds[slot] = 0;
        _doorbells[slot] = null;
    }

    private const ulong OwnDoorbell = 0;
    private const ulong RingDoorbell = 1;
    private const ulong FirstDoorbell = 2;

    /// <summary>Every few turns: the clock, the statistics, the timers, and whether it is time to sleep.</summary>
    private void CloseWindow()
    {
        long before = NowNs;
        long now = TurnNs;
        NowNs = now;
        long busy = (now - before) * _windowBusy / WindowTurns;
        _busyNs += busy;
        _spinNs += now - before - busy;
        if (_windowBusy != 0)
        {
            _idleSinceNs = now;
        }

        _windowTurn = 0;
        _windowBusy = 0;
        if (_timers.NextDueNs <= now)
        {
            _timers.RunDue(now);
        }

        if (_watchedCallbacks != 0 && ++_windows % DoorbellWindows == 0)
        {
            WaitForDoorbells(0);
        }

        if (now - _idleSinceNs >= _options.Idle.SpinNs)
        {
            Sleep();
        }
        else if (busy == 0 && WaitsForKernel())
        {
            // Whoever does that work may be waiting for this processor: a driver's thread (loop, dm-crypt), softirqd, an io_uring
            // worker.
            Libc.sched_yield();
            TurnNs = ReadClockNs();
        }
    }

    private void Sleep()
    {
        _gate.Enter();
        IPoller[] pollers = _pollers;
        int armed = 0;
        bool quiet = true;
        while (quiet && armed < pollers.Length)
        {
            _running = pollers[armed];
            quiet = pollers[armed++].TryArm();
        }

        _running = null;

        foreach (IoUring ring in _rings)
        {
            ring.ArmDoorbell();
        }

        if (quiet && _mailbox.IsEmpty && _deferredFirst is null && _bulkFirst is null && RingsAreQuiet())
        {
            long before = ReadClockNs();
            long timeout = Math.Clamp(_timers.NextDueNs - before, 0, _options.MaxSleepNs);
            WaitForDoorbells(timeout);
            TurnNs = NowNs = ReadClockNs();
            _sleepNs += NowNs - before;
            _sleeps++;
        }

        _gate.Leave();
        foreach (IoUring ring in _rings)
        {
            ring.DisarmDoorbell();
        }

        for (int i = 0; i < armed; i++)
        {
            _running = pollers[i];
            pollers[i].Disarm();
        }

        _running = null;

        // One window of turns before the next sleep, whatever the spin time: it takes the work for which the reactor was woken.
    }

    private bool WaitsForKernel()
    {
        foreach (IoUring ring in _rings)
        {
            if (ring.InFlight != 0)
            {
                return true;
            }
        }

        return false;
    }

    private bool RingsAreQuiet()
    {
        foreach (IoUring ring in _rings)
        {
            if (ring.HasNews || ring.HasUnsubmitted || ring.NeedsPolling)
            {
                return false;
            }
        }

        return true;
    }

    private void WaitForDoorbells(long timeoutNs)
    {
        epoll_event* events = stackalloc epoll_event[MaxEvents];
        timespec timeout = new() { tv_sec = timeoutNs / 1_000_000_000, tv_nsec = (int)(timeoutNs % 1_000_000_000) };
        int count = Libc.epoll_pwait2(_epollFd, events, MaxEvents, &timeout);
        if (count == -Block.Errno.ENOSYS)
        {
            // Linux before 5.11: whole milliseconds, rounded up so that a timer is not found early over and over.
            count = Libc.epoll_wait(_epollFd, events, MaxEvents, (int)((timeoutNs + 999_999) / 1_000_000));
        }

        for (int i = 0; i < count; i++)
        {
            ulong data = events[i].data.u64;
            if (data >= FirstDoorbell)
            {
                IDoorbell? handler = _doorbells[(int)(data - FirstDoorbell)];
                _running = handler;
                handler?.OnRung();
            }
        }

        _running = null;
    }

    private void MarkBusy() => _idleSinceNs = ReadNs();

    private void WatchRing(IoUring ring) => AddToEpoll(ring.DoorbellFd, Libc.EPOLLIN | Libc.EPOLLET, RingDoorbell);

    private void AddToEpoll(int fd, int events, ulong data)
    {
        if (_isStepped)
        {
            // It never sleeps.
            return;
        }

        var ev = new epoll_event { events = events, data = new epoll_data_t { u64 = data } };
        int rc = Libc.epoll_ctl(_epollFd, Libc.EPOLL_CTL_ADD, fd, &ev);
        if (rc < 0)
        {
            throw new IOException($"Descriptor {fd} cannot be watched (errno {-rc}).");
        }
    }

    private void ForgetInEpoll(int fd)
    {
        if (!_isStepped)
        {
            _ = Libc.epoll_ctl(_epollFd, Libc.EPOLL_CTL_DEL, fd, null);
        }
    }
}
