// What --json prints and what goes over the control socket. These names are documented in docs/cli.md and stay.

using System.Globalization;
using System.Text.Json.Serialization;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Frontends;

namespace Polyblk.Host.Model;

/// <summary>One volume, for <c>volume list</c> and <c>volume show</c>.</summary>
public sealed record VolumeJson
{
    public required string Name { get; init; }

    public required Guid Uuid { get; init; }

    public required string Level { get; init; }

    /// <summary>
    /// Into how many groups of neighbours the members of raid50 and raid60 are cut; null where the level has none.
    /// </summary>
    public int? Groups { get; init; }

    public int ChunkBytes { get; init; }

    /// <summary>Size in bytes; null when the volume cannot be looked at now.</summary>
    public long? SizeBytes { get; init; }

    public bool Volatile { get; init; }

    /// <summary>Whether the daemon serves it in a process of its own; null for no.</summary>
    public bool? Isolated { get; init; }

    /// <summary>With which others it shares spares; null with none.</summary>
    public string? SpareGroup { get; init; }

    /// <summary>Whether this host has a record of it; false for what a scan found.</summary>
    public bool Recorded { get; init; } = true;

    public required IReadOnlyList<string> Drives { get; init; }

    /// <summary>
    /// <c>stopped</c>, <c>served</c>, <c>waiting</c> (the daemon waits for its drives), or <c>busy</c> (a process works on it that does not
    /// answer); of <c>volume delete</c>:
    /// <c>forgotten</c>
    /// or <c>deleted</c>.
    /// </summary>
    public required string Status { get; init; }

    /// <summary>Why the daemon does not serve it; null where it does, or is not to.</summary>
    public string? NotServed { get; init; }

    /// <summary>The process that serves it.</summary>
    public int? Pid { get; init; }

    /// <summary>How it is.</summary>
    public Health Health { get; init; } = Health.Optimal;

    /// <summary>Why it is failed or unknown, where there is no array that says so; null otherwise.</summary>
    public string? Problem { get; init; }

    /// <summary>The array; null for a single drive, and when it is not known.</summary>
    public ArrayJson? Array { get; init; }

    /// <summary>What the serving process says, for <c>volume show</c>.</summary>
    public LiveJson? Live { get; init; }

    /// <summary>What has happened to it lately, for <c>volume show</c>.</summary>
    public IReadOnlyList<EventJson>? History { get; init; }

    /// <summary>What was done, of a command that changes members: in sentences.</summary>
    public string? Message { get; init; }

    /// <summary>Of <c>volume stop</c>: what drives did not answer until the end; null where nothing was left.</summary>
    public IReadOnlyList<UnfinishedJson>? Unfinished { get; init; }
}

/// <summary>Requests without which a volume was ended, because their drive does not answer.</summary>
/// <param name="Role">The member's role; null for a volume of one drive.</param>
/// <param name="Drive">The drive.</param>
/// <param name="Requests">How many are at the drive.</param>
/// <param name="OldestSeconds">How long the oldest of them has been there, in seconds; of one drive, since when none was
/// answered.</param>
public sealed record UnfinishedJson(int? Role, string Drive, int Requests, int OldestSeconds)
{
    /// <summary>In words.</summary>
    public override string ToString() =>
        $"{(Role is int role ? $"member {role} ({Drive})" : Drive)}: {Requests} request{(Requests == 1 ? string.Empty : "s")}, "
            + $"the oldest {OldestSeconds} s old";
}

/// <summary>The array under a volume.</summary>
public sealed record ArrayJson
{
    /// <summary>How it is, in the words of all volumes.</summary>
    public required Health Health { get; init; }

    /// <summary>Why it cannot start as it is, and what to do.</summary>
    public string? Problem { get; init; }

    /// <summary>What needs the attention of a human.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Resync progress, 0 to 1; null when none runs.</summary>
    public double? ResyncProgress { get; init; }

