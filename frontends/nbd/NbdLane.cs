// The connections of one export on one reactor: one poller, one supply of memory, one budget of work a turn.
//
// Theory of operation
//   * Turns. Whatever the number of connections, a turn moves at most TurnBytes of their data, and one connection at most its
//     quantum; so the other queues of the reactor wait no longer for 256 busy clients than for eight. The turn that follows
//     begins with the connection behind the last that was served.
//   * Memory. A connection may hold as much as is free beside it: one alone gets half of the lane's memory, n greedy ones leave
//     the (n+1)th part to a newcomer. Requests are large, so that part may come to nothing: what is kept for newcomers is there
//     for one small request of each connection that holds nothing. A large request, which may never find so much free among busy
//     neighbours, may take it from a reserve that is there for one connection at a time: so it is served in the end, however busy
//     the others are.
//   * Patience. While a connection waits for its client in the middle of something, a timer looks at all of them now and then.
//     Idle clients cost nothing and wake nobody.
//   * A connection in which something throws (a bug) ends alone: the lane catches it, so the others are polled on, and it still
//     waits for its requests at the device, so that the export can be stopped.

using Polyblk.Core.Reactors;

namespace Polyblk.Frontends.Nbd;

/// <summary>An export on one reactor. All calls are on the reactor's thread.</summary>
internal sealed class NbdLane : IPoller, IDisposable
{
    /// <summary>Looks of the timer in the time that a client is given.</summary>
    public const int Looks = 4;

    private const int TurnBytes = 2 << 20;
    private const int MaxBlocksOfConnection = (48 << 20) / BlockArena.BlockBytes;
    private const int ReserveBlocks = NbdProtocol.MaxRequestBytes / BlockArena.BlockBytes;

    // What is no larger finds its place when the others give back; the reserve is for what would not.
    private const int MiddleBlocks = (4 << 20) / BlockArena.BlockBytes;

    // As many connections as one process may have, each with a small request.
    private const int SmallBlocks = (256 << 10) / BlockArena.BlockBytes;
    private const int NewcomerBlocks = 128 * SmallBlocks;

    private readonly Reactor _reactor;
    private readonly BlockArena _arena;
    private readonly PatienceTimer _patience;
    private readonly long _lookNs;
    private NbdConnection[] _connections = [];
    private NbdConnection? _reserveHolder;
    private int _first;

    /// <summary>Reserves the memory and starts polling.</summary>
    /// <exception cref="IOException">There is no address space.</exception>
    public NbdLane(Reactor reactor, long memoryBytes, TimeSpan stallTime)
    {
        _reactor = reactor;
        _arena = new BlockArena((int)(memoryBytes / BlockArena.BlockBytes));
        _patience = new PatienceTimer(this);
        _lookNs = (long)(stallTime.TotalNanoseconds / Looks);
        reactor.Add(this);
    }

    /// <summary>Bytes of the turn's budget that are left.</summary>
    public int Budget { get; set; }

    /// <summary>Whether no connection is here.</summary>
    public bool IsEmpty => _connections.Length == 0;

    /// <summary>The data memory.</summary>
    public BlockArena Arena => _arena;

    /// <inheritdoc/>
    public int Poll()
    {
        NbdConnection[] connections = _connections;
        Budget = TurnBytes;
        int taken = 0;
        int first = _first < connections.Length ? _first : 0;
        int at = first;
        for (int i = 0; i < connections.Length; i++)
        {
            NbdConnection connection = connections[at];
            at = at + 1 < connections.Length ? at + 1 : 0;
            taken += Poll(connection);
            if (Budget <= 0)
            {
                _first = at;
                break;
            }
        }

        return taken;
    }

    /// <inheritdoc/>
    public bool TryArm()
    {
        foreach (NbdConnection connection in _connections)
        {
            if (!connection.CanSleep)
            {
                return false;
            }
        }

        return true;
    }

    /// <inheritdoc/>
    public void Disarm()
    {
    }

    /// <summary>
    /// What is caught here does not come to this; where it does all the same, nobody is polled any more: all end.
    /// </summary>
    public void OnDropped(Exception error)
    {
        foreach (NbdConnection connection in _connections)
        {
            connection.OnDropped(error);
        }
    }

    /// <summary>Takes a connection in.</summary>
    public void Add(NbdConnection connection) => _connections = [.. _connections, connection];

    /// <summary>Takes one out.</summary>
    public void Remove(NbdConnection connection) =>
        _connections = Array.FindAll(_connections, c => !ReferenceEquals(c, connection));

    /// <summary>
    /// Whether a connection that holds <paramref name="held"/> blocks may have so many more now. The one that has the reserve
    /// gives all back first: it must not keep the reserve from others by always asking for a little more.
    /// </summary>
    public bool MayTake(NbdConnection connection, int held, int blocks)
    {
        return blocks == 0 || (!ReferenceEquals(_reserveHolder, connection)
            && (Fits(held, blocks) || (held == 0 && blocks > MiddleBlocks && _reserveHolder is null && blocks <= _arena.FreeBlocks)));
    }

    /// <summary>Takes a chain for a connection.</summary>
    /// <returns>False when it may not have it now.</returns>
    public bool TryTake(NbdConnection connection, int held, int blocks, out int first)
    {
        first = BlockArena.None;
        if (!MayTake(connection, held, blocks))
        {
            return false;
        }

        if (!Fits(held, blocks))
        {
            _reserveHolder = connection;
        }

        first = _arena.Take(blocks);
        return true;
    }

    /// <summary>Gives a chain back.</summary>
    /// <param name="connection">Who had it.</param>
    /// <param name="held">Blocks that it still holds.</param>
    /// <param name="first">The chain's first block.</param>
    /// <param name="blocks">Its blocks.</param>
    public void Return(NbdConnection connection, int held, int first, int blocks)
    {
        _arena.Return(first, blocks);
        if (held == 0 && ReferenceEquals(_reserveHolder, connection))
        {
            _reserveHolder = null;
        }
    }

    /// <summary>Whether a connection may have so much without the reserve.</summary>
    private bool Fits(int held, int blocks)
    {
        int free = _arena.FreeBlocks - (_reserveHolder is null ? ReserveBlocks : 0);
        return held + blocks <= Math.Min(free - NewcomerBlocks, MaxBlocksOfConnection)
            || (held == 0 && blocks <= Math.Min(free, SmallBlocks));
    }

    /// <summary>A connection waits for its client in the middle of something: look at it later.</summary>
    public void WatchPatience()
    {
        if (!_patience.IsScheduled)
        {
            _reactor.Schedule(_patience, _reactor.ReadNs() + _lookNs);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _reactor.Cancel(_patience);
        _reactor.Remove(this);
        _arena.Dispose();
    }

    private static int Poll(NbdConnection connection)
    {
        try
        {
            return connection.Poll();
        }
#pragma warning disable CA1031 // A bug in one connection must not end the others; what it was becomes the reason in the log.
        catch (Exception e)
#pragma warning restore CA1031
        {
            connection.Fail(e);
            return 0;
        }
    }

    private void LookAtAll()
    {
        bool again = false;
        foreach (NbdConnection connection in _connections)
        {
            again |= connection.IsWaitingForClient();
        }

        if (again)
        {
            WatchPatience();
        }
    }

    private sealed class PatienceTimer(NbdLane lane) : ReactorTimer
    {
        protected override void OnDue() => lane.LookAtAll();
    }
}
