// Who may be connected: every connection counts from accept on, and each phase has its bound.
//
// Haggling takes milliseconds, so one that hangs is worth little: when all places are taken and one more client comes, the oldest
// of the process that holds most of them must go. A process that opens thousands of connections and says nothing drives out its
// own, and somebody who comes meanwhile gets in. Transmission may last for months without a request, so no session is ever ended
// for a newcomer; instead one process gets only a part of the seats.

namespace Polyblk.Frontends.Nbd;

/// <summary>A connection, from accept to its end.</summary>
#pragma warning disable CA1001 // The dismissal has no timer and no handle, and who dismisses may come after the end.
internal sealed class NbdGuest(int number, int processId)
#pragma warning restore CA1001
{
    private readonly CancellationTokenSource _dismissal = new();
    private readonly TaskCompletionSource _haggled = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Counts up; the smaller is the older.</summary>
    public int Number { get; } = number;

    /// <summary>The process that connected.</summary>
    public int ProcessId { get; } = processId;

    /// <summary>Ends its handshake.</summary>
    public CancellationToken Dismissal => _dismissal.Token;

    /// <summary>Whether it had to go for another.</summary>
    public bool IsDismissed => _dismissal.IsCancellationRequested;

    /// <summary>Whether it is in its transmission phase.</summary>
    public bool HasSeat { get; set; }

    /// <summary>Completes when it does not haggle any more: it has a seat, or its descriptor is closed.</summary>
    public Task Haggled => _haggled.Task;

    /// <summary>All that is done for it; completes when its descriptor is closed.</summary>
    public Task Serving { get; set; } = Task.CompletedTask;

    /// <summary>It does not haggle any more.</summary>
    public void EndHaggling() => _haggled.TrySetResult();

    /// <summary>Ends its handshake, if it still is in it.</summary>
    public void Dismiss() => _dismissal.Cancel();
}

/// <summary>Counts the connections of an export. Any thread.</summary>
internal sealed class NbdAdmission(NbdLimits limits)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<int, NbdGuest> _guests = [];
    private int _last;

    /// <summary>Everybody who is connected.</summary>
    public IReadOnlyList<NbdGuest> Guests
    {
        get
        {
            lock (_lock)
            {
                return [.. _guests.Values];
            }
        }
    }

    /// <summary>How many have a seat.</summary>
    public int Seated
    {
        get
        {
            lock (_lock)
            {
                return _guests.Values.Count(g => g.HasSeat);
            }
        }
    }

    /// <summary>Lets a connection in.</summary>
    /// <param name="processId">Who connected.</param>
    /// <param name="crowdedOut">Who must go for it, or null. The caller dismisses it and waits until it haggles no more.</param>
    public NbdGuest Enter(int processId, out NbdGuest? crowdedOut)
    {
        lock (_lock)
        {
            crowdedOut = null;
            NbdGuest[] haggling = [.. _guests.Values.Where(g => !g.HasSeat)];
            if (haggling.Length >= limits.Handshakes)
            {
                crowdedOut = haggling.GroupBy(g => g.ProcessId).MaxBy(g => g.Count())!.MinBy(g => g.Number)!;
            }

            var guest = new NbdGuest(++_last, processId);
            _guests[guest.Number] = guest;
            return guest;
        }
    }

    /// <summary>Gives a connection a seat in transmission; null, or why it gets none.</summary>
    public string? TakeSeat(NbdGuest guest)
    {
        lock (_lock)
        {
            int seats = _guests.Values.Count(g => g.HasSeat);
            int own = _guests.Values.Count(g => g.HasSeat && g.ProcessId == guest.ProcessId);
            if (seats >= limits.Sessions)
            {
                return $"{seats} clients are connected, and more are not served: end one of them";
            }

            if (own >= limits.SessionsOfProcess)
            {
                return $"process {guest.ProcessId} has {own} connections, and no process gets more";
            }

            guest.HasSeat = true;
            guest.EndHaggling();
            return null;
        }
    }

    /// <summary>The transmission phase is over; the descriptor is not closed yet.</summary>
    public void LeaveSeat(NbdGuest guest)
    {
        lock (_lock)
        {
            guest.HasSeat = false;
        }
    }

    /// <summary>A connection has ended.</summary>
    public void Leave(NbdGuest guest)
    {
        lock (_lock)
        {
            _guests.Remove(guest.Number);
            guest.EndHaggling();
        }
    }
}
