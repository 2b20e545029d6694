// A reactor: one thread, pinned to one processor, that polls everything that was given to it.
//
// A turn
//   1. the mailbox (other threads) and the run queue (this thread),
//   2. completions that the rings hold,
//   3. every poller: it takes a batch of requests and publishes what was completed,
//   4. the run queue again, and timers that are due,
//   5. one io_uring_enter for each ring that has something to tell the kernel.
// So a request that arrives in step 3 reaches the drive in step 5, and its completion is published by step 3 of a later turn.
//
// The clock is read once in a window of turns, not in every turn; NowNs is that old. Without work for IdlePolicy.SpinNs the reactor
// arms every poller, looks once more (SleepGate), and blocks in epoll on all doorbells: its own, the pollers' and the rings'. Doorbells
// are edge-triggered, so an eventfd is never read.
//
// Nothing on this thread may allocate, lock, log, block or await; control work is posted with InvokeAsync and may do the first three.

using System.Diagnostics;
using Polyblk.Core.Interop;
using Polyblk.Core.Uring;

namespace Polyblk.Core.Reactors;

/// <summary>A pinned polling thread with a mailbox, timers and rings.</summary>
public sealed unsafe class Reactor : IDisposable
{
    private const int WindowTurns = 16;
    private const int DoorbellWindows = 8;
    private const int MaxEvents = 64;
    private const int LastRounds = 1000;

    [ThreadStatic]
    private static Reactor? t_current;

    private readonly ReactorOptions _options;
    private readonly Thread _thread;
    private readonly Mailbox _mailbox = new();
    private readonly SleepGate _gate = new();
    private readonly TimerHeap _timers = new();
    private readonly ManualResetEventSlim _started = new();
    private readonly int _epollFd;
    private readonly int _doorbellFd;

    private IPoller[] _pollers = [];
    private IoUring[] _rings = [];
    private IDoorbell?[] _doorbells = new IDoorbell?[16];
    private int[] _doorbellFds = new int[16];
    private int _watchedCallbacks;
    private ReactorWork? _deferredFirst;
    private ReactorWork? _deferredLast;
    private object? _running;
    private bool _stopping;
    private int _stopped;
    private int _disposed;
    private Exception? _startFailure;

    private long _turns, _busyNs, _spinNs, _sleepNs, _sleeps, _requests, _faults;
    private long _idleSinceNs;
    private int _windowTurn, _windowBusy, _windows;

    /// <summary>Starts the thread and waits until it runs.</summary>
    /// <exception cref="IOException">The thread could not be pinned or its descriptors not be made.</exception>
    public Reactor(ReactorOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _epollFd = Libc.epoll_create1(Libc.EPOLL_CLOEXEC);
        _doorbellFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (_epollFd < 0 || _doorbellFd < 0)
        {
            throw new IOException($"A reactor needs two descriptors: errno {-Math.Min(_epollFd, _doorbellFd)} (raise the limit: ulimit -n).");
        }

        _thread = new Thread(Main) { IsBackground = true, Name = options.Name };
        _thread.Start();
        _started.Wait();
        if (_startFailure is not null)
        {
            _thread.Join();
            CloseDescriptors();
            throw new IOException(_startFailure.Message, _startFailure);
        }
    }

    /// <summary>The reactor whose thread is running, or null.</summary>
    public static Reactor? Current => t_current;

    /// <summary>Its name.</summary>
    public string Name => _options.Name;

    /// <summary>The processor it is pinned to, or null.</summary>
    public int? Cpu => _options.Cpu;

    /// <summary>Where threads that wait in its place may run, or null for <see cref="Cpu"/>.</summary>
    public CpuSet? HelperCpus => _options.HelperCpus;

    /// <summary>The main ring, for drives; null when io_uring is not to be had here (see <see cref="RingNotice"/>).</summary>
    public IoUring? Ring { get; private set; }

    /// <summary>Why there is no ring or not the best one; empty when all is well. For the log.</summary>
    public string RingNotice { get; private set; } = string.Empty;

    /// <summary>A recent reading of the monotonic clock in nanoseconds: at most a window of turns old.</summary>
    public long NowNs { get; private set; } = ReadClockNs();

    /// <summary>
    /// An exception reached the loop: a bug. Its source, a poller or a piece of work, is dropped and the loop goes on.
    /// Raised on the reactor's thread; handlers log.
    /// </summary>
    public event Action<Reactor, object?, Exception>? Faulted;

    /// <summary>Whether the caller is on this reactor's thread.</summary>
    public bool IsCurrent => ReferenceEquals(t_current, this);

    /// <summary>The monotonic clock in nanoseconds.</summary>
    public static long ReadClockNs() => (long)(Stopwatch.GetTimestamp() * (1e9 / Stopwatch.Frequency));

