// The wording of events, and how serious they are: the one place in which facts become sentences.

using Polyblk.Core.Block;
using Polyblk.Raid.Superblock;
using static Polyblk.Raid.ArrayEventKind;

namespace Polyblk.Raid.Control;

/// <summary>See the top of the file.</summary>
internal static class EventText
{
    /// <summary>The sentence for a log: with the array's name.</summary>
    public static string MessageOf(ArrayEvent e) => e.Kind switch
    {
        Degraded when e.IsAtStart => $"Array {e.Array} starts without {e.Count} of {e.Of} members: replace what is missing.",
        RestartFailed =>
            $"Array {e.Array} was to be changed, and could not be started again; requests end with errors: {e.Reason}",
        _ => $"Array {e.Array}: {ClauseOf(e)}.",
    };

    /// <summary>The same as a sentence of its own, such as a warning of the status.</summary>
    public static string SentenceOf(ArrayEvent e)
    {
        string clause = ClauseOf(e);
        return char.ToUpperInvariant(clause[0]) + clause[1..] + ".";
    }

    /// <summary>How serious an event is.</summary>
    public static ArrayEventLevel LevelOf(ArrayEvent e) => e.Kind switch
    {
        ArrayFailed or Fenced or InDoubt or RebuildStalled or ReplacementStalled
            or ReshapeStalled or RestartFailed or ControlFailed => ArrayEventLevel.Error,
        MemberFailed or MemberLeftOut or MemberSlow or MemberReadErrors
            or MemberUnreadable or MemberBadRanges or MemberChecksumErrors or ChecksumsLost
            or Degraded or StartProblem or JournalDamaged
            or ReplacementGivenUp or ReplacementRefused or ReplacementBecameRebuild
            or ReshapeStuck or SpareRefused => ArrayEventLevel.Warning,
        ScrubEnded when e.Scrub is { HasFindings: true } => ArrayEventLevel.Warning,
        _ => ArrayEventLevel.Information,
    };

    /// <summary>A member as messages name it.</summary>
    public static string Member(int? role, string? drive) => drive is null ? $"member {role}" : $"member {role} ({drive})";

    /// <summary>So many bad ranges, as messages count them.</summary>
    public static string BadRanges(long count) => count == 1 ? "1 bad range" : $"{count} bad ranges";

    private static string Times(long? count) => count == 1 ? "once" : $"{count} times";

    private static string Member(ArrayEvent e) => Member(e.Role, e.Drive);

    /// <summary>What follows the array's name: without an end.</summary>
    private static string ClauseOf(ArrayEvent e) => e.Kind switch
    {
        MemberFailed when e.WhyOut == OutReason.TimedOut =>
            $"{Member(e)} has not answered a {e.Fault?.Request ?? "request"} for {e.Seconds} s and is out: "
                + "check the drive and its cable, or replace it",
        MemberFailed => $"{Member(e)} has failed and is out" + (e.Fault is { } fault ? $" ({fault})" : string.Empty)
            + ": replace the drive"
            + (e.MayHaveDamaged ? "; parity was being resynced, so the file systems should be checked" : string.Empty),
        MemberLeftOut or StartProblem or ReplacementRefused => e.Reason!.Trim().TrimEnd('.'),
        MemberSlow => $"{Member(e)} has not answered a request for {e.Seconds} s; reads take other ways where there are any, "
            + "writes wait for it: check the drive and its cable",
        MemberAnswersAgain => $"{Member(e)} answers again",
        MemberReadErrors => $"{Member(e)} has failed {e.Count} reads since the start"
            + (e.Fault is { } read ? $", last a {read}" : string.Empty) + ": check the drive",
        MemberChecksumErrors => $"{Member(e)} has returned something else than what was written to it, {Times(e.Count)} since "
            + $"the start, last for the block at byte {e.OffsetBytes} of the drive: check the drive, its cable, and the memory "
            + "of this host",
        ChecksumsLost => $"{Member(e)}: {e.Reason!.TrimEnd('.')}",
        MemberUnreadable => $"{Member(e)} has failed {e.Count} reads and more in a row, and not one has succeeded",
        MemberBadRanges => $"{Member(e)} could not write a block" + (e.Fault is { } write ? $" ({write})" : string.Empty)
            + $": it has {BadRanges(e.Count!.Value)} now, which the other members serve; replace it when convenient",
        MemberBadRangesGone => $"{Member(e)} has no bad ranges any more",
        Degraded => $"it is degraded: {e.Count} of {e.Of} members are out",
        RedundancyRestored => "all members are in use: its redundancy is restored",
        ArrayFailed => "more drives failed than the level can lose: writes are refused, reads are answered where they can be",
        Fenced => $"it is used by somebody else as well: the superblock of {Member(e)} is not what this process wrote ({e.Reason}). "
            + "Nothing is written any more from here. End one of the two, check its drives, and start it again: what both have "
            + "written may be mixed",
        InDoubt => $"members do not agree in {e.Count} ranges: they were refused by some, or could not be read from enough; "
            + (e.IsTriedAgain ? "they are tried again"
                : "what would have to be made for the lost member there is an error until it is written"),
        JournalReplayed => $"{e.Count} rows that were being written were put right from its journal",
        JournalDamaged => $"of its journal {e.Of} slots could not be read, and {e.Count} rows that were being written could not "
            + "be put right: check the drives",
        FormatUpgraded =>
            $"its superblocks are of format {e.Count} from now on: a polyblk that is older than this one does not start it",
        SpareTaken => $"{e.NewDrive} takes the place of {Member(e)}",
        SpareRefused => $"{e.NewDrive} cannot take the place of member {e.Role}: {e.Reason!.TrimEnd('.')}",
        ControlFailed => $"its control task failed, writes are refused from now on: {e.Reason!.TrimEnd('.')}",
        _ => WorkOf(e),
    };

