// The reshape of a running array, as all its queues see it: how far it is, and which window of the volume is closed.
//
// Theory of operation. The frontier and the window are the control task's (Control/Reshaping.cs), which tells every router of
// them on its reactor, one after the other. So routers do not all have the same frontier at a moment, and need not: what lies
// between two of their frontiers is the window, closed everywhere from before its first byte is moved until after the frontier
// behind it is recorded; and what was recorded is told to all before the next window is closed.
//
//     control                                    router
//     C1  window is closed (Window)              R1  what touches it waits from now on
//     C2  tell every router                      R2  what was sent before and touches it ends: answers
//     C3  all have answered: move, flush, record
//     C4  the frontier is behind it, no window   R3  goes by that; what waited goes on
//
// A router that is opened meanwhile looks at both after it was entered in the list, as the map is looked at
// (RaidArray.OpenQueue).

using Polyblk.Raid.Control;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Journal;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Reshape;

/// <summary>A range of the volume in bytes; empty when nothing is closed.</summary>
internal sealed record ReshapeWindow(long From, long To)
{
    public static ReshapeWindow None { get; } = new(0, 0);
}

/// <summary>See the top of the file.</summary>
internal sealed class ReshapeRun
{
    private long _frontier;
    private ReshapeWindow _window = ReshapeWindow.None;

    /// <param name="superblock">Speaks of a reshape.</param>
    /// <param name="map">Where what lies.</param>
    /// <param name="usesJournal">Whether rows that are written in part are recorded.</param>
    /// <param name="hasJournal">Whether a journal can be at all.</param>
    public ReshapeRun(ArraySuperblock superblock, ReshapeMap map, bool hasJournal, bool usesJournal)
    {
        Map = map;
        _frontier = superblock.Reshape!.Frontier;
        OldJournal = hasJournal && Map.OldJournal is { } layout
            ? new WriteJournal(layout, Map.Old, superblock.ArrayUuid, usesJournal) : null;
    }

    /// <summary>Where what lies.</summary>
    public ReshapeMap Map { get; }

    /// <summary>The journal of the old geometry; null where there is none.</summary>
    public WriteJournal? OldJournal { get; }

    /// <summary>Below this byte of the volume the new geometry counts.</summary>
    public long Frontier => Volatile.Read(ref _frontier);

    /// <summary>What is closed.</summary>
    public ReshapeWindow Window => Volatile.Read(ref _window);

    /// <summary>Whether all of the new geometry is made.</summary>
    public bool IsComplete => Frontier == Map.New.Capacity;

    /// <summary>Nobody may touch a window from now on. The control task's.</summary>
    /// <remarks>A full fence: whoever opens a router that is not seen afterwards sees the window (RaidArray.OpenRouter).</remarks>
    public void Close(ReshapeWindow window) => Interlocked.Exchange(ref _window, window);

    /// <summary>The window is open again. The control task's.</summary>
    /// <param name="frontier">Behind it when it has been moved, otherwise as before.</param>
    public void Open(long frontier)
    {
        Volatile.Write(ref _frontier, frontier);
        Interlocked.Exchange(ref _window, ReshapeWindow.None);
    }

    /// <summary>What the superblocks are to say.</summary>
    public ReshapeRecord Describe(long frontier) => new(Map.Old.Level, Map.Old.MemberCount, Map.ShiftBytes, frontier);

    /// <summary>
    /// Whether a row is one of the old geometry. Rows of the gap are taken for new ones: nobody misses what they hold.
    /// </summary>
    public bool IsOld(long row) => row >= Map.OldBeginRow(Frontier);

    /// <summary>The first row from one on that may need a resync: it is of one of the two, and marked.</summary>
    /// <param name="intent">The marks.</param>
    /// <param name="row">The row.</param>
    public long NextMarked(WriteIntent intent, long row)
    {
        long frontier = Frontier;
        if (row < Map.NewEndRow(frontier))
        {
            long marked = intent.NextMarked(RaidUnits.VolumeOffset(Map.New, row));
            if (marked < frontier)
            {
                return Math.Max(row, RaidUnits.FromVolumeOffset(Map.New, marked));
            }
        }

        row = Math.Max(row, Map.OldBeginRow(frontier));
        long end = RaidUnits.Count(Map.Old);
        if (row >= end)
        {
            return end;
        }

        long old = intent.NextMarked(RaidUnits.VolumeOffset(Map.Old, row) - Map.Bias);
        return old >= Map.OldCapacity ? end : Math.Max(row, RaidUnits.FromVolumeOffset(Map.Old, old + Map.Bias));
    }
}
