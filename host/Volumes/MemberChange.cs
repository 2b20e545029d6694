namespace Polyblk.Host.Volumes;

/// <summary>What may be done with the members of an array.</summary>
public enum MemberChangeKind
{
    /// <summary>A member is given up.</summary>
    Fail,

    /// <summary>A drive takes the place of another one, which may work.</summary>
    Replace,

    /// <summary>A drive waits for a member to fail.</summary>
    AddSpare,

    /// <summary>A drive that is not in use leaves the volume.</summary>
    Remove,

    /// <summary>Drives become further members, or the level changes, and the volume is moved to that shape.</summary>
    Reshape,

    /// <summary>What all drives have more now is taken over.</summary>
    Grow,
}

/// <summary>A change of who is a member.</summary>
/// <param name="Kind">What is done.</param>
/// <param name="Drive">
/// With which drive: as it is written, or the number of a member. Paths are absolute. Empty where there is none.
/// </param>
/// <param name="NewDrive">Of a replacement: the drive that comes.</param>
/// <param name="Force">Overwrite whatever the drive that comes holds.</param>
/// <param name="FailFirst">Of a replacement: a drive that works is taken out first, instead of serving until the new one is filled.</param>
public sealed record MemberChange(
    MemberChangeKind Kind, string Drive, string? NewDrive = null, bool Force = false, bool FailFirst = false)
{
    // As the commands are named, and the requests to the control socket.
    private static readonly Dictionary<string, MemberChangeKind> s_words = new(StringComparer.Ordinal)
    {
        ["fail"] = MemberChangeKind.Fail,
        ["replace"] = MemberChangeKind.Replace,
        ["add-spare"] = MemberChangeKind.AddSpare,
        ["remove"] = MemberChangeKind.Remove,
        ["reshape"] = MemberChangeKind.Reshape,
        ["grow"] = MemberChangeKind.Grow,
    };

    /// <summary>Of a reshape: the drives that come after <see cref="Drive"/>.</summary>
    public IReadOnlyList<string> MoreDrives { get; init; } = [];

    /// <summary>Of a reshape: the level that the volume gets, or a shape such as 8+3; null to keep its level.</summary>
    public string? Level { get; init; }

    /// <summary>The word for it.</summary>
    public string Word => s_words.Single(w => w.Value == Kind).Key;

    /// <summary>Reads a request; null where the word is for something else.</summary>
    /// <exception cref="RefusalException">It lacks a drive.</exception>
    public static MemberChange? Parse(string word, string? drive, string? newDrive, bool force)
    {
        if (!s_words.TryGetValue(word, out MemberChangeKind kind))
        {
            return null;
        }

        bool lacks = (kind is not (MemberChangeKind.Grow or MemberChangeKind.Reshape) && string.IsNullOrWhiteSpace(drive))
            || (kind == MemberChangeKind.Replace && string.IsNullOrWhiteSpace(newDrive));
        return lacks ? throw RefusalException.Invalid($"The request '{word}' names no drive.") : new MemberChange(kind, drive ?? string.Empty, newDrive, force);
    }
}

/// <summary>What became of a change.</summary>
/// <param name="Message">What was done, or need not be done any more, in sentences.</param>
/// <param name="Role">The member that it was about; null where it was none.</param>
public sealed record MemberChangeResult(string Message, int? Role = null);