    /// <summary>How it is put right after an unclean stop: journal, bitmap or none; null where no members can disagree.</summary>
    public string? Consistency { get; init; }

    /// <summary>Whether each block of its members has a checksum.</summary>
    public bool Checksums { get; init; }

    /// <summary>Whether a resync is needed that is not done, because the array is only read.</summary>
    public bool ResyncIsLeft { get; init; }

    /// <summary>The resync that runs or is needed; null when none is.</summary>
    public ProgressJson? Resync { get; init; }

    /// <summary>The rebuild of members that have new drives; null when there is none.</summary>
    public ProgressJson? Rebuild { get; init; }

    /// <summary>The replacement of a drive that works; null when there is none.</summary>
    public ReplacementJson? Replacement { get; init; }

    /// <summary>The reshape that is under way; null when there is none.</summary>
    public ReshapeJson? Reshape { get; init; }

    /// <summary>After how many seconds members are compared anew; 0 never; null where there are no others.</summary>
    public long? CheckEverySeconds { get; init; }

    /// <summary>
    /// After how many seconds without an answer others are read in a member's place; null where there are none.
    /// </summary>
    public int? SlowReadSeconds { get; init; }

    /// <summary>After how many seconds without an answer a member is out; 0 never; null where there are no others.</summary>
    public int? DriveTimeoutSeconds { get; init; }

    /// <summary>The comparison of members that runs, or the last one that came to its end; null when there was none.</summary>
    public CheckJson? Check { get; init; }

    /// <summary>The most that either does, in bytes a second of every member; null where there is no bound.</summary>
    public long? MaxRebuildBytesPerSecond { get; init; }

    /// <summary>What to type next, in commands.</summary>
    public IReadOnlyList<string> Advice { get; init; } = [];

    /// <summary>Ranges in which members do not agree, or cannot be read, until they are written or resynced.</summary>
    public int RangesInDoubt { get; init; }

    public IReadOnlyList<MemberJson> Members { get; init; } = [];

    /// <summary>The drives that wait to take a lost member's place.</summary>
    public IReadOnlyList<string> Spares { get; init; } = [];

    /// <summary>Drives that are recorded and of no use to the array.</summary>
    public IReadOnlyList<OtherDriveJson> OtherDrives { get; init; } = [];
}

/// <summary>
/// What <c>volume check</c> or <c>volume repair</c> has found. Ranges are rows of a stripe, or up to 64 KiB of a mirror.
/// </summary>
public sealed record CheckJson
{
    /// <summary>Whether members are made to agree.</summary>
    public required bool Repair { get; init; }

    /// <summary>Bytes of every member that were looked at.</summary>
    public required long DoneBytes { get; init; }

    /// <summary>Bytes of every member in all.</summary>
    public required long TotalBytes { get; init; }

    /// <summary>Whether it came to the end.</summary>
    public required bool Complete { get; init; }

    /// <summary>Ranges in which members differ, and that were left.</summary>
    public required long Differing { get; init; }

    /// <summary>Ranges of which it was known what was wrong, and that were made right.</summary>
    public required long Repaired { get; init; }

    /// <summary>Ranges that were made to agree, without knowing which member was right.</summary>
    public required long MadeToAgree { get; init; }

    /// <summary>Ranges that cannot be read from all members, or not be written.</summary>
    public required long Unreadable { get; init; }

    /// <summary>Ranges that could not be compared: a member is lost there, or a resync has yet to come.</summary>
    public required long Skipped { get; init; }

    /// <summary>Where in the volume, in bytes, the first finding is; null without one.</summary>
    public long? FirstOffset { get; init; }

    /// <summary>When it ended; null while it is under way.</summary>
    public DateTimeOffset? EndedUtc { get; init; }

    /// <summary>Whether nothing was found.</summary>
    [JsonIgnore]
    public bool IsSound => Differing + Repaired + MadeToAgree + Unreadable == 0;

