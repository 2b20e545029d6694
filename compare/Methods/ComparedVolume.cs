// A volume of the user as the subject of a comparison. Its drives belong to one process at a time, so that the methods take
// turns; and what it holds has to stay, unless the user said otherwise.

using Polyblk.Compare.Load;

namespace Polyblk.Compare.Methods;

/// <summary>The volume. Who knows how volumes are kept derives from it.</summary>
public abstract class ComparedVolume
{
    private const long BlockBytes = 1 << 20;

    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>Level; <c>none</c> for one drive as it is.</summary>
    public required string Level { get; init; }

    /// <summary>Usable size in bytes.</summary>
    public required long SizeBytes { get; init; }

    /// <summary>Members that it has when it is whole.</summary>
    public required int Members { get; init; }

    /// <summary>The drives that are there, as they are written on a command line.</summary>
    public required IReadOnlyList<string> Drives { get; init; }

    /// <summary>Whether its content lives in the serving process and is made afresh each time.</summary>
    public bool IsVolatile { get; init; }

    /// <summary>Whether a member is missing.</summary>
    public bool IsDegraded { get; init; }

    /// <summary>Whether what it holds may be destroyed.</summary>
    public bool MayBeOverwritten { get; init; }

    /// <summary>Whether a drive's data lies in memory (tmpfs).</summary>
    public bool IsInMemory { get; init; }

    /// <summary>What it holds and has to keep; null where it may be overwritten.</summary>
    public KeptContent? Kept { get; init; }

    /// <summary>How much of it is used: whole MiB.</summary>
    public long SpanBytes => SizeBytes / BlockBytes * BlockBytes;

    /// <summary>Puts a record of it into a state directory, under a name for one server.</summary>
    public abstract void Record(string stateDirectory, string name);

    /// <summary>Opens it in this process.</summary>
    /// <exception cref="MethodException">It cannot be opened.</exception>
    public abstract Task<IOpenArray> OpenAsync(CancellationToken cancellation);
}
