// What goes over the control sockets: one object a line. These names are documented in docs/cli.md and stay.

using System.Text.Json.Serialization;
using Polyblk.Host.State;

namespace Polyblk.Host.Model;

/// <summary>A line to the control socket.</summary>
public sealed record ControlRequest
{
    /// <summary>
    /// <c>show</c>, <c>stop</c>, <c>resize</c>, <c>acknowledge</c>, <c>fail</c>, <c>replace</c>, <c>add-spare</c>, <c>remove</c>, <c>reshape</c>, <c>grow</c>,
    /// <c>check</c>, <c>repair</c>, <c>stop-check</c>, <c>pause</c>, <c>resume</c> or <c>set</c>. To the daemon: <c>show</c>,
    /// <c>start</c>, <c>add-export</c>, <c>remove-export</c> or <c>restart</c>.
    /// </summary>
    public required string Command { get; init; }

    /// <summary>Whether it asks for a change.</summary>
    [JsonIgnore]
    public bool IsChange => Command != "show";

    /// <summary>What it asks for, in words: for the log.</summary>
    public string Describe() =>
        string.Join(' ', new[] { Command, ExportId ?? Volume, ExportInWords, Level, Drive, NewDrive }
            .Concat(MoreDrives ?? []).Where(word => !string.IsNullOrEmpty(word)));

    private string? ExportInWords => Export is null ? null : $"{Export.Frontend} {Export.Describe()}".TrimEnd();

    /// <summary>For changes of members: the drive, or the number of the member. Paths are absolute.</summary>
    public string? Drive { get; init; }

    /// <summary>For <c>reshape</c>: the drives that come with the first.</summary>
    public IReadOnlyList<string> MoreDrives { get; init; } = [];

    /// <summary>For <c>reshape</c>: the level that the volume gets; null to keep its own.</summary>
    public string? Level { get; init; }

    /// <summary>For <c>replace</c>: the drive that comes.</summary>
    public string? NewDrive { get; init; }

    /// <summary>For <c>set</c>: after how many seconds members are compared anew; 0 never.</summary>
    public long? CheckEverySeconds { get; init; }

    /// <summary>For <c>set</c>: after how many seconds without an answer others are read in a member's place.</summary>
    public int? SlowReadSeconds { get; init; }

    /// <summary>For <c>set</c>: after how many seconds without an answer a member is out; 0 never.</summary>
    public int? DriveTimeoutSeconds { get; init; }

    /// <summary>For <c>pause</c>: after how many seconds it goes on by itself.</summary>
    public int? Seconds { get; init; }

    /// <summary>For <c>set</c>: how the volume is put right after an unclean stop: journal, bitmap or none.</summary>
    public string? Consistency { get; init; }

    /// <summary>For <c>replace</c>: a drive that works is taken out first.</summary>
    public bool FailFirst { get; init; }

    /// <summary>
    /// For <c>set</c>: the most that a resync or rebuild does, in bytes a second of every member; 0 sets no bound.
    /// </summary>
    public long? MaxRebuildBytesPerSecond { get; init; }

    /// <summary>
    /// For <c>stop</c>: also when somebody uses it. For <c>resize</c>: also to a smaller size. For a drive that comes: overwrite
    /// whatever it holds.
    /// </summary>
    public bool Force { get; init; }

    /// <summary>For <c>show</c>: with whole histograms (<see cref="ControlResponse.Statistics"/>).</summary>
    public bool Histograms { get; init; }

    /// <summary>To the daemon: the volume.</summary>
    public string? Volume { get; init; }

    /// <summary>For <c>add-export</c>: what it is; its number is chosen by the daemon.</summary>
    public ExportRecord? Export { get; init; }

    /// <summary>For <c>remove-export</c>: its id.</summary>
    public string? ExportId { get; init; }

    /// <summary>For <c>start</c>: what a user allows at this start.</summary>
    public StartPermissions? Allow { get; init; }

    /// <summary>For <c>resize</c>: the new size, or null to read the drives' sizes again.</summary>
    public long? SizeBytes { get; init; }
}

/// <summary>What a user allows at one start of a volume.</summary>
/// <param name="Degraded">Without a member that it had when it was last used, at once.</param>
/// <param name="Force">Although data may be damaged.</param>
/// <param name="BlockSize">The block size in bytes of an array that does not know its own.</param>
public sealed record StartPermissions(bool Degraded = false, bool Force = false, int? BlockSize = null)
{
    /// <summary>Exports without which the others are served where they cannot be made; null for none.</summary>
    public IReadOnlyList<string>? MayLack { get; init; }
}

/// <summary>A line back.</summary>
public sealed record ControlResponse
{
    public required bool Ok { get; init; }

    /// <summary>When not ok: what is wrong, for the user.</summary>
    public string? Error { get; init; }

    /// <summary>When not ok: what to do, for the user; null where the error says it.</summary>
    public string? Remedy { get; init; }

    /// <summary>When not ok: of what kind that is.</summary>
    public RefusalKind? Kind { get; init; }

    /// <summary>The answer that nothing was done.</summary>
    public static ControlResponse Refuse(Refusal refusal) =>
        new() { Ok = false, Error = refusal.Problem, Remedy = refusal.Remedy, Kind = refusal.Kind };

    /// <summary>Why nothing was done; null where it was.</summary>
    [JsonIgnore]
    public Refusal? Refusal => Ok ? null : new Refusal(Kind ?? RefusalKind.Failed, Error ?? "The request was refused.", Remedy);

    public LiveJson? Live { get; init; }

    /// <summary>Where it was asked for: the counters and histograms of what is served.</summary>
    public VolumeStatisticsJson? Statistics { get; init; }

    /// <summary>Of the daemon: what it does.</summary>
    public DaemonJson? Daemon { get; init; }

    /// <summary>Of <c>add-export</c>: the export.</summary>
    public ExportJson? Export { get; init; }

    /// <summary>What was done, of a change of members: in sentences.</summary>
    public string? Message { get; init; }

    /// <summary>The member that such a change was about.</summary>
    public int? Role { get; init; }

    /// <summary>Of a stop: what drives did not answer until the end; null where nothing was left.</summary>
    public IReadOnlyList<UnfinishedJson>? Unfinished { get; init; }
}

/// <summary>One object a line: the control socket, and what <c>serve --json</c> prints when it is ready.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    RespectNullableAnnotations = true)]
[JsonSerializable(typeof(LiveJson))]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlResponse))]
public sealed partial class LineJson : JsonSerializerContext;
