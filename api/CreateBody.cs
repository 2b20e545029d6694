using Polyblk.Host.Model;
using Polyblk.Host.Volumes;

namespace Polyblk.Api;

/// <summary>A volume that is to be made.</summary>
internal sealed record CreateBody
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>The word for its level.</summary>
    public required string Level { get; init; }

    /// <summary>Into how many groups the drives of raid50 and raid60 are cut; left out: what the shape says, or two.</summary>
    public int? Groups { get; init; }

    /// <summary>Its drives, by their whole paths.</summary>
    public required IReadOnlyList<string> Drives { get; init; }

    /// <summary>Left out: what is usual, where the level has chunks.</summary>
    public long? ChunkBytes { get; init; }

    /// <summary>Left out: all that the drives give.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>How it is put right after an unclean stop; left out: what suits the level.</summary>
    public string? Consistency { get; init; }

    /// <summary>Overwrite what is on the drives.</summary>
    public bool Force { get; init; }

    /// <summary>Keep a checksum of each block.</summary>
    public bool Checksums { get; init; }

    /// <summary>Serve it in a process of its own.</summary>
    public bool Isolate { get; init; }

    /// <summary>What a wish is over the API.</summary>
    public static CreateBody Of(VolumeWish wish) => new()
    {
        Name = wish.Name, Level = wish.Level, Groups = wish.Groups, Drives = wish.Drives, ChunkBytes = wish.ChunkBytes,
        SizeBytes = wish.SizeBytes, Consistency = wish.Consistency, Force = wish.Force, Isolate = wish.Isolate, Checksums = wish.Checksums,
    };

    /// <summary>The wish.</summary>
    /// <exception cref="Host.RefusalException">A drive is named by no whole path.</exception>
    public VolumeWish ToWish() => new(Name, Level, [.. Drives.Select(WholePath.Check)])
    {
        Groups = Groups, ChunkBytes = ChunkBytes, SizeBytes = SizeBytes, Consistency = Consistency, Force = Force,
        Isolate = Isolate, Checksums = Checksums,
    };
}

/// <summary>A volume that was made.</summary>
/// <param name="Volume">The volume.</param>
/// <param name="Notes">What is good to know.</param>
/// <param name="Warnings">What did not matter enough to give up.</param>
public sealed record CreatedJson(VolumeJson Volume, IReadOnlyList<string> Notes, IReadOnlyList<string> Warnings);
