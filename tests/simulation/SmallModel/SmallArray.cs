using System.Numerics;
using Polyblk.Fakes;
using Polyblk.Raid;
using Polyblk.Raid.Checksums;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>The shape of a small array, and what is done with one in a world.</summary>
/// <param name="Level">The level.</param>
/// <param name="Members">How many members.</param>
/// <param name="Away">A member that is not there while the sequence runs, and may be back, old, after it; or null.</param>
/// <param name="Consistency">How it is put right.</param>
internal sealed record SmallArray(RaidLevel Level, int Members, int? Away, ArrayConsistency Consistency)
{
    public const int ChunkBytes = 4096;

    private const string Name = "small";

    /// <summary>Rows of chunks.</summary>
    public int Rows { get; init; } = 2;

    /// <summary>Whether blocks have checksums.</summary>
    public bool Checksums { get; init; }

    /// <summary>Drives that are added while the sequence runs.</summary>
    public int Added { get; init; }

    /// <summary>The level that it gets while the sequence runs; null to keep its own.</summary>
    public RaidLevel? Becomes { get; init; }

    /// <summary>Whether it gets another shape while the sequence runs.</summary>
    public bool IsReshaped => Added != 0 || Becomes is not null;

    /// <summary>All drives, those that are added last.</summary>
    public int Drives => Members + Added;

    /// <summary>
    /// Drives that may be missing after a run, as masks: with the one that was away no more than the level survives.
    /// </summary>
    public IEnumerable<ulong> Losses
    {
        get
        {
            int most = Level == RaidLevel.Raid1 ? Members - 1 : Math.Min(Level.ParityCount(), (Becomes ?? Level).ParityCount());
            ulong[] groups = [.. Enumerable.Range(0, Groups).Select(MembersOf)];
            return Enumerable.Range(0, 1 << Drives).Select(m => (ulong)m)
                .Where(m => System.Array.TrueForAll(groups, its => BitOperations.PopCount((m | AwayMask) & its) <= most));
        }
    }

    /// <summary>The groups of members.</summary>
    public int Groups => Level.HasGroups() ? RaidLevels.UsualGroups : 1;

    /// <summary>The member that is away, as a mask.</summary>
    public ulong AwayMask => Away is { } away ? 1UL << away : 0;

    /// <summary>The data of a row, which is one of a group, in sectors.</summary>
    public int RowSectors =>
        ChunkBytes / VolumeModel.BlockBytes * (Level == RaidLevel.Raid1 ? 1 : (Members / Groups) - Level.ParityCount());

    /// <summary>The volume's size in bytes.</summary>
    public long VolumeBytes => (long)Rows * Groups * RowSectors * VolumeModel.BlockBytes;

    public SmallImage NewImage() => new(
        RaidGeometry.DefaultDataOffset + (Rows * ChunkBytes) + (Checksums ? ChecksumLayout.AreaBytes(Rows * ChunkBytes) : 0));

    /// <summary>Makes it over drives.</summary>
    public Task<RaidArray> CreateAsync(World world, SmallDrive[] drives, Chance chance) => ArrayBuilder.CreateAsync(
        new ArrayCreateOptions
        {
            Name = Name,
            Level = Level,
            ChunkBytes = ChunkBytes,
            AssumeZeroed = true,
            Consistency = Consistency,
            Checksums = Checksums,
            NewUuid = chance.Uuid,
            Run = RunOptions(world),
        },
        drives,
        world.Reactors[0]);

    /// <summary>Assembles it from drives.</summary>
    public Task<RaidArray> AssembleAsync(World world, IEnumerable<SmallDrive> drives, bool force = false) => ArrayBuilder.AssembleAsync(
        new ArrayAssembleOptions { Name = Name, AllowDegraded = true, Force = force, Run = RunOptions(world) },
        [.. drives],
        world.Reactors[0]);

    /// <summary>Does a request, which must succeed.</summary>
    public static async Task DoAsync(RequestDriver driver, SmallRequest request, byte[] data)
    {
        int status = await (request.Kind switch
        {
            SmallKind.Write => driver.WriteAsync(request.Offset, data),
            SmallKind.DurableWrite => driver.WriteAsync(request.Offset, data, Core.Block.BlockFlags.Fua),
            SmallKind.Zeroes => driver.WriteZeroesAsync(request.Offset, request.Length),
            SmallKind.Discard => driver.DiscardAsync(request.Offset, request.Length),
            _ => driver.FlushAsync(),
        });
        if (status != 0)
        {
            throw new Lives.LifeException($"{request} gave {status}");
        }
    }

    private ulong MembersOf(int group) =>
        Groups == 1 ? ulong.MaxValue : ((1UL << (Members / Groups)) - 1) << (group * (Members / Groups));

    private static ArrayRunOptions RunOptions(World world) => new()
    {
        Clock = world.Clock,
        Scheduler = world.Scheduler,
        RowMemoryBytes = 0,
        ReshapeWindowBytes = 1,
        RebuildByItself = false,
    };
}
