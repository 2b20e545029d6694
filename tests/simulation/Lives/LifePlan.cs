using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Simulation.Tests.Lives;

/// <summary>How a generation of a life ends.</summary>
internal enum Ending
{
    /// <summary>All is answered, the array is stopped in order.</summary>
    Stop,

    /// <summary>Power is cut, for the drives, the target and the guest.</summary>
    PowerCut,

    /// <summary>The target's process is killed; the guest and the drives go on.</summary>
    Kill,
}

/// <summary>What a drive does besides its work.</summary>
internal enum Trouble
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>It vanishes: every request fails from then on.</summary>
    Vanish,

    /// <summary>It vanishes, while the others take data and, for a while, no superblock.</summary>
    VanishUntold,

    /// <summary>It refuses some writes with an error.</summary>
    RefuseWrites,

    /// <summary>Some writes fail for now.</summary>
    PassingErrors,

    /// <summary>It does not answer for a while, in every second life for longer than it is waited for.</summary>
    Hang,

    /// <summary>Some reads fail.</summary>
    ReadErrors,

    /// <summary>It has blocks that it cannot write, and never will.</summary>
    BadBlocks,

    /// <summary>It changes blocks by itself, or writes what belongs elsewhere, and says nothing.</summary>
    Corrupt,
}

/// <summary>What a seed says of a life before it begins.</summary>
internal sealed record LifePlan
{
    private static readonly RaidLevel[] s_levels =
    [
        RaidLevel.Raid0, RaidLevel.Raid1, RaidLevel.Raid10, RaidLevel.Raid5, RaidLevel.Raid6, RaidLevel.Raid73, RaidLevel.Raid74,
        RaidLevel.Raid50, RaidLevel.Raid60,
    ];

    /// <summary>The levels: seed n lives on level n modulo their number.</summary>
    public static int LevelCount => s_levels.Length;

    /// <summary>Their names, in that order.</summary>
    public static IEnumerable<string> LevelNames => s_levels.Select(l => l.Name());

    public required RaidLevel Level { get; init; }

    public required int Drives { get; init; }

    public required int ChunkBytes { get; init; }

    public required long MemberBytes { get; init; }

    public required bool IsZeroed { get; init; }

    /// <summary>Whether the array is made without a look at what the drives hold, which are known to be new.</summary>
    public required bool IsForced { get; init; }

    public required int Reactors { get; init; }

    public required int Queues { get; init; }

    public required int QueueSize { get; init; }

    public required bool Packed { get; init; }

    public required bool EventIdx { get; init; }

    /// <summary>Most requests that the guest submits at once to a queue.</summary>
    public required int Burst { get; init; }

    /// <summary>The longest time between two acts of the guest, in nanoseconds.</summary>
    public required int ThinkNs { get; init; }

    public required int FlushPercent { get; init; }

    public required int Generations { get; init; }

    /// <summary>The longest latency of a drive, in nanoseconds.</summary>
    public required int LatencyNs { get; init; }

    public required int TearBytes { get; init; }

    public required bool VolatileCache { get; init; }

    /// <summary>After what time without a write the array is called clean.</summary>
    public required TimeSpan CleanAfter { get; init; }

    public required int ResyncDepth { get; init; }

    public required Trouble Trouble { get; init; }

    /// <summary>Whether a drive that hangs may be given up for it, and hangs for long enough now and then.</summary>
    public required bool TimesOut { get; init; }

    /// <summary>Address space for the rows of a queue: with little of it, operations wait for rows.</summary>
    public required long RowMemoryBytes { get; init; }

    /// <summary>Whether lost members get new drives.</summary>
    public required bool Repairs { get; init; }

    /// <summary>Drives that wait for a member to be lost.</summary>
    public required int Spares { get; init; }

    /// <summary>The most that a resync or rebuild does, in bytes a second; 0 sets no bound.</summary>
    public required long JobBytesPerSecond { get; init; }

    /// <summary>Whether members are compared while the guest works.</summary>
    public required bool Scrubs { get; init; }

    /// <summary>Whether blocks have checksums.</summary>
    public required bool Checksums { get; init; }

    /// <summary>How the array is put right after an unclean stop.</summary>
    public required ArrayConsistency Consistency { get; init; }

    /// <summary>Whether drives are replaced that work.</summary>
    public required bool Swaps { get; init; }

    /// <summary>Whether drives are added.</summary>
    public required bool Reshapes { get; init; }

    /// <summary>Whether the number of parities changes with that now and then.</summary>
    public required bool Relevels { get; init; }

    /// <summary>The fewest parities that a change leaves.</summary>
    public int LeastParities => Math.Max(1, Level.ParityCount() - 1);

    /// <summary>What a reshape moves at a time.</summary>
    public required int WindowBytes { get; init; }

