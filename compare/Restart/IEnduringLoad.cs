using Polyblk.Compare.Load;

namespace Polyblk.Compare.Restart;

/// <summary>
/// A load that behaves towards the death of its target as the real consumer does: it waits and connects again, or the kernel
/// waits for it.
/// </summary>
internal interface IEnduringLoad : IDisposable
{
    /// <summary>What it does when the target dies, for the report.</summary>
    string Description { get; }

    /// <summary>
    /// Writes until it is told to stop and nothing is in flight. It may wait for ever for what nobody answers; as long as it
    /// does, nobody disposes the load.
    /// </summary>
    /// <exception cref="IOException">The target was away too long, or did not answer what was in flight.</exception>
    void Run(RestartJournal journal, Func<bool> mustStop);

    /// <summary>Reads a block.</summary>
    /// <returns>False when that ended with an error.</returns>
    bool Read(long offsetBytes, Span<byte> buffer);

    /// <summary>The load for an endpoint; null where there is none.</summary>
    static IEnduringLoad? For(LoadEndpoint endpoint) => endpoint switch
    {
        VhostUserEndpoint socket => new EnduringVhostUser(socket),
        NbdEndpoint export => new EnduringNbd(export),
        BlockEndpoint device => new EnduringBlockDevice(device),
        _ => null,
    };
}
