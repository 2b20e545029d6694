using System.Text.Json.Serialization;
using Polyblk.Host.State;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>Settings of a volume that are to change; what is null stays as it is.</summary>
public sealed record SettingsChange
{
    /// <summary>How it is put right after an unclean stop, while it is served: a word of <see cref="ConsistencyWord"/>.</summary>
    public string? Consistency { get; init; }

    /// <summary>The most that a resync or rebuild does, in bytes a second of every member; 0 sets no bound.</summary>
    public long? MaxRebuildBytesPerSecond { get; init; }

    /// <summary>After how many seconds members are compared anew; 0 never.</summary>
    public long? CheckEverySeconds { get; init; }

    /// <summary>After how many seconds without an answer others are read in a member's place.</summary>
    public int? SlowReadSeconds { get; init; }

    /// <summary>After how many seconds without an answer a member is out; 0 never.</summary>
    public int? DriveTimeoutSeconds { get; init; }

    /// <summary>With which others the daemon has it share spares; <see cref="VolumeSettings.NoSpareGroup"/> for none.</summary>
    public string? SpareGroup { get; init; }

    /// <summary>Whether the daemon serves it in a process of its own, from its next start on.</summary>
    public bool? Isolate { get; init; }

    /// <summary>Whether the daemon serves it from its own start on.</summary>
    public bool? Autostart { get; init; }

    /// <summary>How long members have to answer.</summary>
    [JsonIgnore]
    public Patience Patience => new(SlowReadSeconds, DriveTimeoutSeconds);

    /// <summary>Whether it says anything that is only for arrays.</summary>
    [JsonIgnore]
    public bool IsOfArray => this with { Isolate = null, Autostart = null } != new SettingsChange();

    /// <summary>Whether it says anything.</summary>
    [JsonIgnore]
    public bool SaysSomething => this != new SettingsChange();

    /// <summary>The settings of a record.</summary>
    public static SettingsChange Of(VolumeRecord record)
    {
        ArgumentNullException.ThrowIfNull(record);
        return new SettingsChange
        {
            MaxRebuildBytesPerSecond = record.MaxRebuildBytesPerSecond ?? 0,
            CheckEverySeconds = (long)record.CheckEvery.TotalSeconds,
            SlowReadSeconds = (int)record.SlowRead.TotalSeconds,
            DriveTimeoutSeconds = (int)record.DriveTimeout.TotalSeconds,
            SpareGroup = record.SpareGroup ?? VolumeSettings.NoSpareGroup,
            Isolate = record.Isolate ?? false,
            Autostart = record.Autostart ?? true,
        };
    }

    /// <summary>Refuses what can be of no volume.</summary>
    /// <exception cref="RefusalException">Something is out of its range.</exception>
    public void Check()
    {
        if (Consistency is not null && !ConsistencyWord.TryParse(Consistency, out ArrayConsistency _))
        {
            throw RefusalException.Invalid(
                $"'{Consistency}' is no consistency: it is one of {string.Join(", ", ConsistencyWord.All)}.");
        }

        if (MaxRebuildBytesPerSecond < 0)
        {
            throw RefusalException.Invalid("A rate is not negative; 0 sets no bound.");
        }

        if (CheckEverySeconds is < 0 or > VolumeRecord.MostCheckSeconds)
        {
            throw RefusalException.Invalid("The time between checks is from 0 (never) to a hundred years.");
        }

        if (!Patience.IsPossible)
        {
            throw RefusalException.Invalid(
                $"Others are read after 1 to {Patience.MostSlowSeconds} seconds; a drive is out after 1 to "
                + $"{Patience.MostSeconds} seconds, with 0 never.");
        }

        if (SpareGroup is not (null or VolumeSettings.NoSpareGroup))
        {
            _ = VolumeSettings.CheckSpareGroup(SpareGroup);
        }
    }
}
