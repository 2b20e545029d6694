namespace Polyblk.Frontends.Nbd;

/// <summary>
/// What the clients of one export may use together. Nothing of it is per connection, so that more connections are no more.
/// </summary>
internal sealed record NbdLimits
{
    /// <summary>Clients in their transmission phase: what a host with a disk a container may have, and 256 descriptors.</summary>
    public int Sessions { get; init; } = 256;

    /// <summary>Of these, the clients of one process: it cannot lock all others out.</summary>
    public int SessionsOfProcess { get; init; } = 128;

    /// <summary>Clients that haggle at a time. One more takes the place of the oldest of the process that has most.</summary>
    public int Handshakes { get; init; } = 64;

    /// <summary>Longest handshake, from the first byte to transmission. Clients need milliseconds.</summary>
    public TimeSpan HandshakeTime { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long a client may take over one request: from the first byte that was read of it to the last, and from the first byte
    /// of its reply to the last. A local client needs far below a second for the largest; an idle one, which owes nothing, is
    /// left alone.
    /// </summary>
    public TimeSpan StallTime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// Memory for data of all connections, in bytes, spread evenly over the reactors; each gets at least <see
    /// cref="LeastLaneBytes"/>.
    /// </summary>
    public long BudgetBytes { get; init; } = 256L << 20;

    /// <summary>
    /// Least memory for data on one reactor: the largest request, and as much again for everybody else, and a little.
    /// </summary>
    public long LeastLaneBytes { get; init; } = 96L << 20;
}
