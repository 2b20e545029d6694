// How a control task sleeps: until somebody sets its signal, or some time has passed.
//
// Setting it is for reactors too: it allocates nothing and waits for nothing. It only marks the signal and hands this object to
// the pool, where the sleeper is woken; on a scheduler of somebody else's, which is a test's, a task does that.
//
//     sleeper                                setter
//     A1  waiting = a promise                B1  set = 1 (interlocked: a full fence)
//     A2  full fence                         B2  later: complete what waiting is
//     A3  set is 1: do not sleep
//
// If A3 does not see B1, then A1 comes before B1 and so before B2, which completes the promise.

namespace Polyblk.Core.Control;

/// <summary>See the top of the file. One task waits at a time; any thread sets.</summary>
/// <param name="scheduler">Where the sleeper is woken.</param>
/// <param name="clock">By which it sleeps.</param>
public sealed class ControlSignal(TaskScheduler scheduler, TimeProvider clock) : IThreadPoolWorkItem
{
    private TaskCompletionSource? _waiting;
    private int _set;

    /// <summary>Wakes the task, or keeps it from its next sleep. Any thread; allocates nothing on the pool's scheduler.</summary>
    public void Set()
    {
        if (Interlocked.Exchange(ref _set, 1) != 0)
        {
            return;
        }

        if (ReferenceEquals(scheduler, TaskScheduler.Default))
        {
            ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);
        }
        else
        {
            _ = Task.Factory.StartNew(Wake, CancellationToken.None, TaskCreationOptions.None, scheduler);
        }
    }

    /// <summary>
    /// Waits until the signal is set, or for a time. What was set before is seen by what follows, and what is set from then on
    /// ends the next wait.
    /// </summary>
    public async Task WaitAsync(TimeSpan atMost)
    {
        var waiting = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Volatile.Write(ref _waiting, waiting);
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _set) == 0)
        {
            using ITimer timer = clock.CreateTimer(
                static state => ((TaskCompletionSource)state!).TrySetResult(), waiting, atMost, Timeout.InfiniteTimeSpan);
            await waiting.Task;
        }

        Volatile.Write(ref _set, 0);
        Interlocked.MemoryBarrier();
    }

    /// <summary>The pool's part of <see cref="Set"/>.</summary>
    void IThreadPoolWorkItem.Execute() => Wake();

    private void Wake()
    {
        // It may come late, when the sleeper has seen the signal already: the next sleep is not its.
        if (Volatile.Read(ref _set) != 0)
        {
            Volatile.Read(ref _waiting)?.TrySetResult();
        }
    }
}
