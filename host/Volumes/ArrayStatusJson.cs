using Polyblk.Core.Block;
using Polyblk.Host.Model;
using Polyblk.Raid;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>The state of an array in the names of the JSON, from the array itself or from its superblocks.</summary>
public static class ArrayStatusJson
{
    /// <summary>A running array.</summary>
    public static ArrayJson Of(ArrayStatus status) => new()
    {
        Health = status.Health == ArrayHealth.Failed ? Health.Failed : Healths.Of(
            status.Health == ArrayHealth.Degraded,
            status.Rebuild is { IsLeft: false },
            status.Resync is { IsLeft: true },
            status.Health == ArrayHealth.Resyncing && status.Resync is not { IsLeft: true }),
        ResyncProgress = status.Resync is { IsLeft: false } resync ? resync.Percent / 100 : null,
        ResyncIsLeft = status.Resync is { IsLeft: true },
        Resync = Progress(status.Resync),
        Rebuild = Progress(status.Rebuild),
        Replacement = status.Replacement is not ReplacementStatus replacement ? null : new ReplacementJson(
            replacement.Role, replacement.Old.Name, replacement.New.Name, Progress(replacement.Progress)!),
        Reshape = status.Reshape is not ReshapeStatus reshape ? null
            : new ReshapeJson(reshape.OldMembers, reshape.NewMembers, Progress(reshape.Progress)!)
            {
                OldLevel = reshape.OldLevel.Name(), NewLevel = reshape.NewLevel.Name(), Redundancy = reshape.Redundancy,
            },
        Check = Check(status.Scrub),
        RangesInDoubt = status.RangesInDoubt,
        Consistency = ConsistencyWord.Of(status.Consistency, status.Level),
        Checksums = status.Checksums,
        Warnings = status.Warnings,
        Spares = [.. status.SpareDrives.Where(d => !ReferenceEquals(d, status.Replacement?.New)).Select(d => d.Name)],
        Members =
        [
            .. status.Members.Select(m => new MemberJson(m.Role, m.Name.Length == 0 ? null : m.Name, StateName(m.State))
            {
                Reason = ReasonName(m.WhyOut),
                ReadErrors = m.ReadErrors,
                WriteErrors = m.WriteErrors,
                Repairs = m.Repairs,
                ChecksumErrors = m.ChecksumErrors,
                BadRanges = m.BadRanges,
                BadBytes = m.BadBytes,
                OldestRequestSeconds = m.OldestRequestSeconds,
                LastError = Fault(m.LastFault),
                Traffic = TrafficJson.Of(m),
            }),
        ],
    };

    public static string StateName(MemberState state) => state switch
    {
        MemberState.Present => MemberJson.Present,
        MemberState.Rebuilding => MemberJson.Rebuilding,
        MemberState.Failed => "failed",
        _ => MemberJson.Missing,
    };

    /// <summary>Why a member is out; null where that is not known.</summary>
    public static string? ReasonName(OutReason reason) => reason switch
    {
        OutReason.Absent => MemberJson.Absent,
        OutReason.Errors => "errors",
        OutReason.Asked => "asked",
        OutReason.TimedOut => "timed-out",
        _ => null,
    };

    /// <summary>What a comparison of members has found; null where there was none.</summary>
    public static CheckJson? Check(ScrubStatus? scrub) => scrub is null ? null : new CheckJson
    {
        Repair = scrub.IsRepair,
        DoneBytes = scrub.DoneBytes,
        TotalBytes = scrub.TotalBytes,
        Complete = scrub.IsComplete,
        Differing = scrub.Differing,
        Repaired = scrub.Repaired,
        MadeToAgree = scrub.MadeToAgree,
        Unreadable = scrub.Unreadable,
        Skipped = scrub.Skipped,
        FirstOffset = scrub.FirstOffset < 0 ? null : scrub.FirstOffset,
        EndedUtc = scrub.EndedAt,
    };

    private static FaultJson? Fault(BlockFault? fault) => fault is not { } its ? null
        : new FaultJson(its.Operation.Word(), its.OffsetBytes, its.LengthBytes, Errno.NameOf(its.ErrorNumber));

    private static ProgressJson? Progress(ResyncStatus? status) => status is null ? null
        : new ProgressJson(status.DoneBytes, status.TotalBytes, status.BytesPerSecond) { IsLeft = status.IsLeft };
}
