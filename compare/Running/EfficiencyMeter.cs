// RAID efficiency: the array without a frontend against the theory of Results/EfficiencyRow.cs.
//
// Twice: from the runs of the comparison (the bare drive and the array, medians over the rounds), where fast drives show what the
// processor limits; and with simulated drives of a given speed, which this machine can serve easily, so that what is seen is how
// well the array keeps many drives busy. A simulated drive serves its requests one after the other, each for 1/IOPS or its
// bytes/bandwidth, whichever is longer.

using Polyblk.Compare.Load;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Running;

/// <summary>How RAID efficiency is measured.</summary>
/// <param name="Arrays">Makes arrays.</param>
/// <param name="Level">Level of the array.</param>
/// <param name="Drives">Simulated drives; 0 for none.</param>
/// <param name="DriveOptions">Their speed, as options of a <c>sim:</c> drive.</param>
public sealed record EfficiencyPlan(IArrayFactory Arrays, string Level, int Drives, string DriveOptions)
{
    /// <summary>Slow enough that dozens of them are served by one processor.</summary>
    public const string DefaultDriveOptions = "latency=50us-100us,read-iops=1000,write-iops=800,read-mbps=20,write-mbps=16";
}

/// <summary>Makes the rows of the efficiency table.</summary>
internal static class EfficiencyMeter
{
    private const int DriveMib = 256;
    private const int ChunkBytes = 64 << 10;
    private const int RandomDepthOfDrive = 32;
    private const int SequentialDepth = 16;

    /// <summary>
    /// Jobs among which the requests are divided. All of them run on one reactor: what one processor gets out of the array.
    /// </summary>
    private const int Jobs = 8;

    /// <summary>Rows from the runs of a comparison: for each workload that both the bare drive and the array have.</summary>
    public static IEnumerable<EfficiencyRow> FromRuns(
        IReadOnlyList<RunRecord> runs, IReadOnlyList<Workload> workloads, string bare, string array, string level, int members)
    {
        foreach (Workload workload in workloads.Where(w => w.FioJobText is null && w.FileSystem is null))
        {
            double measured = Median(runs, array, workload);
            double single = Median(runs, bare, workload);
            double opposite = workloads.FirstOrDefault(w => IsOpposite(w, workload)) is Workload other ? Median(runs, bare, other) : double.NaN;
            (double read, double write) = workload.IsWrite ? (opposite, single) : (single, opposite);
            (double theoretical, string formula) = RaidTheory.Theoretical(RunnerMapping.PatternOf(workload), level, members, read, write);
            if (double.IsFinite(measured) && double.IsFinite(theoretical))
            {
                yield return Row(workload, workload.Title, level, members, single, theoretical, formula, measured);
            }
        }
    }

    /// <summary>Measures one simulated drive and an array of them.</summary>
    public static async Task<IReadOnlyList<EfficiencyRow>> SimulateAsync(
        EfficiencyPlan plan, ScratchSpace scratch, TimeSpan duration, CancellationToken cancellation)
    {
        string Drive(int seed) => $"sim:{DriveMib}MiB,seed={seed},{plan.DriveOptions}";
        var load = new DriveLoad();
        var settings = new LoadSettings(duration / 3, duration, scratch.LoadCpus, 1);
        (Workload One, Workload All, string Title)[] patterns = [.. Patterns(plan)];
        var single = new Dictionary<AccessPattern, double>();
        foreach ((Workload one, _, _) in patterns)
        {
            LoadResult result = await load.RunAsync(new FileEndpoint(Drive(1), (long)DriveMib << 20), one, settings, _ => { }, cancellation).ConfigureAwait(false);
            single[RunnerMapping.PatternOf(one)] = ResultOf(one, result);
        }

        var rows = new List<EfficiencyRow>();
        await using IOpenArray array = await plan.Arrays.CreateAsync(plan.Level, [.. Enumerable.Range(1, plan.Drives).Select(Drive)], cancellation).ConfigureAwait(false);
        foreach ((_, Workload all, string title) in patterns)
        {
            AccessPattern pattern = RunnerMapping.PatternOf(all);
            LoadResult result = await load.RunAsync(new DeviceEndpoint(array.Device, array.Device.SizeBytes), all, settings, _ => { }, cancellation).ConfigureAwait(false);
            (AccessPattern reads, AccessPattern writes) = all.IsRandom ? (AccessPattern.RandomRead, AccessPattern.RandomWrite) : (AccessPattern.SequentialRead, AccessPattern.SequentialWrite);
            (double theoretical, string formula) = RaidTheory.Theoretical(pattern, plan.Level, plan.Drives, single[reads], single[writes]);
            rows.Add(Row(all, title, plan.Level, plan.Drives, single[pattern], theoretical, formula, ResultOf(all, result)) with { Simulated = true });
        }

        return rows;
    }

    /// <summary>What one drive and what the array is given: as much for each drive; sequentially, whole stripes.</summary>
    private static IEnumerable<(Workload One, Workload All, string Title)> Patterns(EfficiencyPlan plan)
    {
        int stripe = RaidTheory.DataMembers(plan.Level, plan.Drives) * ChunkBytes;
        foreach (bool isWrite in new[] { false, true })
        {
            string verb = isWrite ? "write" : "read";
            yield return (
                new Workload("one", isWrite, true, 4096, RandomDepthOfDrive), new Workload("all", isWrite, true, 4096, RandomDepthOfDrive * plan.Drives / Jobs) { Jobs = Jobs },
                $"4 KiB random {verb}, QD {RandomDepthOfDrive} for each drive; {plan.DriveOptions}");
            yield return (
                new Workload("one", isWrite, false, 1 << 20, SequentialDepth), new Workload("all", isWrite, false, stripe, SequentialDepth),
                $"{stripe >> 10} KiB sequential {verb} (whole stripes), QD {SequentialDepth}; one drive: 1024 KiB; {plan.DriveOptions}");
        }
    }

    private static EfficiencyRow Row(
        Workload workload, string title, string level, int members, double single, double theoretical, string formula, double measured) => new()
        {
            Pattern = RunnerMapping.PatternOf(workload),
            Workload = title,
            Level = level,
            Members = members,
            SingleDrive = single,
            Theoretical = theoretical,
            Formula = formula,
            Array = measured,
        };

    private static bool IsOpposite(Workload a, Workload b) =>
        a.IsWrite != b.IsWrite && (a.IsRandom, a.BlockBytes, a.Depth, a.Jobs, a.Engine, a.FileSystem) == (b.IsRandom, b.BlockBytes, b.Depth, b.Jobs, b.Engine, b.FileSystem);

    private static double ResultOf(Workload workload, LoadResult result) => (workload.IsRandom ? result.Requests : result.Bytes) / result.Seconds;

    private static double Median(IReadOnlyList<RunRecord> runs, string method, Workload workload) =>
        Sample.Of(runs.Where(r => r.Method == method && r.Workload == workload.Name).Select(r => (double?)(workload.IsRandom ? r.Iops : r.BytesPerSecond)))?.Median ?? double.NaN;
}