    /// <summary>Whole percent that are done.</summary>
    [JsonIgnore]
    public int Percent => TotalBytes == 0 ? 100 : (int)(100 * DoneBytes / TotalBytes);

    /// <summary>In words.</summary>
    public override string ToString()
    {
        string what = Repair ? "repair" : "check";
        string state = EndedUtc is null ? $"{what} {Percent} %" : Complete ? $"{what} complete" : $"{what} ended at {Percent} %";
        string when = EndedUtc is DateTimeOffset ended ? string.Create(CultureInfo.InvariantCulture, $" ({ended:yyyy-MM-dd HH:mm} UTC)") : string.Empty;
        (long Count, string What)[] found =
        [
            (Differing, "differ"), (Repaired, "repaired"), (MadeToAgree, "made to agree, of which nobody knows what was right"),
            (Unreadable, "not readable"), (Skipped, "not compared"),
        ];
        string ranges = string.Join(", ", found.Where(f => f.Count != 0).Select(f => $"{f.Count} ranges {f.What}"));
        string first = FirstOffset is long at ? $"; the first at byte {at} of the volume" : string.Empty;
        return (ranges.Length == 0 ? $"{state}: members agree" : $"{state}: {ranges}{first}") + when;
    }
}

/// <summary>How far a resync or a rebuild is.</summary>
/// <param name="DoneBytes">Bytes of every member that are done.</param>
/// <param name="TotalBytes">Bytes of every member in all.</param>
/// <param name="BytesPerSecond">The present speed, in bytes a second of every member; 0 while it waits.</param>
public sealed record ProgressJson(long DoneBytes, long TotalBytes, long BytesPerSecond)
{
    /// <summary>0 to 1.</summary>
    public double Progress => TotalBytes == 0 ? 1 : (double)DoneBytes / TotalBytes;

    /// <summary>At the present speed; null while it waits.</summary>
    public long? RemainingSeconds => BytesPerSecond > 0 ? (TotalBytes - DoneBytes + BytesPerSecond - 1) / BytesPerSecond : null;

    /// <summary>Whether it is needed and is not done: the array is only read, or not served.</summary>
    public bool IsLeft { get; init; }

    /// <summary>Whole percent that are done: 100 only when all is.</summary>
    [JsonIgnore]
    public int Percent => (int)(100 * Progress);

    /// <summary>In words.</summary>
    public override string ToString()
    {
        string of = $"{Percent} % of {ByteSize.FormatRounded(TotalBytes)} a member";
        return RemainingSeconds is not long left ? of
            : $"{of}, {ByteSize.FormatRounded(BytesPerSecond)}/s, {Duration(left)} left";
    }

    private static string Duration(long seconds) => seconds switch
    {
        < 90 => $"{seconds} s",
        < 90 * 60 => $"{(seconds + 30) / 60} min",
        _ => $"{seconds / 3600} h {seconds / 60 % 60} min",
    };
}

/// <summary>A drive that works and is being replaced; it serves until the new one holds all that it holds.</summary>
/// <param name="Role">The member.</param>
/// <param name="OldDrive">Its drive.</param>
/// <param name="NewDrive">The one that takes its place.</param>
/// <param name="Copy">How much of it is copied, in bytes of the drive.</param>
public sealed record ReplacementJson(int Role, string OldDrive, string NewDrive, ProgressJson Copy);

/// <summary>
/// Drives were added, or the level changes, and the volume is being moved to its new shape; it is as large as before until the
/// end.
/// </summary>
/// <param name="OldMembers">How many members it had.</param>
/// <param name="NewMembers">How many it gets.</param>
/// <param name="Progress">How much of every member is made, in bytes.</param>
public sealed record ReshapeJson(int OldMembers, int NewMembers, ProgressJson Progress)
{
    /// <summary>The level that it had.</summary>
    public string? OldLevel { get; init; }

    /// <summary>The level that it gets; the same where only drives were added.</summary>
    public string? NewLevel { get; init; }