    private static string WorkOf(ArrayEvent e) => e.Kind switch
    {
        ResyncStarted => "a resync has started",
        ResyncProgress => $"{e.Percent} % of the resync are done",
        ResyncEnded => "the resync is complete",
        RebuildStarted => $"{Member(e)} is being rebuilt"
            + (e.LengthBytes is long missed ? $": {missed} bytes of the volume, which it has missed" : string.Empty),
        RebuildProgress => $"{e.Percent} % of the rebuild are done",
        RebuildStalled => $"the rebuild of {Member(e)} stands still {e.OffsetBytes} bytes into the members: "
            + (e.ErrorNumber == Errno.ENOSPC ? "the new drive has no room. "
                : "a block there cannot be read from the other members. ")
            + "It is tried again; see to the drives. A block that cannot be read is known again when it is written",
        RebuildEnded => $"the rebuild of {Member(e)} is complete",
        ScrubStarted when e.IsScheduled => $"a {ScrubOf(e)} has started, as it is every now and then",
        ScrubStarted => $"a {ScrubOf(e)} has started",
        ScrubEnded => $"the {ScrubOf(e)} {EndOf(e.Scrub!)}",
        ReplacementStarted => $"{Member(e)} is being replaced by {e.NewDrive}, and serves until that is done",
        ReplacementProgress => $"{e.Percent} % of the replacement are done",
        ReplacementStalled =>
            $"the replacement of {Member(e)} by {e.NewDrive} stands still: a block at or behind byte {e.OffsetBytes} of the old "
            + "drive cannot be read, and could not be made from other members. It is tried again; a block that cannot be read is "
            + "known again when it is written",
        ReplacementEnded => $"the replacement of {Member(e)} by {e.NewDrive} is complete",
        ReplacementGivenUp =>
            $"the replacement of {Member(e)} by {e.NewDrive} was given up ({e.Reason}); the old drive goes on",
        ReplacementBecameRebuild =>
            $"{Member(e)} has failed while it was being replaced: {e.NewDrive} is filled from the other members",
        ReshapeStarted => e.ToLevel is null ? $"it is being reshaped from {e.Count} to {e.Of} members"
            : $"it is being reshaped from {e.FromLevel} over {e.Count} members to {e.ToLevel} over {e.Of}",
        ReshapeProgress => $"{e.Percent} % of the reshape are done",
        ReshapeStalled => $"the reshape stands still at byte {e.OffsetBytes} of the volume: "
            + (e.ErrorNumber == Errno.ENOSPC ? "a drive has no room. " : "what is there cannot be read or written. ")
            + "It is tried again; see to the drives",
        ReshapeStuck => "the reshape waits for a resync, which cannot be done without the members that are out. "
            + "Stop the volume and start it again: it goes on then",
        ReshapeEnded => e.ToLevel is null ? $"the reshape to {e.Of} members is complete"
            : $"the reshape to {e.ToLevel} over {e.Of} members is complete",
        _ => throw new InvalidOperationException($"An event of the kind {e.Kind} has no words."),
    };

    private static string ScrubOf(ArrayEvent e) => e.Scrub!.IsRepair ? "repair" : "check";

    private static string EndOf(ScrubStatus scrub)
    {
        string end = scrub.IsComplete ? "is complete"
            : $"ended after {scrub.DoneBytes} of {scrub.TotalBytes} bytes of every member";
        return !scrub.HasFindings
            ? $"{end}: everything that it compared agrees"
            : $"{end}: {string.Join(", ", Findings(scrub))}; the first at byte {scrub.FirstOffset} of the volume. "
                + "Check the drives and the memory of this host";
    }

    private static IEnumerable<string> Findings(ScrubStatus result)
    {
        if (result.Differing != 0)
        {
            yield return $"{result.Differing} ranges in which members differ were left as they are";
        }

        if (result.Repaired != 0)
        {
            yield return $"{result.Repaired} ranges were repaired";
        }

        if (result.MadeToAgree != 0)
        {
            yield return $"{result.MadeToAgree} ranges were made to agree, of which nobody knows whether the data is right";
        }

        if (result.Unreadable != 0)
        {
            yield return $"{result.Unreadable} ranges cannot be read from all members, or not be written";
        }
    }
}
