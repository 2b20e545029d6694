namespace Polyblk.Host.Serving;

/// <summary>One <c>--frontend</c> of a serve command line with the options that follow it.</summary>
public sealed record FrontendGroup
{
    public required string Frontend { get; init; }

    /// <summary>Which of the volume's exports of this frontend it is; null counts them in their order.</summary>
    public int? Index { get; init; }

    public string? SocketPath { get; init; }

    /// <summary>Who may connect to its socket, and who may not; null for this user and its group (mode 660).</summary>
    public SocketAccess? SocketAccess { get; init; }

    public int? Queues { get; init; }

    public int? QueueSize { get; init; }

    public bool ReadOnly { get; init; }

    public string? Serial { get; init; }

    /// <summary>Values of the frontend's own options; a switch that is present has the value <c>true</c>.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();
}