    /// <summary>How many members it may lose until the end: what both shapes survive.</summary>
    public int? Redundancy { get; init; }

    /// <summary>What becomes what, in words.</summary>
    public string Describe() => OldLevel == NewLevel ? $"from {OldMembers} to {NewMembers} drives"
        : $"from {OldLevel} over {OldMembers} to {NewLevel} over {NewMembers} drives";
}

/// <summary>A drive that is recorded and of no use to the array.</summary>
/// <param name="Drive">The drive, as it is recorded.</param>
/// <param name="State"><c>not used</c> or <c>left out</c>.</param>
/// <param name="Problem">Why.</param>
public sealed record OtherDriveJson(string Drive, string State, string Problem)
{
    private const string NotUsedState = "not used";

    /// <summary>A drive that the array cannot use.</summary>
    public static OtherDriveJson LeftOut(string drive, string problem) => new(drive, MemberJson.LeftOut, problem);

    /// <summary>A drive whose place another one has.</summary>
    public static OtherDriveJson NotUsed(string drive) => new(drive, NotUsedState, "its data is stale, or it holds none");
}

/// <summary>One member of an array.</summary>
/// <param name="Role">Its role, from 0.</param>
/// <param name="Drive">Its drive, or null when none is there.</param>
/// <param name="State"><c>present</c>, <c>rebuilding</c>, <c>missing</c>, <c>failed</c> or <c>left out</c>.</param>
public sealed record MemberJson(int Role, string? Drive, string State)
{
    /// <summary>The state of a member that is in use.</summary>
    public const string Present = "present";

    /// <summary>The <see cref="State"/> of one without a drive.</summary>
    public const string Missing = "missing";

    /// <summary>The <see cref="Reason"/> of one whose drive was not there.</summary>
    public const string Absent = "absent";

    /// <summary>The state of a member that is being filled.</summary>
    public const string Rebuilding = "rebuilding";

    /// <summary>The state of a drive that is there and cannot be used.</summary>
    public const string LeftOut = "left out";

    /// <summary>Whether its drive is in use: it holds all that it should, or a part.</summary>
    [JsonIgnore]
    public bool IsInUse => State is Present or Rebuilding;

    /// <summary>
    /// Why it is out: <c>absent</c>, <c>errors</c>, <c>asked</c> or <c>timed-out</c>; null where it is not, or that is not known.
    /// </summary>
    public string? Reason { get; init; }

    /// <summary>Why one that is left out is; null for others.</summary>
    public string? Problem { get; init; }

    /// <summary>Its own UUID, which is in its superblock; null when it is not known.</summary>
    public Guid? Uuid { get; init; }

    /// <summary>Where a member that is not there was when it was last seen.</summary>
    public string? LastDrive { get; init; }

    /// <summary>What the kernel called it then.</summary>
    public string? LastDevice { get; init; }

    /// <summary>The serial number of its drive, or of the one that it had; null where it gives none.</summary>
    public string? Serial { get; init; }

    /// <summary>Where the drive is plugged in; null where the host does not know.</summary>
    public string? Slot { get; init; }

    /// <summary>The last request that its drive answered with an error, since the start; null where there was none.</summary>
    public FaultJson? LastError { get; init; }

    public long ReadErrors { get; init; }

    public long WriteErrors { get; init; }

    public long Repairs { get; init; }

    /// <summary>Blocks that were not what had been written; null where nothing is known of that.</summary>
    public long? ChecksumErrors { get; init; }

    /// <summary>Places that it could not write, and that the other members serve.</summary>
    public int BadRanges { get; init; }

    /// <summary>How many bytes of it they have.</summary>
    public long BadBytes { get; init; }

    /// <summary>How long its oldest request in flight has been there, in seconds.</summary>
    public int OldestRequestSeconds { get; init; }

    /// <summary>What is asked of its drive; null where the volume is not served.</summary>
    public TrafficJson? Traffic { get; init; }
}

