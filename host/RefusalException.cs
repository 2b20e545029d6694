using System.Text.Json.Serialization;

namespace Polyblk.Host;

/// <summary>Of what kind a refusal is. The command line makes exit codes of them, the API HTTP statuses.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<RefusalKind>))]
public enum RefusalKind
{
    /// <summary>Anything that has no kind of its own.</summary>
    [JsonStringEnumMemberName("failed")]
    Failed,

    /// <summary>What was asked for makes no sense: a wrong name, size or option.</summary>
    [JsonStringEnumMemberName("invalid")]
    Invalid,

    /// <summary>A volume, drive or path that was named is not there.</summary>
    [JsonStringEnumMemberName("not-found")]
    NotFound,

    /// <summary>Something is in use or would be lost; nothing was changed.</summary>
    [JsonStringEnumMemberName("refused")]
    Refused,

    /// <summary>The host or a device lacks what this needs: a kernel module, a right, memory.</summary>
    [JsonStringEnumMemberName("host-lacks")]
    HostLacks,
}

/// <summary>Why something was not done.</summary>
/// <param name="Kind">Of what kind it is.</param>
/// <param name="Problem">What is wrong, in a sentence.</param>
/// <param name="Remedy">What to do, in a sentence; null where the problem says it, or nothing can be done.</param>
public sealed record Refusal(RefusalKind Kind, string Problem, string? Remedy = null)
{
    /// <summary>Both, for people.</summary>
    public string Message => Remedy is null ? Problem : $"{Problem} {Remedy}";
}

/// <summary>Ends what was asked for with a refusal.</summary>
public sealed class RefusalException : Exception
{
    /// <summary>Makes one.</summary>
    public RefusalException(RefusalKind kind, string problem, string? remedy = null)
        : this(new Refusal(kind, problem, remedy))
    {
    }

    /// <summary>Makes one with its cause.</summary>
    public RefusalException(RefusalKind kind, string problem, Exception inner)
        : this(new Refusal(kind, problem), inner)
    {
    }

    /// <summary>Makes one.</summary>
    public RefusalException(Refusal refusal, Exception? inner = null)
        : base(refusal.Message, inner) => Refusal = refusal;

    /// <summary>Why.</summary>
    public Refusal Refusal { get; }

    /// <summary>Of what kind it is.</summary>
    public RefusalKind Kind => Refusal.Kind;

    /// <summary>What was asked for makes no sense.</summary>
    public static RefusalException Invalid(string problem, string? remedy = null) => new(RefusalKind.Invalid, problem, remedy);

    /// <summary>What was named is not there.</summary>
    public static RefusalException NotFound(string problem, string? remedy = null) => new(RefusalKind.NotFound, problem, remedy);

    /// <summary>Something is in use or would be lost.</summary>
    public static RefusalException Refused(string problem, string? remedy = null) => new(RefusalKind.Refused, problem, remedy);

    /// <summary>The host lacks something.</summary>
    public static RefusalException HostLacks(string problem, string? remedy = null) => new(RefusalKind.HostLacks, problem, remedy);
}
