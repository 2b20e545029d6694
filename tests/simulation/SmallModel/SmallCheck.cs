using System.Numerics;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Simulation.Tests.SmallModel;

/// <summary>Goes through all crash points of a run, all subsets of what was not flushed, and all losses of members.</summary>
/// <param name="array">The array.</param>
/// <param name="run">What was done with it.</param>
/// <param name="mostOpen">The most writes that may be open at a crash point.</param>
/// <param name="samples">So many of the subsets and losses of a crash point, by chance; 0 for all of them.</param>
internal sealed class SmallCheck(SmallArray array, SmallRun run, int mostOpen, int samples = 0)
{
    // What was started from already, by the writes that were on the drives.
    private readonly Dictionary<(UInt128 Writes, ulong Lost), SmallStart> _starts = [];
    private readonly HashSet<(UInt128 Writes, ulong Lost, int State)> _judged = [];

    /// <summary>Crash points.</summary>
    public int Points { get; private set; }

    /// <summary>Crash points, each with every subset and every loss.</summary>
    public long Cases { get; private set; }

    /// <summary>How many of them were different from each other for the array.</summary>
    public int Starts => _starts.Count;

    /// <summary>Judges all of them.</summary>
    public void Run()
    {
        Assert.InRange(run.Writes.Count, 0, 128);
        var chance = new Chance(11);
        ulong[] losses = [.. array.Losses];
        using var world = new World(new Chance(7), reactors: 1);
        for (int point = 0; point <= run.Events; point++)
        {
            Points++;
            UInt128 certain = MaskOf(w => w.DurableAt <= point);
            int[] open = [.. Enumerable.Range(0, run.Writes.Count).Where(i => run.Writes[i].TakenAt <= point && run.Writes[i].DurableAt > point)];
            Assert.True(open.Length <= mostOpen, $"{open.Length} writes are open at event {point}: the sequence is too long");
            for (int sample = 0; sample < samples; sample++)
            {
                Cases++;
                Judge(world, point, With(certain, open, (uint)chance.Next(1 << open.Length)), losses[chance.Next(losses.Length)]);
            }

            for (uint subset = 0; samples == 0 && subset < 1u << open.Length; subset++)
            {
                UInt128 writes = With(certain, open, subset);
                foreach (ulong lost in losses)
                {
                    Cases++;
                    Judge(world, point, writes, lost);
                }
            }
        }
    }

    private static UInt128 With(UInt128 writes, int[] open, uint subset)
    {
        for (uint left = subset; left != 0; left &= left - 1)
        {
            writes |= UInt128.One << open[BitOperations.TrailingZeroCount(left)];
        }

        return writes;
    }

    private void Judge(World world, int point, UInt128 writes, ulong lost)
    {
        int state = run.Log.StateAt(point);
        bool isStopped = point >= run.Log.StoppedAt;
        if (!_judged.Add((writes, lost, isStopped ? -1 : state)))
        {
            return;
        }

        if (!_starts.TryGetValue((writes, lost), out SmallStart? start))
        {
            start = Start(world, point, writes, lost);
            _starts.Add((writes, lost), start);
        }

        (VolumeModel model, SortedSet<long> open) = run.Log.ModelOf(state);
        if (start.IsRefused)
        {
            // Only of superblocks that this run has written: before that, and after its end in order, they say clean.
            bool isWritten = Of(writes).Any(w => w.Offset < RaidGeometry.DefaultDataOffset && ((lost >> w.Drive) & 1) == 0);
            bool isTheHole = array.Level.ParityCount() != 0 && (lost | array.AwayMask) != 0 && isWritten && !isStopped;
            Assert.True(isTheHole && array.Consistency != ArrayConsistency.Journal, $"The start was refused: {Describe(point, writes, lost)}");
            ExcuseStripes(model, open);
        }
        else if (array.Level.ParityCount() != 0)
        {
            foreach (long block in OpenColumns.Find(start.Geometry, open, atLeast: 2, lost | array.AwayMask).ToArray())
            {
                model.Excuse(block);
            }
        }

        string? wrong = start.Wrong ?? model.Judge(0, start.Found, model.Step(), powerWasLost: true);
        Assert.True(wrong is null, $"{wrong}: {Describe(point, writes, lost)}");
    }

    private SmallStart Start(World world, int point, UInt128 writes, ulong lost)
    {
        SmallImage[] images = [.. run.Base.Select(i => i.Copy())];
        foreach (SmallWrite write in Of(writes).OrderBy(w => w.DoneAt))
        {
            images[write.Drive].Write(write.Offset, write.Data);
        }

        try
        {
            return SmallStart.Of(array, world, images, lost);
        }
        catch (Exception e)
        {
            throw new Lives.LifeException(Describe(point, writes, lost), e);
        }
    }

    /// <summary>With force, of a stripe that was being written nobody answers for the blocks of lost members.</summary>
    private void ExcuseStripes(VolumeModel model, SortedSet<long> open)
    {
        foreach (long row in open.Select(b => b / array.RowSectors).Distinct())
        {
            for (long block = row * array.RowSectors; block < (row + 1) * array.RowSectors; block++)
            {
                model.Excuse(block);
            }
        }
    }

    private UInt128 MaskOf(Func<SmallWrite, bool> which)
    {
        UInt128 mask = 0;
        for (int i = 0; i < run.Writes.Count; i++)
        {
            mask |= which(run.Writes[i]) ? UInt128.One << i : 0;
        }

        return mask;
    }

    private IEnumerable<SmallWrite> Of(UInt128 writes) => run.Writes.Where((_, i) => ((writes >> i) & 1) != 0);

    private string Describe(int point, UInt128 writes, ulong lost) =>
        $"power went out after event {point}, members {lost:b} are lost, and on the drives are "
        + string.Join(", ", Of(writes).Select(w => $"{w.Data.Length} bytes at {w.Offset} of drive {w.Drive}"));
}