/// <summary>A request that a drive answered with an error.</summary>
/// <param name="Operation"><c>read</c>, <c>write</c>, <c>flush</c>, <c>discard</c> or <c>write-zeroes</c>.</param>
/// <param name="OffsetBytes">Where, in bytes of the drive.</param>
/// <param name="LengthBytes">How much, in bytes.</param>
/// <param name="Errno">The error's name.</param>
public sealed record FaultJson(string Operation, long OffsetBytes, long LengthBytes, string Errno)
{
    /// <summary>In words.</summary>
    public override string ToString() =>
        LengthBytes == 0 ? $"{Operation}: {Errno}" : $"{Operation} of {LengthBytes} bytes at {OffsetBytes}: {Errno}";
}

/// <summary>A served volume, as the process that serves it sees it.</summary>
public sealed record LiveJson
{
    public required string Volume { get; init; }

    public required Guid Uuid { get; init; }

    public required int Pid { get; init; }

    public DateTimeOffset StartedUtc { get; init; }

    public long SizeBytes { get; init; }

    /// <summary>Until when its consumers wait (<c>volume pause</c>); null while they do not.</summary>
    public DateTimeOffset? PausedUntilUtc { get; init; }

    public ArrayJson? Array { get; init; }

    /// <summary>How it is; a volume without an array is there, or is not served.</summary>
    [JsonIgnore]
    public Health Health => Array?.Health ?? Health.Optimal;

    /// <summary>Why the reactors run where they run.</summary>
    public required string ReactorPlan { get; init; }

    public required IReadOnlyList<ReactorJson> Reactors { get; init; }

    public required IReadOnlyList<ExportJson> Exports { get; init; }

    /// <summary>Counters of all exports together since the volume is served, those that were removed included.</summary>
    public ExportStatistics Statistics { get; init; } = new();

    /// <summary>How long their requests take.</summary>
    public LatenciesJson Latency { get; init; } = new();
}

/// <summary>One reactor.</summary>
public sealed record ReactorJson(
    string Name, int? Cpu, int Queues, long Turns, long BusyNs, long SpinNs, long SleepNs, long Sleeps, long Requests, long Faults)
{
    /// <summary>Those of a group, now.</summary>
    public static IReadOnlyList<ReactorJson> Of(ReactorGroup group)
    {
        IReadOnlyList<int> queues = group.Plan;
        return
        [
            .. group.Reactors.Select((reactor, i) =>
            {
                ReactorStatistics s = reactor.GetStatistics();
                return new ReactorJson(s.Name, s.Cpu, queues[i], s.Turns, s.BusyNs, s.SpinNs, s.SleepNs, s.Sleeps, s.Requests, s.Faults);
            }),
        ];
    }
}

/// <summary>One export.</summary>
public sealed record ExportJson
{
    /// <summary>The <see cref="State"/> of one that has ended by a failure.</summary>
    public const string FailedState = "failed";

    /// <summary>That of one that was stopped, or has come to its end.</summary>
    public const string EndedState = "ended";

    public required string Id { get; init; }

    public required string Frontend { get; init; }

    /// <summary><c>unix-socket</c>, <c>block-device</c> or <c>character-device</c>.</summary>
    public required string EndpointKind { get; init; }

    public required string Endpoint { get; init; }

    public bool ReadOnly { get; init; }

    /// <summary><c>serving</c>, <c>ended</c> or <c>failed</c>.</summary>
    public required string State { get; init; }

    /// <summary>Why it failed; null otherwise.</summary>
    public string? Reason { get; init; }

    public IReadOnlyList<AttachCommand> Attach { get; init; } = [];

    public IReadOnlyList<string> Notes { get; init; } = [];

    public ExportStatistics? Statistics { get; init; }

    /// <summary>How long its requests take; null while it is not served.</summary>
    public LatenciesJson? Latency { get; init; }
}
