// A reactor: one thread, pinned to one processor, that polls everything that was given to it.
//
// A turn
//   1. the mailbox (other threads) and the run queue (this thread),
//   2. completions that the rings hold,
//   3. every poller: it takes a batch of requests and publishes what was completed,
//   4. the run queue again, a little of the bulk queue, and timers that are due,
//   5. one io_uring_enter for each ring that has something to tell the kernel.
// So a request that arrives in step 3 reaches the drive in step 5, and its completion is published by step 3 of a later turn.
//
// The clock is read once a turn, at its end: TurnNs is when the turn under way began. A turn that has answered something and has
// something to tell the kernel reads it before that, too, for the system call is not a part of the answer. NowNs, the clock of
// timers, is a window of turns old at most. Without work for IdlePolicy.SpinNs the
// reactor arms every poller, looks once more (SleepGate), and blocks in epoll on all doorbells: its own, the pollers' and the
// rings'. Doorbells are edge-triggered, so an eventfd is never read.
//
// Nothing on this thread may allocate, lock, log, block or await; control work is posted with InvokeAsync and may do the first
// three.

using System.Diagnostics;
using Polyblk.Core.Interop;
using Polyblk.Core.Uring;

namespace Polyblk.Core.Reactors;

/// <summary>A pinned polling thread with a mailbox, timers and rings.</summary>
public sealed unsafe partial class Reactor : IDisposable
{
    private const int WindowTurns = 16;
    private const int DoorbellWindows = 8;
    private const int MaxEvents = 64;
    private const int LastRounds = 1000;
    private const long NsInSecond = 1_000_000_000;

    /// <summary>Pieces of bulk work in a turn; each takes some tens of microseconds.</summary>
    private const int BulkPieces = 4;

    [ThreadStatic]
    private static Reactor? t_current;

