// Tells of sessions, in a bounded number: a client that connects again and again must not push out of the store what matters.

using Polyblk.Frontends;
using Polyblk.Host.Model;

namespace Polyblk.Host.Events;

/// <summary>The sessions of a volume's exports. Any thread.</summary>
/// <param name="events">Who is told.</param>
/// <param name="clock">By which the window goes.</param>
internal sealed class SessionTeller(EventTeller events, TimeProvider clock) : IDisposable
{
    /// <summary>How many changes of an export are told one by one in a window; the rest of them in one event.</summary>
    public const int MostInWindow = 20;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Window> _windows = new(StringComparer.Ordinal);

    /// <summary>After which so many are told again.</summary>
    public static TimeSpan WindowLength { get; } = TimeSpan.FromMinutes(1);

    /// <summary>A session has come or gone.</summary>
    public void Tell(SessionChange change)
    {
        long beyond = 0;
        lock (_lock)
        {
            if (!_windows.TryGetValue(change.ExportId, out Window? window))
            {
                _windows.Add(change.ExportId, window = new Window { Began = clock.GetTimestamp() });
            }

            if (clock.GetElapsedTime(window.Began) >= WindowLength)
            {
                beyond = window.Beyond;
                (window.Began, window.Told, window.Beyond) = (clock.GetTimestamp(), 0, 0);
            }

            if (window.Told >= MostInWindow)
            {
                window.Beyond++;
                return;
            }

            window.Told++;
        }

        TellBeyond(change.ExportId, beyond);
        events.TellQuietly(new EventJson
        {
            Kind = change.WhyGone is null ? EventKinds.SessionAttached : EventKinds.SessionDetached,
            Export = change.ExportId,
            Session = change.Session,
            Peer = change.Peer,
            Reason = change.WhyGone,
        });
    }

    /// <summary>Says what was left out until now.</summary>
    public void Dispose()
    {
        KeyValuePair<string, Window>[] left;
        lock (_lock)
        {
            left = [.. _windows];
            _windows.Clear();
        }

        foreach ((string export, Window window) in left)
        {
            TellBeyond(export, window.Beyond);
        }
    }

    private void TellBeyond(string export, long count)
    {
        if (count != 0)
        {
            events.Tell(new EventJson { Kind = EventKinds.SessionsNotTold, Export = export, Count = count });
        }
    }

    private sealed class Window
    {
        public long Began { get; set; }

        public int Told { get; set; }

        public long Beyond { get; set; }
    }
}
