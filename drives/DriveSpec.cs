namespace Polyblk.Drives;

/// <summary>What drive is wanted.</summary>
public sealed record DriveSpec
{
    /// <summary>The text that was parsed.</summary>
    public required string Text { get; init; }

    /// <summary>The kind.</summary>
    public required IDriveKind Kind { get; init; }

    /// <summary>Where it is, for kinds that have paths; otherwise empty.</summary>
    public string Path { get; init; } = string.Empty;

    /// <summary>Whether it was written as a path alone: what is there is taken as it is.</summary>
    public bool IsPlainPath { get; init; }

    /// <summary>Wanted size in bytes; null when the drive's own counts.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>Wanted logical block size, 512 or 4096; null when the drive's own counts.</summary>
    public int? LogicalBlockSize { get; init; }

    /// <summary>The kind's own options, by name.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    /// <summary>Whether its content is gone when the process ends.</summary>
    public bool IsVolatile => Kind.IsVolatile;

    /// <summary>Parses a drive of one of the program's kinds.</summary>
    /// <exception cref="FormatException">The text is none; the message shows how one is written.</exception>
    public static DriveSpec Parse(string text) => DriveKinds.Default.Parse(text);

    /// <inheritdoc/>
    public override string ToString() => Text;
}
