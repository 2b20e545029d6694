// From what somebody writes to a volume with a record: the command line and declarations make volumes by this.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Drives;
using Polyblk.Host.Events;
using Polyblk.Host.Model;
using Polyblk.Host.State;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Host.Volumes;

/// <summary>A volume as somebody writes that it is to be.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Level">The word for its level.</param>
/// <param name="Drives">Its drives.</param>
public sealed record VolumeWish(string Name, string Level, IReadOnlyList<string> Drives)
{
    /// <summary>
    /// Into how many groups the drives of raid50 and raid60 are cut; null is what the shape says, or
    /// <see cref="RaidLevels.UsualGroups"/>.
    /// </summary>
    public int? Groups { get; init; }

    /// <summary>Null is <see cref="VolumeCreation.DefaultChunkBytes"/>, where the level has chunks.</summary>
    public long? ChunkBytes { get; init; }

    /// <summary>Null is all that the drives give.</summary>
    public long? SizeBytes { get; init; }

    /// <summary>A word of <see cref="ConsistencyWord"/>; null takes what suits the level.</summary>
    public string? Consistency { get; init; }

    /// <summary>Whether each block of its drives has a checksum.</summary>
    public bool Checksums { get; init; }

    /// <summary>Overwrite what is on the drives.</summary>
    public bool Force { get; init; }

    /// <summary>Whether the daemon serves it in a process of its own.</summary>
    public bool Isolate { get; init; }
}

/// <summary>Makes volumes.</summary>
public static class VolumeCreation
{
    /// <summary>The chunk of a striped level where nothing is said.</summary>
    public const int DefaultChunkBytes = 64 << 10;

    private static readonly string[] s_levels =
    [
        .. Enum.GetValues<RaidLevel>().Select(level => level.Name()).Order(StringComparer.Ordinal), VolumeOpener.NoLevel,
    ];

    /// <summary>The name of a level, as records have it.</summary>
    /// <exception cref="RefusalException">There is none such.</exception>
    public static string LevelName(string text)
    {
        if (text.Equals(VolumeOpener.NoLevel, StringComparison.OrdinalIgnoreCase))
        {
            return VolumeOpener.NoLevel;
        }

        if (RaidLevels.TryParse(text, out RaidLevel level) || RaidLevels.TryParseShape(text, out level, out _))
        {
            return level.Name();
        }

        if (text.Contains('+', StringComparison.Ordinal) && text.Contains('x', StringComparison.OrdinalIgnoreCase))
        {
            throw RefusalException.Invalid(
                $"'{text}' is no shape of groups. Write groups, and the data and parities of each, such as 2x4+1: from "
                + $"{RaidLevels.MinGroups} groups and {RaidLevels.MinDataWithParity} data drives, 1 or 2 parities, "
                + $"{RaidGeometry.MaxMembers} drives in all at most.");
        }

        if (text.Contains('+', StringComparison.Ordinal))
        {
            throw RefusalException.Invalid(
                $"'{text}' is no shape of a stripe. Write data and parities, such as 8+3: from {RaidLevels.MinDataWithParity} data "
                + $"drives and 1 to {RaidLevels.MaxParities} parities, {RaidGeometry.MaxMembers} drives in all at most.");
        }

        string hint = Suggestion.Nearest(text, s_levels) is string near ? $" Did you mean '{near}'?" : string.Empty;
        throw RefusalException.Invalid(
            $"'{text}' is no level.{hint} There are: {string.Join(", ", s_levels)}, N+M such as 8+3, and GxN+M such as 2x4+1.");
    }

    /// <summary>
    /// A word for a level as it is kept in a wish: a shape such as 8+3 stays one, for it says how many drives it takes.
    /// </summary>
    /// <exception cref="RefusalException">There is none such.</exception>
    public static string LevelWord(string text)
    {
        string name = LevelName(text);
        return RaidLevels.TryParseShape(text, out _, out _) ? text : name;
    }

