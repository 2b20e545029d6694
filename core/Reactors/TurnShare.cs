// How a reactor's turn is divided among those who use it.
//
// A reactor polls one poller after the other, so a request waits for what all the others do in a turn. What a turn does in all is
// bounded, and divided by owners (sessions), not by pollers: opening more queues gives nobody more of it. An owner's part is
// divided among its pollers in the same way. A poller takes work until it has used its part, and goes on in the next turn, which
// comes at once where there is work. The floor keeps batches from becoming too small to pay; where an owner has more pollers than
// its part has floors, they take turns: each works in one turn of so many. Beyond the floor turns grow with the number of owners.

namespace Polyblk.Core.Reactors;

/// <summary>
/// An owner's part of the turns of one reactor. Made by <see cref="Reactor.JoinTurns"/>; on the reactor's thread.
/// </summary>
public sealed class TurnShare
{
    /// <summary>What a turn may touch in all, in bytes: some 0.2 ms of copying.</summary>
    public const long TurnBytes = 2 << 20;

    /// <summary>The least part of a poller, in bytes.</summary>
    public const long LeastBytes = 32 << 10;

    internal TurnShare(object owner) => Owner = owner;

    /// <summary>
    /// What one poller of this owner may touch in a turn, in bytes. It changes when owners or pollers come and go.
    /// </summary>
    public long PollerBytes { get; internal set; }

    internal object Owner { get; }

    internal int Pollers { get; set; }

    /// <summary>In one turn of how many each poller of this owner works.</summary>
    internal int Groups { get; set; } = 1;

    internal int Tickets { get; set; }

    /// <summary>A number by which a poller's turns are told from those of the owner's others.</summary>
    public int TakeTicket() => Tickets++ & int.MaxValue;

    /// <summary>What the poller with a ticket may touch in a turn, in bytes: 0 when it is not one of its turns.</summary>
    public long BytesIn(long turn, int ticket) => Groups == 1 || (turn + ticket) % Groups == 0 ? PollerBytes : 0;
}

/// <summary>The owners on a reactor.</summary>
internal sealed class TurnShares
{
    private readonly List<TurnShare> _shares = [];

    public TurnShare Join(object owner)
    {
        TurnShare? share = _shares.Find(s => ReferenceEquals(s.Owner, owner));
        if (share is null)
        {
            share = new TurnShare(owner);
            _shares.Add(share);
        }

        share.Pollers++;
        Divide();
        return share;
    }

    public void Leave(TurnShare share)
    {
        if (--share.Pollers == 0)
        {
            _shares.Remove(share);
        }

        Divide();
    }

    private void Divide()
    {
        foreach (TurnShare share in _shares)
        {
            long part = Math.Max(TurnShare.LeastBytes, TurnShare.TurnBytes / _shares.Count);
            share.PollerBytes = Math.Max(TurnShare.LeastBytes, part / share.Pollers);
            share.Groups = (int)((share.PollerBytes * share.Pollers + part - 1) / part);
        }
    }
}