    /// <summary>Reads the counters. Any thread.</summary>
    public ReactorStatistics GetStatistics() => new(
        Name,
        Cpu,
        Volatile.Read(ref _turns),
        Volatile.Read(ref _busyNs),
        Volatile.Read(ref _spinNs),
        Volatile.Read(ref _sleepNs),
        Volatile.Read(ref _sleeps),
        Volatile.Read(ref _requests),
        Volatile.Read(ref _faults));

    /// <summary>Hands work to this reactor. Any thread; no allocation. The same work may be posted again once it runs.</summary>
    public void Post(ReactorWork work)
    {
        _mailbox.Post(work);
        if (_gate.MustRing())
        {
            Libc.SignalEventFd(_doorbellFd);
        }
    }

    /// <summary>Runs work later in this turn or in the next. On the reactor's thread only: it breaks chains of calls.</summary>
    public void Defer(ReactorWork work)
    {
        work.NextWork = null;
        if (_deferredLast is null)
        {
            _deferredFirst = work;
        }
        else
        {
            _deferredLast.NextWork = work;
        }

        _deferredLast = work;
    }

    /// <summary>
    /// Runs a function on the reactor's thread. For control paths. Called there already, it runs at once. Fails with
    /// <see cref="ObjectDisposedException"/> when the reactor has ended.
    /// </summary>
    public Task<T> InvokeAsync<T>(Func<T> function)
    {
        ArgumentNullException.ThrowIfNull(function);
        if (IsCurrent)
        {
            return Task.FromResult(function());
        }

        var done = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        Post(new DelegateWork(() =>
        {
            try
            {
                done.TrySetResult(function());
            }
#pragma warning disable CA1031 // Whatever went wrong goes to the caller.
            catch (Exception e)
#pragma warning restore CA1031
            {
                done.TrySetException(e);
            }
        }));

        // Posting is a full fence, and so is the exchange of _stopped: either the loop's last look finds this work, or we find it stopped.
        if (Volatile.Read(ref _stopped) != 0)
        {
            done.TrySetException(new ObjectDisposedException(Name, "The reactor has ended."));
        }

        return done.Task;
    }

    /// <summary>Runs an action on the reactor's thread. For control paths.</summary>
    public Task InvokeAsync(Action action) => InvokeAsync(() =>
    {
        action();
        return true;
    });

    /// <summary>Adds a poller. On the reactor's thread.</summary>
    public void Add(IPoller poller)
    {
        AssertCurrent();
        _pollers = [.. _pollers, poller];
        MarkBusy();
    }

    /// <summary>Takes a poller out. On the reactor's thread; called from inside a poll it may be polled once more in this turn.</summary>
    public void Remove(IPoller poller)
    {
        AssertCurrent();
        _pollers = Array.FindAll(_pollers, p => !ReferenceEquals(p, poller));
    }

    /// <summary>Adds a further ring (128-byte entries, IOPOLL) that this reactor then submits and reaps. On the reactor's thread.</summary>
    public void AddRing(IoUring ring)
    {
        AssertCurrent();
        _rings = [.. _rings, ring];
        WatchRing(ring);
    }

    /// <summary>Takes a ring out; the caller disposes it, on this thread. Nothing of it may be in flight.</summary>
    public void RemoveRing(IoUring ring)
    {
        AssertCurrent();
        _rings = Array.FindAll(_rings, r => !ReferenceEquals(r, ring));
        _ = Libc.epoll_ctl(_epollFd, Libc.EPOLL_CTL_DEL, ring.DoorbellFd, null);
    }

    /// <summary>
    /// Makes a descriptor wake this reactor from sleep (edge-triggered). With a handler, that is called as well, from sleep at once and from
    /// a busy loop within some hundred turns; without one the pollers find the work. On the reactor's thread.
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

