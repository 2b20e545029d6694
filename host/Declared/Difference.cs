using System.Text.Json.Serialization;

namespace Polyblk.Host.Declared;

/// <summary>What becomes of something.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<DifferenceKind>))]
public enum DifferenceKind
{
    /// <summary>It is as it is to be.</summary>
    [JsonStringEnumMemberName("none")]
    None,

    /// <summary>It is made.</summary>
    [JsonStringEnumMemberName("create")]
    Create,

    /// <summary>It is changed.</summary>
    [JsonStringEnumMemberName("change")]
    Change,

    /// <summary>It is taken away.</summary>
    [JsonStringEnumMemberName("remove")]
    Remove,
}

/// <summary>A difference between what a host has and what a declaration says.</summary>
/// <param name="Kind">What becomes of it.</param>
/// <param name="Volume">The volume that it is about.</param>
public sealed record Difference(DifferenceKind Kind, string Volume)
{
    /// <summary>The id of an export that is there; null for a volume, and for an export that is to be made.</summary>
    public string? Export { get; init; }

    /// <summary>The frontend of an export; null for a volume.</summary>
    public string? Frontend { get; init; }

    /// <summary>Of a change: the key.</summary>
    public string? Key { get; init; }

    /// <summary>Of a change: what it is, as a declaration has it; null for nothing.</summary>
    public string? From { get; init; }

    /// <summary>Of a change: what it is to be. Of what is made: what it is, in words.</summary>
    public string? To { get; init; }

    /// <summary>A line, with a sign before it.</summary>
    public override string ToString()
    {
        string sign = Kind switch
        {
            DifferenceKind.Create => "+",
            DifferenceKind.Change => "~",
            DifferenceKind.Remove => "-",
            _ => "=",
        };
        string what = Frontend is null ? $"volume {Volume}" : $"export {Export ?? $"{Volume}/{Frontend}"}";
        string how = Key is not null ? $": {Key} {From ?? "none"} -> {To}" : To is not null ? $": {To}" : string.Empty;
        return $"{sign} {what}{how}";
    }
}

/// <summary>What an apply has done, or would do.</summary>
public sealed record ApplyJson
{
    /// <summary>Whether nothing was done, because it was only asked for.</summary>
    public required bool DryRun { get; init; }

    /// <summary>Whether anything differs; null where that was not found out.</summary>
    public bool? Differs { get; init; }

    /// <summary>
    /// Everything that the declaration names, and what becomes of it; where something has failed, what was done before.
    /// </summary>
    public required IReadOnlyList<Difference> Differences { get; init; }

    /// <summary>What stays as it is although the declaration does not name it, and why.</summary>
    public required IReadOnlyList<string> Notes { get; init; }

    /// <summary>Why it is not all done; null where it is.</summary>
    public ApplyFailureJson? Failure { get; init; }
}

/// <summary>Why something of a declaration is not done.</summary>
/// <param name="Kind">Of what kind that is.</param>
/// <param name="Problem">What is wrong.</param>
/// <param name="Remedy">What to do; null where the problem says it.</param>
/// <param name="Difference">What was being done; null where it was found before.</param>
public sealed record ApplyFailureJson(RefusalKind Kind, string Problem, string? Remedy, Difference? Difference);
