namespace Polyblk.Virtio;

/// <summary>
/// A thread that looks after all notifiers of the process: a write that stands still because the front-end wants it to must not
/// hold up a reactor (see EventFdNotifier.cs). It costs a look of a few nanoseconds at each notifier, ten times a second, and
/// nothing while there is none.
/// </summary>
internal static class NotifierWatch
{
    /// <summary>Milliseconds between two looks; a reactor is held up for two of them at most.</summary>
    private const int PeriodMs = 100;

    private static readonly Lock s_lock = new();
    private static readonly HashSet<EventFdNotifier> s_notifiers = [];
    private static bool s_runs;

    /// <summary>Looks after a notifier from now on.</summary>
    public static void Add(EventFdNotifier notifier)
    {
        lock (s_lock)
        {
            if (!s_runs)
            {
                // Where there is no thread for it, the notifier is not taken and the next one tries again.
                new Thread(Run, 64 << 10) { IsBackground = true, Name = "notifier watch" }.Start();
                s_runs = true;
            }

            s_notifiers.Add(notifier);
        }
    }

    /// <summary>Forgets a notifier; when this returns, nobody looks at it any more.</summary>
    public static void Remove(EventFdNotifier notifier)
    {
        lock (s_lock)
        {
            s_notifiers.Remove(notifier);
        }
    }

    private static void Run()
    {
        var stuck = new List<Action>();
        while (true)
        {
            Thread.Sleep(PeriodMs);
            lock (s_lock)
            {
                if (s_notifiers.Count == 0)
                {
                    s_runs = false;
                    return;
                }

                foreach (EventFdNotifier notifier in s_notifiers)
                {
                    if (notifier.FreeStuckWrite() is { } tell)
                    {
                        stuck.Add(tell);
                    }
                }
            }

            // Without the lock: an owner may let go of the notifier.
            stuck.ForEach(tell => tell());
            stuck.Clear();
        }
    }
}
