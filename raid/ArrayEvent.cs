// What an array tells of itself: facts. The sentence for a log is made of them in one place (Control/EventText.cs).

using Polyblk.Core.Block;
using Polyblk.Raid.Control;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid;

/// <summary>How serious an <see cref="ArrayEvent"/> is.</summary>
public enum ArrayEventLevel
{
    /// <summary>The ordinary course.</summary>
    Information,

    /// <summary>Something needs attention; data is safe.</summary>
    Warning,

    /// <summary>Data or service is lost.</summary>
    Error,
}

/// <summary>What has happened. The names, in kebab case, are the vocabulary of docs/events.md, and stay.</summary>
public enum ArrayEventKind
{
    /// <summary>A member is out: role, drive, why, and what its drive answered last.</summary>
    MemberFailed,

    /// <summary>A drive that is there cannot be used as the member that it was: the reason says why.</summary>
    MemberLeftOut,

    /// <summary>A member does not answer: for how many seconds.</summary>
    MemberSlow,

    /// <summary>It does again.</summary>
    MemberAnswersAgain,

    /// <summary>A member has failed reads: how many since the start, and the last one.</summary>
    MemberReadErrors,

    /// <summary>
    /// A member returned something else than what was written to it: how often since the start, and where on the drive last.
    /// </summary>
    MemberChecksumErrors,

    /// <summary>Checksums of a member could not be used, or not be kept: the reason says which.</summary>
    ChecksumsLost,

    /// <summary>A member has failed so many reads in a row that it is given up.</summary>
    MemberUnreadable,

    /// <summary>A member could not write a block: how many bad ranges it has now.</summary>
    MemberBadRanges,

    /// <summary>It has none any more.</summary>
    MemberBadRangesGone,

    /// <summary>Members are out or being rebuilt: how many of how many. At a start too.</summary>
    Degraded,

    /// <summary>All members are in use again.</summary>
    RedundancyRestored,

    /// <summary>More is lost than the level can lose.</summary>
    ArrayFailed,

    /// <summary>
    /// Another host or process uses the array: this one's part is ended. On which member that was found; the reason says who.
    /// </summary>
    Fenced,

    /// <summary>Members do not agree in so many ranges.</summary>
    InDoubt,

    /// <summary>What was found at a start, and left: the reason says what.</summary>
    StartProblem,

    /// <summary>So many rows that were being written were put right from the journal.</summary>
    JournalReplayed,

    /// <summary>Slots of the journal could not be read, or rows not be put right.</summary>
    JournalDamaged,

    /// <summary>The superblocks have a newer format from now on.</summary>
    FormatUpgraded,

    /// <summary>A resync has started.</summary>
    ResyncStarted,

    /// <summary>A tenth more of it is done.</summary>
    ResyncProgress,

    /// <summary>It is complete.</summary>
    ResyncEnded,

    /// <summary>A member is being rebuilt; with a length where that is all that it has missed.</summary>
    RebuildStarted,

    /// <summary>A tenth more of it is done.</summary>
    RebuildProgress,

    /// <summary>It stands still at an offset of the members.</summary>
    RebuildStalled,

    /// <summary>It is complete.</summary>
    RebuildEnded,

    /// <summary>Members are being compared.</summary>
    ScrubStarted,

    /// <summary>That is over: what was found.</summary>
    ScrubEnded,

    /// <summary>A drive that works is being replaced by another.</summary>
    ReplacementStarted,

    /// <summary>A tenth more of it is copied.</summary>
    ReplacementProgress,

    /// <summary>It stands still at an offset of the old drive.</summary>
    ReplacementStalled,

    /// <summary>It is complete.</summary>
    ReplacementEnded,

    /// <summary>It was given up, and the old drive goes on.</summary>
    ReplacementGivenUp,

    /// <summary>It has to wait: the reason says for what.</summary>
    ReplacementRefused,

    /// <summary>The old drive has failed meanwhile: the new one is filled from the others.</summary>
    ReplacementBecameRebuild,

    /// <summary>The array is being spread over more members, or gets another level.</summary>
    ReshapeStarted,

    /// <summary>A tenth more of it is done.</summary>
    ReshapeProgress,

    /// <summary>It stands still at an offset of the volume.</summary>
    ReshapeStalled,

    /// <summary>It waits for a resync that this run cannot do.</summary>
    ReshapeStuck,

    /// <summary>It is complete.</summary>
    ReshapeEnded,

    /// <summary>A spare, or a drive that was away, takes a lost member's place.</summary>
    SpareTaken,

    /// <summary>It cannot: the reason says why.</summary>
    SpareRefused,

    /// <summary>The array was to be changed and could not be started again: requests end with errors.</summary>
    RestartFailed,

    /// <summary>The control task failed: writes are refused.</summary>
    ControlFailed,
}

/// <summary>Something that happened to an array. Which of the fields it has depends on its kind.</summary>
/// <param name="Kind">What has happened.</param>
public sealed record ArrayEvent(ArrayEventKind Kind)
{
    /// <summary>The array's name.</summary>
    public string Array { get; init; } = string.Empty;

    /// <summary>How serious it is.</summary>
    public ArrayEventLevel Level => EventText.LevelOf(this);

    /// <summary>One sentence that names the array and says what to do where there is something to do.</summary>
    public string Message => EventText.MessageOf(this);

    /// <summary>The member it is about, from 0.</summary>
    public int? Role { get; init; }

    /// <summary>Its drive's name; null where it has none.</summary>
    public string? Drive { get; init; }

    /// <summary>The drive that comes.</summary>
    public string? NewDrive { get; init; }

    /// <summary>Why a member is out.</summary>
    public OutReason WhyOut { get; init; }

    /// <summary>The last request that the drive answered with an error.</summary>
    public BlockFault? Fault { get; init; }

    /// <summary>Where: of the members, a drive or the volume, as the kind says; in bytes.</summary>
    public long? OffsetBytes { get; init; }

    /// <summary>How much is to be done, in bytes.</summary>
    public long? LengthBytes { get; init; }

    /// <summary>An errno without a request of a drive, positive.</summary>
    public int? ErrorNumber { get; init; }

    /// <summary>How many: members, reads, rows, ranges.</summary>
    public long? Count { get; init; }

    /// <summary>
    /// Of how many; of a reshape, how many members it gets; of a damaged journal, the slots that could not be read.
    /// </summary>
    public long? Of { get; init; }

    /// <summary>Of a reshape that changes the level: the one that the array had.</summary>
    public string? FromLevel { get; init; }

    /// <summary>Of the same, the one that it gets.</summary>
    public string? ToLevel { get; init; }

    /// <summary>How far the work is, 0 to 100.</summary>
    public int? Percent { get; init; }

    /// <summary>For how long, in seconds.</summary>
    public int? Seconds { get; init; }

    /// <summary>Of a scrub: how it is.</summary>
    public ScrubStatus? Scrub { get; init; }

    /// <summary>Whether it began by itself, as it does every now and then.</summary>
    public bool IsScheduled { get; init; }

    /// <summary>Whether it was found at a start.</summary>
    public bool IsAtStart { get; init; }

    /// <summary>Whether what could not be done is tried again by itself.</summary>
    public bool IsTriedAgain { get; init; }

    /// <summary>Whether the file systems should be checked.</summary>
    public bool MayHaveDamaged { get; init; }

    /// <summary>Why, in the words of whoever refused: one sentence or a part of one.</summary>
    public string? Reason { get; init; }
}