    /// <summary>How many members may be in trouble at a time; of a level with groups, of each.</summary>
    public int MostTroubles => Level switch
    {
        RaidLevel.Raid0 => 0,
        RaidLevel.Raid1 => Drives - 1,
        RaidLevel.Raid10 => 1,
        _ => Relevels ? LeastParities : Level.ParityCount(),
    };

    /// <summary>The volume's size; set when it is there.</summary>
    public long VolumeBytes { get; set; }

    /// <summary>The index of a level by its name; null when there is none.</summary>
    public static int? IndexOf(string name) =>
        Array.FindIndex(s_levels, l => l.Name() == name) is var index and >= 0 ? index : null;

    /// <summary>What the seed says.</summary>
    public static LifePlan Of(ulong seed, Chance chance)
    {
        RaidLevel level = s_levels[(int)(seed % (ulong)s_levels.Length)];
        int chunk = 4096 << chance.Next(4);
        bool manyReactors = chance.OneIn(2);
        Trouble trouble;
        bool zeroed;
        ulong turn = seed / (ulong)s_levels.Length;
        bool checksums = turn % 4 == 3;
        LifePlan plan = new()
        {
            Level = level,
            Drives = level switch
            {
                RaidLevel.Raid0 => chance.Between(1, 3),
                RaidLevel.Raid1 => chance.Between(2, 3),
                RaidLevel.Raid10 => chance.Between(2, 5),
                RaidLevel.Raid5 => chance.Between(3, 5),
                RaidLevel.Raid50 => RaidLevels.UsualGroups * chance.Between(3, 4),
                RaidLevel.Raid60 => RaidLevels.UsualGroups * 4,
                _ => chance.Between(level.MinimumMembers(), level.MinimumMembers() + 2),
            },
            ChunkBytes = chunk,

            // A mirror of more than 128 KiB is read from more than one copy.
            MemberBytes = Math.Max(chunk, 32 << 10) * chance.Between(1, 3) * (level == RaidLevel.Raid1 ? 2 : 1),
            IsZeroed = zeroed = !chance.OneIn(4),
            IsForced = zeroed && !chance.OneIn(4),
            Reactors = manyReactors ? 2 : 1,
            Queues = manyReactors ? 2 : chance.Between(1, 2),
            QueueSize = chance.Of(16, 32, 64),
            Packed = chance.OneIn(2),
            EventIdx = chance.OneIn(2),
            Burst = chance.Spread(1, 12),
            ThinkNs = chance.Spread(2_000, 400_000),
            FlushPercent = chance.Of(3, 10, 30),
            Generations = chance.Between(1, 4),
            LatencyNs = chance.Spread(2_000, 2_000_000),
            TearBytes = chance.Of(512, 4096),
            VolatileCache = !chance.OneIn(6),
            CleanAfter = chance.OneIn(2) ? TimeSpan.FromMilliseconds(chance.Spread(1, 1000)) : TimeSpan.FromSeconds(5),
            ResyncDepth = chance.Between(0, 4),
            RowMemoryBytes = chance.Of(0, 256 << 10, 1 << 20),
            Trouble = trouble = level == RaidLevel.Raid0 || chance.OneIn(3) ? Trouble.None : chance.Of(
                Trouble.Vanish, Trouble.VanishUntold, Trouble.VanishUntold, Trouble.RefuseWrites, Trouble.PassingErrors, Trouble.Hang,
                Trouble.ReadErrors, Trouble.BadBlocks, Trouble.BadBlocks),
            TimesOut = trouble == Trouble.Hang && seed / (ulong)s_levels.Length % 2 == 0,
            Repairs = level != RaidLevel.Raid0 && !chance.OneIn(3),
            Spares = level != RaidLevel.Raid0 && chance.OneIn(4) ? 1 : 0,
            Scrubs = level != RaidLevel.Raid0 && chance.OneIn(3),
            Consistency = level switch
            {
                RaidLevel.Raid0 => ArrayConsistency.Unrecorded,
                RaidLevel.Raid1 or RaidLevel.Raid10 => chance.OneIn(6) ? ArrayConsistency.None : ArrayConsistency.Bitmap,
                _ => chance.OneIn(6) ? ArrayConsistency.None : chance.OneIn(5) ? ArrayConsistency.Bitmap : ArrayConsistency.Journal,
            },
            JobBytesPerSecond = chance.OneIn(2) ? 0 : (long)chance.Spread(1, 64) << 20,
            Checksums = checksums,
            Swaps = chance.OneIn(3),
            Reshapes = (level == RaidLevel.Raid0 || level.ParityCount() > 0) && !level.HasGroups() && chance.OneIn(2),
            WindowBytes = chance.Of(1, 1, 32 << 10),
            Relevels = level.ParityCount() > 0 && !level.HasGroups() && !chance.OneIn(3),
        };
        return !checksums ? plan : plan with
        {
            Reshapes = false,
            Trouble = plan.MostTroubles > 0 && turn % 3 == 0 ? Trouble.Corrupt : plan.Trouble,
        };
    }
}
