// Whether a record can be believed. It is a file that anybody edits; what it says decides which drives are opened and how. So it
// is looked at as a whole before anything is done by it. What an array is, its superblocks know; what is said of it here only
// finds them.

using Polyblk.Drives;
using Polyblk.Raid.Layout;

namespace Polyblk.Host.State;

/// <summary>Checks the fields of a record against each other.</summary>
public static class RecordCheck
{
    private const string NoLevel = "none";

    /// <summary>What is wrong with a record, or null.</summary>
    /// <param name="record">As it was read: fields that must not be null may be.</param>
    /// <param name="fileName">The name of its file, without the extension.</param>
    public static string? Problem(VolumeRecord record, string fileName)
    {
        if (record.Name is null || !VolumeName.IsValid(record.Name))
        {
            return "its name is none that a volume can have";
        }

        if (record.Name != fileName)
        {
            return $"its name is '{record.Name}', which is not the name of the file";
        }

        if (record.Uuid == Guid.Empty)
        {
            return "it has no UUID";
        }

        if (record.Level is null || (record.Level != NoLevel && !RaidLevels.TryParse(record.Level, out _)))
        {
            return record.Level is null ? "it has no level" : $"its level '{record.Level}' is unknown";
        }

        if (record.Groups is int groups && (!RaidLevels.TryParse(record.Level, out RaidLevel level) || !level.HasGroups()
            || groups is < RaidLevels.MinGroups or > RaidGeometry.MaxMembers))
        {
            return $"{record.Level} over {groups} groups is not possible";
        }

        return record.ChunkBytes < 0 || record.SizeBytes < 0 || record.MaxRebuildBytesPerSecond < 0 ? "a size is negative"
            : record.CheckEverySeconds is < 0 or > VolumeRecord.MostCheckSeconds ? "the time between checks is not possible"
            : !new Patience(record.SlowReadSeconds, record.DriveTimeoutSeconds).IsPossible
                ? "the time that drives have to answer is not possible"
            : ProblemOfExports(record) ?? ProblemOfDrives(record);
    }

    private static string? ProblemOfExports(VolumeRecord record)
    {
        IReadOnlyList<ExportRecord> exports = record.Exports ?? [];
        return exports.Any(e => e is null || string.IsNullOrEmpty(e.Frontend) || e.Index < 0) ? "an export of it has no frontend"
            : exports.DistinctBy(e => (e.Frontend, e.Index)).Count() != exports.Count ? "two exports of it have one number"
            : null;
    }

    private static string? ProblemOfDrives(VolumeRecord record)
    {
        if (record.Drives is null || record.Drives.Count == 0 || record.Drives.Any(string.IsNullOrWhiteSpace))
        {
            return "it names no drives, or an empty one";
        }

        if (record.Level == NoLevel && record.Drives.Count != 1)
        {
            return $"level none has one drive, not {record.Drives.Count}";
        }

        try
        {
            bool[] kinds = [.. record.Drives.Select(d => DriveSpec.Parse(d).IsVolatile).Distinct()];
            return kinds.Length > 1 ? $"volatile drives ({DriveKinds.Default.VolatileNames}) and lasting ones are mixed"
                : kinds[0] == record.Volatile ? null
                : record.Volatile
                    ? "it says that the volume is volatile, but its drives last: it would be made afresh over what they hold"
                : "it says that the volume lasts, but its drives are volatile";
        }
        catch (FormatException e)
        {
            return e.Message;
        }
    }
}
