// Random writes on two reactors to the same few rows while members refuse writes and vanish, against a model of what each sector
// may hold: what was last acknowledged, or what a failed write since then wanted. An error is an answer only where the sector's
// own member is lost, or could not write its row and has not done so since.

using System.Buffers.Binary;
using Polyblk.Core.Block;
using Polyblk.Drives.Simulated;
using Polyblk.Fakes;
using Polyblk.Raid.Engine;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Tests.Arrays;

public sealed class RefusalModelTests
{
    private const int Sector = 512;
    private const int Writers = 4;
    private const int ReadsInFlight = 16;

    public static TheoryData<RaidLevel, int, int, int> Shapes
    {
        get
        {
            var data = new TheoryData<RaidLevel, int, int, int>();
            for (int seed = 0; seed < 6; seed++)
            {
                // level, drives, lost before, seed
                data.Add(RaidLevel.Raid1, 2, 0, seed);
                data.Add(RaidLevel.Raid1, 3, 1, seed);
                data.Add(RaidLevel.Raid10, 5, 1, seed);
                data.Add(RaidLevel.Raid5, 3, 0, seed);
                data.Add(RaidLevel.Raid5, 3, 1, seed);
                data.Add(RaidLevel.Raid5, 4, 1, seed);
                data.Add(RaidLevel.Raid6, 5, 0, seed);
                data.Add(RaidLevel.Raid6, 5, 1, seed);
                data.Add(RaidLevel.Raid6, 5, 2, seed);
                data.Add(RaidLevel.Raid73, 6, 1, seed);
                data.Add(RaidLevel.Raid73, 6, 3, seed);
                data.Add(RaidLevel.Raid50, 6, 0, seed);
                data.Add(RaidLevel.Raid50, 6, 1, seed);
                data.Add(RaidLevel.Raid60, 8, 2, seed);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public async Task What_is_read_was_written_whoever_refuses(RaidLevel level, int drives, int lost, int seed)
    {
        await using ArrayRig rig = await ArrayRig.CreateAsync(
            level, drives, 4 << 10, 16 << 10, reactors: 2,
            simulation: o => o with { Seed = o.Seed + (ulong)(seed * 7_000), MinimumLatencyNs = 1_000, MaximumLatencyNs = 50_000 },
            run: new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1), ResyncRetryAfter = TimeSpan.FromMilliseconds(20) });
        var random = new Random((seed * 1_000) + drives + (lost * 100) + ((int)level * 10_000));
        var model = new SectorModel((int)(rig.Array.SizeBytes / Sector));
        RequestDriver[] writers = [.. await Task.WhenAll(Enumerable.Range(0, Writers).Select(i => rig.OpenAsync(i % 2)))];
        Assert.True(await model.WriteAsync(writers[0], 0, model.Count) == 0);
        for (int i = 0; i < lost; i++)
        {
            await rig.Drives[i].VanishAsync();
        }

        Assert.Equal(0, await writers[0].FlushAsync());
        for (int round = 0; round < 12; round++)
        {
            AddFaults(rig, random, lost);
            int[] seeds = [.. Enumerable.Range(0, Writers).Select(_ => random.Next())];
            await Task.WhenAll(Enumerable.Range(0, Writers).Select(w => RunWriterAsync(rig, model, writers[w], w, new Random(seeds[w]))));
            Array.ForEach(rig.Drives, d => d.ClearFaults());
            if (round == 8 && random.Next(2) == 0)
            {
                // The next one goes for good, whether the level bears it or not.
                await rig.Drives[lost].VanishAsync();
            }

            await CheckAllAsync(rig, model, writers[round % Writers], $"seed {seed}, round {round}");
        }

        await ArrayRig.WaitForLocksAsync(rig.Array);

        // One that is gone, and all of whose places were bad, is found out only when they are tried again.
        ArrayState state = rig.Array.State;
        await ArrayRig.WaitAsync(
            () => state.IsBroken || state.FailedMask != 0 || (rig.Array.GetStatus().Resync is null && state.BadMask == 0),
            "what members could not write");
        if (state is { IsBroken: false, FailedMask: 0 })
        {
            await rig.AssertConsistentAsync($"seed {seed}");
        }
    }

    private static void AddFaults(ArrayRig rig, Random random, int lost)
    {
        for (int i = lost; i < rig.Drives.Length; i++)
        {
            if (random.Next(2) == 0)
            {
                rig.Drives[i].AddFault(new DriveFault
                {
                    Operation = BlockOperation.Write,
                    OffsetBytes = ArrayRig.DataOffset,
                    Probability = random.Next(1, 4) * 0.2,
                    Errno = random.Next(4) == 0 ? Errno.EIO : Errno.ENOSPC,
                });
            }
        }
    }

    /// <summary>Writes of its own sectors, a quarter of every 4 KiB, in rows that all share; reads of them in between.</summary>
    private static async Task RunWriterAsync(ArrayRig rig, SectorModel model, RequestDriver driver, int writer, Random random)
    {
        for (int i = 0; i < 12; i++)
        {
            int block = random.Next(model.Count / 8);
            int first = (block * 8) + (writer * 2);
            int count = random.Next(1, 3);
            await model.WriteAsync(driver, first, count);
            (int status, byte[] read) = await driver.ReadAsync(first * Sector, count * Sector);
            if (status == 0)
            {
                model.Check(first, read, $"writer {writer}, step {i}");
            }
            else
            {
                await AssertMayFailAsync(rig, model, driver, first, $"writer {writer}, step {i}");
            }
        }
    }

    private static async Task CheckAllAsync(ArrayRig rig, SectorModel model, RequestDriver driver, string what)
    {
        // Each by itself, several in flight.
        foreach (int[] sectors in Enumerable.Range(0, model.Count).Chunk(ReadsInFlight))
        {
            (int Status, byte[] Data)[] reads =
                await Task.WhenAll(sectors.Select(sector => driver.ReadAsync(sector * Sector, Sector)));
            for (int i = 0; i < sectors.Length; i++)
            {
                if (reads[i].Status == 0)
                {
                    model.Check(sectors[i], reads[i].Data, what);
                }
                else
                {
                    await AssertMayFailAsync(rig, model, driver, sectors[i], what);
                }
            }
        }
    }

    private static async Task AssertMayFailAsync(ArrayRig rig, SectorModel model, RequestDriver driver, int sector, string what)
    {
        RaidGeometry geometry = rig.Array.Geometry;
        bool isLost = true;
        for (int copy = 0; copy < geometry.CopyCount; copy++)
        {
            MemberPlace place = geometry.CopyCount > 1 ? geometry.Copy(sector * Sector, copy) : geometry.Map(sector * Sector);
            long unit = geometry.HasParity ? RaidUnits.At(geometry, place.Member, place.Offset)
                : (sector * Sector) >> RaidUnits.MirrorShift;
            isLost &= rig.Drives[place.Member].IsGone || !rig.Array.IsUsable(place.Member)
                || ((rig.Array.State.BadAt(unit) >> place.Member) & 1) != 0;
        }

        if (!isLost && rig.Array.State.BadAdded != 0)
        {
            // It may have been written meanwhile, and then it is there.
            (int status, byte[] read) = await driver.ReadAsync(sector * Sector, Sector);
            Assert.True(status == 0, $"{what}: sector {sector} lies on a member that works, and was answered with an error twice");
            model.Check(sector, read, what);
            return;
        }

        Assert.True(isLost, $"{what}: sector {sector} lies on a member that works, and was answered with an error");
    }

    /// <summary>What each sector may hold.</summary>
    private sealed class SectorModel(int count)
    {
        private readonly HashSet<int>[] _allowed = [.. Enumerable.Range(0, count).Select(_ => new HashSet<int> { 0 })];
        private int _lastId;

        public int Count => count;

        /// <summary>Writes sectors that nobody else writes. What fails may have happened or not.</summary>
        public async Task<int> WriteAsync(RequestDriver driver, int first, int sectors)
        {
            int id = Interlocked.Increment(ref _lastId);
            var data = new byte[sectors * Sector];
            for (int i = 0; i < sectors; i++)
            {
                Fill(data.AsSpan(i * Sector, Sector), id, first + i);
                _allowed[first + i].Add(id);
            }

            int status = await driver.WriteAsync(first * Sector, data);
            for (int i = 0; status == 0 && i < sectors; i++)
            {
                _allowed[first + i].Clear();
                _allowed[first + i].Add(id);
            }

            return status;
        }

        public void Check(int first, ReadOnlySpan<byte> data, string what)
        {
            Span<byte> expected = stackalloc byte[Sector];
            for (int at = 0; at < data.Length; at += Sector)
            {
                int sector = first + (at / Sector);
                int id = BinaryPrimitives.ReadInt32LittleEndian(data[at..]);
                Fill(expected, id, sector);
                Assert.True(data.Slice(at, Sector).SequenceEqual(expected), $"{what}: sector {sector} is torn or foreign");
                Assert.True(_allowed[sector].Contains(id), $"{what}: sector {sector} holds write {id}, allowed {string.Join(", ", _allowed[sector])}");
            }
        }

        private static void Fill(Span<byte> sector, int id, int number)
        {
            sector.Fill((byte)(id * 31));
            BinaryPrimitives.WriteInt32LittleEndian(sector, id);
            BinaryPrimitives.WriteInt32LittleEndian(sector[4..], id == 0 ? 0 : number);
        }
    }
}
