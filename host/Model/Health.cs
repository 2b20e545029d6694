using System.Text.Json.Serialization;

namespace Polyblk.Host.Model;

/// <summary>How a volume is: the words of every list, of JSON, of metrics and of events. From best to worst.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<Health>))]
public enum Health
{
    /// <summary>All members are there and agree.</summary>
    [JsonStringEnumMemberName("optimal")]
    Optimal,

    /// <summary>All members are there; after an unclean stop they may disagree until a resync, which nobody does now.</summary>
    [JsonStringEnumMemberName("dirty")]
    Dirty,

    /// <summary>All members are there and are being made to agree.</summary>
    [JsonStringEnumMemberName("resyncing")]
    Resyncing,

    /// <summary>A member is out, and a drive is being filled in its place.</summary>
    [JsonStringEnumMemberName("rebuilding")]
    Rebuilding,

    /// <summary>A member is out, and nothing takes its place.</summary>
    [JsonStringEnumMemberName("degraded")]
    Degraded,

    /// <summary>Its data cannot be had, or not be written, as it is.</summary>
    [JsonStringEnumMemberName("failed")]
    Failed,

    /// <summary>That cannot be told: its drives may not be read, or the process that serves it does not answer.</summary>
    [JsonStringEnumMemberName("unknown")]
    Unknown,
}

/// <summary>Words and judgements of health.</summary>
public static class Healths
{
    /// <summary>The word, as JSON has it.</summary>
    public static string Word(this Health health) => health switch
    {
        Health.Optimal => "optimal",
        Health.Dirty => "dirty",
        Health.Resyncing => "resyncing",
        Health.Rebuilding => "rebuilding",
        Health.Degraded => "degraded",
        Health.Failed => "failed",
        _ => "unknown",
    };

    /// <summary>Of an array that lacks members, or of one that has them all.</summary>
    public static Health Of(bool isDegraded, bool isRebuilding, bool isDirty, bool isResyncing) =>
        isDegraded ? isRebuilding ? Health.Rebuilding : Health.Degraded
        : isResyncing ? Health.Resyncing
        : isDirty ? Health.Dirty : Health.Optimal;
}
