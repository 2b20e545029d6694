// What checksums of blocks cost: the same array with them and without, in turns: requests a second of the clock, and of the
// processor's time.
//
// Drives are memory, where what the processor does is all there is, and simulated ones that answer after 20 to 60 us and do
// 200,000 requests of a kind a second. Arrays are filled first, so that what is read is verified. Every line is the median of
// five alternating rounds, and the ratio of the medians. All pages of sums are in memory.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Ram;
using Polyblk.Drives.Simulated;
using Polyblk.Raid.Layout;

namespace Polyblk.Raid.Bench;

internal static class ChecksumBench
{
    private const long DriveBytes = 512L << 20;
    private const long SpanBytes = 256L << 20;
    private const int Rounds = 5;

    private static readonly (string Name, Load Load)[] s_loads =
    [
        ("4 KiB random reads, QD 1", new Load(BlockOperation.Read, 4096, 1, Random: true) { SpanBytes = SpanBytes }),
        ("4 KiB random reads, QD 32", new Load(BlockOperation.Read, 4096, 32, Random: true) { SpanBytes = SpanBytes }),
        ("64 KiB random reads, QD 8", new Load(BlockOperation.Read, 64 << 10, 8, Random: true) { SpanBytes = SpanBytes }),
        ("4 KiB random writes, QD 32", new Load(BlockOperation.Write, 4096, 32, Random: true) { SpanBytes = SpanBytes }),
        ("64 KiB random writes, QD 8", new Load(BlockOperation.Write, 64 << 10, 8, Random: true) { SpanBytes = SpanBytes }),
    ];

    public static async Task RunAsync(double seconds)
    {
        using var reactor = new Reactor(new ReactorOptions { Name = "bench", Idle = IdlePolicy.Frugal, RingEntries = 0 });
        foreach ((RaidLevel level, int count) in new[] { (RaidLevel.Raid0, 2), (RaidLevel.Raid1, 2), (RaidLevel.Raid5, 4) })
        {
            await CompareAsync(reactor, level, count, "memory", _ => new RamDrive(DriveBytes), seconds);
            await CompareAsync(reactor, level, count, "simulated", i => new SimulatedDrive(DriveBytes, Options(i)), seconds);
        }
    }

    private static SimulatedDriveOptions Options(int seed) => new()
    {
        Seed = (ulong)seed,
        CanCrash = false,
        MinimumLatencyNs = 20_000,
        MaximumLatencyNs = 60_000,
        ReadIops = 200_000,
        WriteIops = 200_000,
    };

    private static async Task CompareAsync(
        Reactor reactor, RaidLevel level, int count, string kind, Func<int, IBlockDevice> make, double seconds)
    {
        IBlockDevice[] drives = [.. Enumerable.Range(0, 2 * count).Select(make)];
        RaidArray plain = await MakeAsync(reactor, level, drives[..count], checksums: false);
        RaidArray sums = await MakeAsync(reactor, level, drives[count..], checksums: true);
        Console.WriteLine($"{level.Name()} of {count}, {kind,-34} without      with  ratio  of processor time");
        foreach ((string name, Load load) in s_loads)
        {
            var without = new List<(double ByProcessor, double ByClock)>();
            var with = new List<(double ByProcessor, double ByClock)>();
            for (int round = 0; round < Rounds; round++)
            {
                without.Add(await LoadRunner.MeasureAsync(reactor, plain, load, seconds));
                with.Add(await LoadRunner.MeasureAsync(reactor, sums, load, seconds));
            }

            double a = Median(without.Select(r => r.ByClock)), b = Median(with.Select(r => r.ByClock));
            double byProcessor = Median(with.Select(r => r.ByProcessor)) / Median(without.Select(r => r.ByProcessor));
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"  {name,-42} {a,9:F0}  {b,9:F0}   {b / a:F2}   {byProcessor:F2}"));
        }

        await plain.DisposeAsync();
        await sums.DisposeAsync();
        foreach (IBlockDevice drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    private static double Median(IEnumerable<double> values) => values.Order().ElementAt(Rounds / 2);

    private static async Task<RaidArray> MakeAsync(Reactor reactor, RaidLevel level, IBlockDevice[] drives, bool checksums)
    {
        RaidArray array = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions
            {
                Name = "bench",
                Level = level,
                AssumeZeroed = true,
                Checksums = checksums,
                Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) },
            },
            drives,
            reactor);
        var block = new byte[1 << 20];
        new Random(1).NextBytes(block);
        for (long at = 0; at < SpanBytes; at += block.Length)
        {
            await BlockIo.WriteAsync(array, reactor, at, block);
        }

        return array;
    }
}