    private readonly ReactorOptions _options;
    private readonly Thread? _thread;
    private readonly Mailbox _mailbox = new();
    private readonly SleepGate _gate = new();
    private readonly TimerHeap _timers = new();
    private readonly TurnShares _shares = new();
    private readonly ReactorPins _pins;
    private readonly bool _isStepped;
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
    private ReactorWork? _bulkFirst;
    private ReactorWork? _bulkLast;
    private TurnEnding? _endings;
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
        : this(options, stepped: false, holdsThread: true)
    {
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

    private Reactor(ReactorOptions options, bool stepped, bool holdsThread)
    {
        ArgumentNullException.ThrowIfNull(options);
        _options = options;
        _isStepped = stepped;
        _holdsThread = holdsThread;
        _pins = new ReactorPins(this);
        SharedMemory = new SharedMemory(this, _pins);
        if (stepped)
        {
            _epollFd = _doorbellFd = -1;
            return;
        }

        _epollFd = Libc.epoll_create1(Libc.EPOLL_CLOEXEC);
        _doorbellFd = Libc.eventfd(0, Libc.EFD_CLOEXEC | Libc.EFD_NONBLOCK);
        if (_epollFd < 0 || _doorbellFd < 0)
        {
            throw new IOException($"A reactor needs two descriptors: errno {-Math.Min(_epollFd, _doorbellFd)} (raise the limit: ulimit -n).");
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

    /// <summary>The memory of others in which the data of this reactor's requests lies.</summary>
    public SharedMemory SharedMemory { get; }

    /// <summary>Why there is no ring or not the best one; empty when all is well. For the log.</summary>
    public string RingNotice { get; private set; } = string.Empty;

    /// <summary>
    /// When the turn under way began, in nanoseconds of <see cref="NowNs"/>' clock. What a turn before has done is known to be
    /// done then. On the reactor's thread.
    /// </summary>
    public long TurnNs { get; private set; } = ReadClockNs();

    /// <summary>A recent reading of the monotonic clock in nanoseconds: at most a window of turns old.</summary>
    public long NowNs { get; private set; } = ReadClockNs();

    /// <summary>
    /// An exception reached the loop: a bug. Its source, a poller or a piece of work, is dropped and the loop goes on.
    /// Raised on the reactor's thread; handlers log.
    /// </summary>
    public event Action<Reactor, object?, Exception>? Faulted;

    /// <summary>Whether the caller is on this reactor's thread.</summary>
    public bool IsCurrent => ReferenceEquals(t_current, this);

    /// <summary>
    /// The time of its clock now, in nanoseconds, where <see cref="NowNs"/> is too old: the monotonic clock, or what a test says.
    /// For what happens now and then, not for each request.
    /// </summary>
    public long ReadNs() => _isStepped ? NowNs : ReadClockNs();

    private static long ReadClockNs() => Stopwatch.Frequency == NsInSecond
        ? Stopwatch.GetTimestamp()
        : (long)(Stopwatch.GetTimestamp() * ((double)NsInSecond / Stopwatch.Frequency));

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
    /// Runs a piece of long work (copying or zeroing many pages) in a later turn. All bulk work of a reactor takes turns, a few
    /// pieces in each turn of the loop, so that what is short does not wait for it. On the reactor's thread only.
    /// </summary>
    public void DeferBulk(ReactorWork work)
    {
        ArgumentNullException.ThrowIfNull(work);
        work.NextWork = null;
        if (_bulkLast is null)
        {
            _bulkFirst = work;
        }
        else
        {
            _bulkLast.NextWork = work;
        }

        _bulkLast = work;
    }

    /// <summary>
    /// Asks for something once, when this turn has ended; asked for twice it is done once. On the reactor's thread only.
    /// </summary>
    public void AtTurnEnd(TurnEnding ending)
    {
        ArgumentNullException.ThrowIfNull(ending);
        if (!ending.IsAskedFor)
        {
            ending.IsAskedFor = true;
            ending.NextEnding = _endings;
            _endings = ending;
        }
    }

    /// <summary>Requests that all pollers took in the turn before. On the reactor's thread.</summary>
    public int TakenLastTurn { get; private set; }

    /// <summary>The turn of the loop that is under way. On the reactor's thread.</summary>
    public long Turn => _turns;

    /// <summary>
    /// A poller of an owner (a session) takes part in the turns. On the reactor's thread; <see cref="LeaveTurns"/> ends it.
    /// </summary>
    public TurnShare JoinTurns(object owner)
    {
        AssertCurrent();
        return _shares.Join(owner);
    }

    /// <summary>A poller takes no more part. On the reactor's thread.</summary>
    public void LeaveTurns(TurnShare share)
    {
        ArgumentNullException.ThrowIfNull(share);
        AssertCurrent();
        _shares.Leave(share);
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

        var done = new TaskCompletionSource<T>(PromiseOptions);
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

        // Posting is a full fence, and so is the exchange of _stopped: either the loop's last look finds this work, or we find it
        // stopped.
        if (Volatile.Read(ref _stopped) != 0)
        {
            done.TrySetException(new ObjectDisposedException(Name, "The reactor has ended."));
        }

        return done.Task;
    }

    /// <summary>
    /// A task that this reactor will complete. Whoever awaits it goes on outside the turn; where a test steps the reactor,
    /// without a thread of the pool.
    /// </summary>
    public TaskCompletionSource MakePromise() => new(PromiseOptions);

    private TaskCreationOptions PromiseOptions =>
        _isStepped ? TaskCreationOptions.None : TaskCreationOptions.RunContinuationsAsynchronously;

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

    /// <summary>
    /// Takes a poller out. On the reactor's thread; called from inside a poll it may be polled once more in this turn.
    /// </summary>
    public void Remove(IPoller poller)
    {
        AssertCurrent();
        _pollers = Array.FindAll(_pollers, p => !ReferenceEquals(p, poller));
    }

    /// <summary>
    /// Adds a further ring (128-byte entries, IOPOLL) that this reactor then submits and reaps. On the reactor's thread.
    /// </summary>
    public void AddRing(IoUring ring)
    {
        AssertCurrent();
        _rings = [.. _rings, ring];
        WatchRing(ring);
        _pins.AddRing(ring);
    }

    /// <summary>Takes a ring out; the caller disposes it, on this thread. Nothing of it may be in flight.</summary>
    public void RemoveRing(IoUring ring)
    {
        AssertCurrent();
        _rings = Array.FindAll(_rings, r => !ReferenceEquals(r, ring));
        _pins.RemoveRing(ring);
        ForgetInEpoll(ring.DoorbellFd);
    }

    /// <summary>
    /// Takes a poller out that cannot go on, tells it (<see cref="IPoller.OnDropped"/>) and raises <see cref="Faulted"/>. The
    /// loop does this with a poller that throws; a poller does it by itself when it throws elsewhere (in a completion), where the
    /// exception would unwind through a drive. On the reactor's thread; it may be polled once more in this turn.
    /// </summary>
    public void Drop(IPoller poller, Exception error)
    {
        ArgumentNullException.ThrowIfNull(poller);
        AssertCurrent();
        _faults++;
        Remove(poller);
        try
        {
            poller.OnDropped(error);
        }
#pragma warning disable CA1031 // It is broken, and out already.
        catch (Exception)
#pragma warning restore CA1031
        {
            _faults++;
        }

        Tell(poller, error);
    }

    /// <summary>Schedules a timer for a time of <see cref="NowNs"/>'s clock, or moves it. On the reactor's thread.</summary>
    public void Schedule(ReactorTimer timer, long dueNs) => _timers.Set(timer, dueNs);

    /// <summary>Takes a timer out. On the reactor's thread.</summary>
    public void Cancel(ReactorTimer timer) => _timers.Remove(timer);

    /// <summary>Stops the loop and joins the thread. Pollers must be removed before. Not on the reactor's thread.</summary>
    public void Dispose()
    {
        if (_isStepped)
        {
            EndSteps();
            return;
        }

        if (IsCurrent)
        {
            throw new InvalidOperationException($"{Name} cannot wait for its own thread: dispose it from another.");
        }

        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        Post(new DelegateWork(() => _stopping = true));
        _thread!.Join();
        CloseDescriptors();
        _started.Dispose();
    }

    internal void AssertCurrent()
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