        _ = Libc.epoll_ctl(_epollFd, Libc.EPOLL_CTL_DEL, fd, null);
        _watchedCallbacks -= _doorbells[slot] is null ? 0 : 1;
        _doorbellFds[slot] = 0;
        _doorbells[slot] = null;
    }

    /// <summary>Schedules a timer for a time of the monotonic clock, or moves it. On the reactor's thread.</summary>
    public void Schedule(ReactorTimer timer, long dueNs) => _timers.Set(timer, dueNs);

    /// <summary>Takes a timer out. On the reactor's thread.</summary>
    public void Cancel(ReactorTimer timer) => _timers.Remove(timer);

    /// <summary>Stops the loop and joins the thread. Pollers must be removed before. Not on the reactor's thread.</summary>
    public void Dispose()
    {
        if (IsCurrent)
        {
            throw new InvalidOperationException($"{Name} cannot wait for its own thread: dispose it from another.");
        }

        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        Post(new DelegateWork(() => _stopping = true));
        _thread.Join();
        CloseDescriptors();
        _started.Dispose();
    }

    private const ulong OwnDoorbell = 0;
    private const ulong RingDoorbell = 1;
    private const ulong FirstDoorbell = 2;

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
        for (int rounds = 0; rounds < LastRounds && (!_mailbox.IsEmpty || _deferredFirst is not null); rounds++)
        {
            try
            {
                _ = RunMail() + RunDeferred();
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

    private int RunTurn()
    {
        int work = RunMail() + RunDeferred();
        foreach (IoUring ring in _rings)
        {
            work += ring.Reap();
        }

        IPoller[] pollers = _pollers;
        int polled = 0;
        for (int i = 0; i < pollers.Length; i++)
        {
            _running = pollers[i];
            polled += pollers[i].Poll();
        }

        _running = null;
        _requests += polled;
        work += polled + RunDeferred();
        foreach (IoUring ring in _rings)
        {
            ring.Submit();
        }

        return work;
    }

    private int RunMail()
    {
        int count = 0;
        ReactorWork? work = _mailbox.TakeAll();
        while (work is not null)
        {
            // Read the link first: once it runs, the work may be posted again.
            ReactorWork? next = work.NextWork;
            Defer(work);
            work = next;
            count++;
        }

        return count;
    }

    private int RunDeferred()
    {
        // Only what is queued now: work that defers itself again must not hold the turn.
        ReactorWork? work = _deferredFirst;
        ReactorWork? last = _deferredLast;
        int count = 0;
        while (work is not null)
        {
            _deferredFirst = work.NextWork;
            if (_deferredFirst is null)
            {
                _deferredLast = null;
            }

            bool isLast = ReferenceEquals(work, last);
            _running = work;
            work.Run();
            count++;
            work = isLast ? null : _deferredFirst;
        }

        _running = null;
        return count;
    }

    /// <summary>Every few turns: the clock, the statistics, the timers, and whether it is time to sleep.</summary>
    private void CloseWindow()
    {
        long before = NowNs;
        long now = ReadClockNs();
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
            // Whoever does that work may be waiting for this processor: a driver's thread (loop, dm-crypt), softirqd, an io_uring worker.
            Libc.sched_yield();
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

        if (quiet && _mailbox.IsEmpty && _deferredFirst is null && RingsAreQuiet())
        {
            long before = ReadClockNs();
            long timeout = Math.Clamp(_timers.NextDueNs - before, 0, _options.MaxSleepNs);
            WaitForDoorbells(timeout);
            NowNs = ReadClockNs();
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
        Libc.epoll_event* events = stackalloc Libc.epoll_event[MaxEvents];
        Libc.timespec timeout = new() { tv_sec = timeoutNs / 1_000_000_000, tv_nsec = timeoutNs % 1_000_000_000 };
        int count = Libc.epoll_pwait2(_epollFd, events, MaxEvents, &timeout);
        if (count == -Block.Errno.ENOSYS)
        {
            // Linux before 5.11: whole milliseconds, rounded up so that a timer is not found early over and over.
            count = Libc.epoll_wait(_epollFd, events, MaxEvents, (int)((timeoutNs + 999_999) / 1_000_000));
        }

        for (int i = 0; i < count; i++)
        {
            ulong data = events[i].data;
            if (data >= FirstDoorbell)
            {
                IDoorbell? handler = _doorbells[(int)(data - FirstDoorbell)];
                _running = handler;
                handler?.OnRung();
            }
        }

        _running = null;
    }

    private void OnFault(Exception e)
    {
        _faults++;
        object? source = _running;
        _running = null;
        _gate.Leave();
        if (source is IPoller poller)
        {
            Remove(poller);
        }

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

    private void DisarmAfterFault(IPoller poller)
    {
        try
        {
            poller.Disarm();
        }
#pragma warning disable CA1031 // This one is broken as well.
        catch (Exception)
#pragma warning restore CA1031
        {
            _faults++;
            Remove(poller);
        }
    }

    private void MarkBusy() => _idleSinceNs = ReadClockNs();

    private void WatchRing(IoUring ring) => AddToEpoll(ring.DoorbellFd, Libc.EPOLLIN | Libc.EPOLLET, RingDoorbell);

    private void AddToEpoll(int fd, uint events, ulong data)
    {
        var ev = new Libc.epoll_event { events = events, data = data };
        int rc = Libc.epoll_ctl(_epollFd, Libc.EPOLL_CTL_ADD, fd, &ev);
        if (rc < 0)
        {
            throw new IOException($"Descriptor {fd} cannot be watched (errno {-rc}).");
        }
    }

    private void AssertCurrent()
    {
        if (!IsCurrent)
        {
            throw new InvalidOperationException($"This must run on the thread of {Name}.");
        }
    }

    private void CloseDescriptors()
    {
        _ = Libc.close(_epollFd);
        _ = Libc.close(_doorbellFd);
    }
}
