using Polyblk.Host.State;

namespace Polyblk.Host.Declared;

/// <summary>What a document says that a host is to have.</summary>
/// <param name="Document">What it is called: its path.</param>
/// <param name="Volumes">Its volumes, in their order.</param>
public sealed record Declaration(string Document, IReadOnlyList<DeclaredVolume> Volumes);

/// <summary>A volume as it is to be. What is null is not said: it is left as it is.</summary>
/// <param name="Name">Its name.</param>
/// <param name="At">Where it stands.</param>
public sealed record DeclaredVolume(string Name, Place At)
{
    public string? Level { get; init; }

    /// <summary>Into how many groups its drives are cut.</summary>
    public int? Groups { get; init; }

    public long? ChunkBytes { get; init; }

    public long? SizeBytes { get; init; }

    /// <summary>The drives of its members, as they are written.</summary>
    public IReadOnlyList<string>? Drives { get; init; }

    /// <summary>Drives that wait for a member to fail.</summary>
    public IReadOnlyList<string>? Spares { get; init; }

    /// <summary>A word of <see cref="Volumes.ConsistencyWord"/>.</summary>
    public string? Consistency { get; init; }

    /// <summary>Whether each block of its drives has a checksum; for new volumes.</summary>
    public bool? Checksums { get; init; }

    /// <summary>In bytes a second of every member; 0 sets no bound.</summary>
    public long? MaxRebuildBytesPerSecond { get; init; }

    /// <summary>0 never.</summary>
    public long? CheckEverySeconds { get; init; }

    /// <summary>How long its drives may leave a request unanswered.</summary>
    public Patience Patience { get; init; }

    public bool? Autostart { get; init; }

    /// <summary>A name, or <see cref="Volumes.VolumeSettings.NoSpareGroup"/>.</summary>
    public string? SpareGroup { get; init; }

    public bool? Isolate { get; init; }

    /// <summary>What it is to be served through.</summary>
    public IReadOnlyList<DeclaredExport>? Exports { get; init; }

    /// <summary>Where its keys stand.</summary>
    internal IReadOnlyDictionary<string, Place> Places { get; init; } = new Dictionary<string, Place>();

    internal Place PlaceOf(string key) => Places.TryGetValue(key, out Place at) ? at : At;
}

/// <summary>An export as it is to be.</summary>
/// <param name="Wanted">It; its number is the daemon's to choose.</param>
/// <param name="At">Where it stands.</param>
public sealed record DeclaredExport(ExportRecord Wanted, Place At);
