using System.Globalization;
using Polyblk.Host.Serving;

namespace Polyblk.Host.State;

/// <summary>An export that the daemon makes whenever it serves the volume.</summary>
public sealed record ExportRecord
{
    private static readonly Dictionary<string, string> s_none = [];

    /// <summary>The name of its frontend.</summary>
    public required string Frontend { get; init; }

    /// <summary>
    /// Which of the volume's exports of this frontend it is. It keeps its number when others go: its recovery goes by it.
    /// </summary>
    public int Index { get; init; }

    public string? SocketPath { get; init; }

    /// <summary>Name or number of the group that its socket is given to.</summary>
    public string? SocketGroup { get; init; }

    /// <summary>Mode of its socket, in octal.</summary>
    public string? SocketMode { get; init; }

    /// <summary>Names or numbers of the users who may connect to its socket; null for whoever reaches it.</summary>
    public IReadOnlyList<string>? AllowUsers { get; init; }

    public int? Queues { get; init; }

    public int? QueueSize { get; init; }

    public bool ReadOnly { get; init; }

    public string? Serial { get; init; }

    /// <summary>Values of the frontend's own options; none where nothing is said, in JSON too.</summary>
    public IReadOnlyDictionary<string, string> Options
    {
        get => field ?? s_none;
        init;
    }

    /// <summary>The id of an export.</summary>
    public static string IdOf(string volume, string frontend, int index) =>
        string.Create(CultureInfo.InvariantCulture, $"{volume}/{frontend}/{index}");

    /// <summary>Whether another one is the same but for its number.</summary>
    public bool IsLike(ExportRecord other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return this with { Index = 0, AllowUsers = null, Options = s_none } == other with { Index = 0, AllowUsers = null,
            Options = s_none }
            && (AllowUsers ?? []).SequenceEqual(other.AllowUsers ?? [])
            && Options.Count == other.Options.Count
            && Options.All(o => other.Options.TryGetValue(o.Key, out string? value) && value == o.Value);
    }

    /// <summary>Its settings in words, without its frontend; empty where it has none.</summary>
    public string Describe()
    {
        (string Name, string? Value)[] own =
        [
            ("socket", SocketPath), ("socket-group", SocketGroup), ("socket-mode", SocketMode),
            ("allow-user", AllowUsers is null ? null : string.Join(',', AllowUsers)), ("queues", Text(Queues)),
                ("queue-size", Text(QueueSize)),
            ("read-only", ReadOnly ? "true" : null), ("serial", Serial),
                .. Options.OrderBy(o => o.Key, StringComparer.Ordinal).Select(o => (o.Key, (string?)o.Value)),
        ];
        return string.Join(
            ", ", own.Where(o => o.Value is not null).Select(o => o.Value == "true" ? o.Name : $"{o.Name} {o.Value}"));

        static string? Text(int? number) => number?.ToString(CultureInfo.InvariantCulture);
    }

    /// <summary>What a command line asks for, as it is kept.</summary>
    public static ExportRecord Of(FrontendGroup group) => new()
    {
        Frontend = group.Frontend,
        Index = group.Index ?? 0,
        SocketPath = group.SocketPath,
        SocketGroup = group.SocketAccess?.Group,
        SocketMode = group.SocketAccess?.Mode is UnixFileMode mode ? Convert.ToString((int)mode, 8) : null,
        AllowUsers = group.SocketAccess?.AllowUsers is { Count: > 0 } users ? users : null,
        Queues = group.Queues,
        QueueSize = group.QueueSize,
        ReadOnly = group.ReadOnly,
        Serial = group.Serial,
        Options = group.Options,
    };

    /// <summary>The record with one more export, whose number is the lowest that is free.</summary>
    /// <returns>Its exports, the new one last.</returns>
    public static IReadOnlyList<ExportRecord> Add(IReadOnlyList<ExportRecord>? exports, ExportRecord wanted)
    {
        exports ??= [];
        int index = Enumerable.Range(0, exports.Count + 1).First(
            i => !exports.Any(e => e.Frontend == wanted.Frontend && e.Index == i));
        return [.. exports, wanted with { Index = index }];
    }

    /// <summary>What is served by it.</summary>
    /// <exception cref="RefusalException">Its group is gone, or its mode is none.</exception>
    public FrontendGroup ToGroup() => new()
    {
        Frontend = Frontend,
        Index = Index,
        SocketPath = SocketPath,
        SocketAccess = SocketAccess.Parse(SocketGroup, SocketMode, AllowUsers),
        Queues = Queues,
        QueueSize = QueueSize,
        ReadOnly = ReadOnly,
        Serial = Serial,
        Options = Options,
    };
}