    /// <summary>What is to be made by a wish. Looks at no drive.</summary>
    /// <exception cref="RefusalException">It makes no sense.</exception>
    public static VolumeRequest Check(VolumeWish wish)
    {
        ArgumentNullException.ThrowIfNull(wish);
        VolumeName.Check(wish.Name);
        IReadOnlyList<DriveSpec> drives = DriveList.Parse(wish.Drives);
        RaidLevel? level = ParseLevel(wish.Level, drives.Count);
        return new VolumeRequest(wish.Name, level, CheckChunk(wish.ChunkBytes, level), wish.SizeBytes, wish.Force, drives)
        {
            Groups = ParseGroups(wish, level, drives.Count),
            Consistency = ParseConsistency(wish.Consistency, level, drives[0]),
            Checksums = CheckChecksums(wish.Checksums, level, drives[0]),
        };
    }

    /// <summary>Sees to it that a name is free.</summary>
    /// <exception cref="RefusalException">It is not.</exception>
    public static void RequireNew(VolumeStore store, string name)
    {
        ArgumentNullException.ThrowIfNull(store);
        if (store.TryGet(name) is not null)
        {
            throw RefusalException.Refused($"There is a volume '{name}' already. Choose another name, or remove it first with 'polyblk volume delete {name}'.");
        }
    }

    /// <summary>Makes a volume of a wish, on its drives, and its record.</summary>
    /// <param name="directories">Where records are.</param>
    /// <param name="wish">The volume.</param>
    /// <param name="note">Told what is good to know.</param>
    /// <param name="warn">Told what did not matter enough to give up.</param>
    /// <param name="tell">Told that it was made.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">It cannot be made; the message says why and what to do.</exception>
    public static async Task<VolumeJson> CreateAsync(
        StateDirectories directories,
        VolumeWish wish,
        Action<string> note,
        Action<string> warn,
        Action<EventJson> tell,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(wish);
        RequireNew(new VolumeStore(directories), wish.Name);
        return VolumeView.Stopped(
            await CreateAsync(directories, Check(wish), made => made.WithIsolate(wish.Isolate), note, warn, tell, cancellation)
                .ConfigureAwait(false));
    }

    /// <summary>Makes a volume on its drives, and its record.</summary>
    /// <param name="directories">Where records are.</param>
    /// <param name="request">The volume.</param>
    /// <param name="with">What else its record is to say.</param>
    /// <param name="note">Told what is good to know.</param>
    /// <param name="warn">Told what did not matter enough to give up.</param>
    /// <param name="tell">Told that it was made.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="RefusalException">It cannot be made; the message says why and what to do.</exception>
    public static async Task<VolumeRecord> CreateAsync(
        StateDirectories directories,
        VolumeRequest request,
        Func<VolumeRecord, VolumeRecord> with,
        Action<string> note,
        Action<string> warn,
        Action<EventJson> tell,
        CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(with);
        ArgumentNullException.ThrowIfNull(tell);
        var store = new VolumeStore(directories);
        using VolumeLock held = VolumeLock.Take(directories, request.Name, "made");
        RequireNew(store, request.Name); // another process may have made it meanwhile
        store.RequireWritable(request.Name);

        NewVolume made = await VolumeMaker.MakeAsync(request, note, cancellation).ConfigureAwait(false);
        var record = new VolumeRecord
        {
            Name = request.Name,
            Uuid = made.Uuid,
            Level = request.Level is RaidLevel level ? level.Name() : VolumeOpener.NoLevel,
            Groups = request.Groups,
            ChunkBytes = request.ChunkBytes,
            SizeBytes = made.SizeBytes,
            Volatile = request.Drives[0].IsVolatile,
            Drives = [.. request.Drives.Select(DriveList.ToRecord)],
            CreatedUtc = DateTimeOffset.UtcNow,
        };
        record = await RecordAsync(store, with(record), warn, cancellation).ConfigureAwait(false);
        string what = string.Create(CultureInfo.InvariantCulture, $"made, {record.Level}, {record.Drives.Count} drive(s)");
        tell(new EventJson { Kind = EventKinds.VolumeCreated, Volume = record.Name, Reason = what });
        return record;
    }

