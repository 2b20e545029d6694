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

    /// <summary>What a command line asks for, as it is kept.</summary>
    public static ExportRecord Of(FrontendGroup group) => new()
    {
        Frontend = group.Frontend,
        Index = group.Index ?? 0,
        SocketPath = group.SocketPath,
        SocketGroup = group.SocketAccess?.Group,
        SocketMode = group.SocketAccess?.Mode is UnixFileMode mode ? Convert.ToString((int)mode, 8) : null,
        Queues = group.Queues,
        QueueSize = group.QueueSize,
        ReadOnly = group.ReadOnly,
        Serial = group.Serial,
        Options = group.Options,
    };

    /// <summary>What is served by it.</summary>
    /// <exception cref="RefusalException">Its group is gone, or its mode is none.</exception>
    public FrontendGroup ToGroup() => new()
    {
        Frontend = Frontend,
        Index = Index,
        SocketPath = SocketPath,
        SocketAccess = SocketAccess.Parse(SocketGroup, SocketMode),
        Queues = Queues,
        QueueSize = QueueSize,
        ReadOnly = ReadOnly,
        Serial = Serial,
        Options = Options,
    };
}