    /// <summary>Writes the record, with what is known of the members.</summary>
    /// <exception cref="RefusalException">
    /// It cannot be written; the message says how the volume that was made is taken over all the same.
    /// </exception>
    private static async Task<VolumeRecord> RecordAsync(
        VolumeStore store, VolumeRecord record, Action<string> warn, CancellationToken cancellation)
    {
        try
        {
            store.Put(record);
            return await MemberMemory.RefreshAsync(store, record, warn, cancellation).ConfigureAwait(false);
        }
        catch (RefusalException e) when (!record.Volatile && record.Level != VolumeOpener.NoLevel)
        {
            throw new RefusalException(
                e.Kind,
                $"{e.Message}\nThe drives are initialised: they hold the array '{record.Name}' ({record.Uuid}). "
                + $"When records can be written again, this takes it over: polyblk volume import {string.Join(' ', record.Drives)}",
                e);
        }
    }

    private static RaidLevel? ParseLevel(string text, int drives)
    {
        if (!RaidLevels.TryParse(LevelName(text), out RaidLevel level))
        {
            return drives == 1 ? null
                : throw RefusalException.Invalid($"Level none takes one drive, not {drives}: choose a RAID level for several.");
        }

        if (RaidLevels.TryParseShape(text, out _, out int members) && drives != members)
        {
            throw RefusalException.Invalid(
                $"{text} takes {members} drives; {drives} given. Give as many, or the level {level.Name()}, which takes any number "
                + $"from {level.MinimumMembers()}.");
        }

        int minimum = level.MinimumMembers();
        return drives >= minimum ? level
            : throw RefusalException.Invalid($"{level.Name()} needs at least {minimum} drives; {drives} given.");
    }

    /// <summary>Into how many groups the drives are cut; null where the level has none.</summary>
    private static int? ParseGroups(VolumeWish wish, RaidLevel? level, int drives)
    {
        bool isShape = RaidLevels.TryParseShape(wish.Level, out _, out _, out int groups);
        int? said = isShape && level?.HasGroups() == true ? groups : null;
        if (wish.Groups is int wanted && said is int shape && wanted != shape)
        {
            throw RefusalException.Invalid($"{wish.Level} has {shape} groups, not {wanted}: say one of both.");
        }

        if (wish.Groups is null && level?.HasGroups() != true)
        {
            return null;
        }

        groups = wish.Groups ?? said ?? RaidLevels.UsualGroups;
        return level is not RaidLevel its || !its.HasGroups()
            ? throw RefusalException.Invalid("Groups are for raid50 and raid60: leave them out, or choose one of these levels.")
            : RaidGeometry.CheckGroups(its, drives, Math.Max(1, groups)) is string error ? throw RefusalException.Invalid(error)
            : groups;
    }

    private static bool CheckChecksums(bool wanted, RaidLevel? level, DriveSpec drive) => !wanted ? false
        : level is null ? throw RefusalException.Invalid("Checksums are for arrays: raid0 takes one drive, too.")
        : drive.IsVolatile
            ? throw RefusalException.Invalid("Checksums are for drives that last: a volatile volume begins empty each time.")
        : true;

    private static ArrayConsistency? ParseConsistency(string? text, RaidLevel? level, DriveSpec drive)
    {
        if (text is null)
        {
            return null;
        }

        return level is null
            ? throw RefusalException.Invalid("Consistency is for arrays; one drive as it is has nothing that could disagree.")
            : drive.IsVolatile
                ? throw RefusalException.Invalid("Consistency is for drives that last: a volatile volume begins empty each time.")
            : ConsistencyWord.TryParse(text, out ArrayConsistency consistency) ? consistency
            : throw RefusalException.Invalid($"Consistency is one of {string.Join(", ", ConsistencyWord.All)}, not '{text}'.");
    }

    private static int CheckChunk(long? wanted, RaidLevel? level)
    {
        if (level is null or RaidLevel.Raid1)
        {
            return wanted is null ? 0
                : throw RefusalException.Invalid("A chunk is for striped levels; raid1 and none have none.");
        }

        long chunk = wanted ?? DefaultChunkBytes;
        return chunk is >= 4 << 10 and <= 1 << 20 && long.IsPow2(chunk)
            ? (int)chunk
            : throw RefusalException.Invalid($"A chunk is a power of two from 4KiB to 1MiB, not {ByteSize.Format(chunk)}.");
    }
}
