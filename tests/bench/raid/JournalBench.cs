// What the journal costs: the same array with it and with the bitmap alone, in turns: requests a second of the clock, and of the
// processor's time (where a drive is memory, that is all there is, and other programs do not count).
//
// Drives are simulated ones that answer after 20 to 60 us and do 200,000 requests of a kind a second, without and with a volatile cache (with one, a row that
// has a record is written with FUA, which they answer like any write), and files in a folder. Every line is the median of seven
// alternating rounds, and the ratio of the medians.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives;
using Polyblk.Drives.Simulated;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Bench;

internal static class JournalBench
{
    private const long DriveBytes = 1L << 30;
    private const int Rounds = 7;

    private static readonly (string Name, Load Load)[] s_loads =
    [
        ("4 KiB random writes, QD 1", new Load(BlockOperation.Write, 4096, 1, Random: true)),
        ("4 KiB random writes, QD 32", new Load(BlockOperation.Write, 4096, 32, Random: true)),
        ("64 KiB random writes, QD 8", new Load(BlockOperation.Write, 64 << 10, 8, Random: true)),
        ("whole stripes, QD 4", new Load(BlockOperation.Write, 256 << 10, 4, Random: false)),
        ("4 KiB random reads, QD 32", new Load(BlockOperation.Read, 4096, 32, Random: true)),
    ];

    public static async Task RunAsync(double seconds, string folder)
    {
        using var reactor = new Reactor(new ReactorOptions { Name = "bench", Idle = IdlePolicy.Frugal });
        string own = Directory.CreateTempSubdirectory("polyblk-journal").FullName;
        string files = Path.Combine(folder, Path.GetFileName(own));
        Directory.CreateDirectory(files);
        try
        {
            foreach ((RaidLevel level, int count) in new[] { (RaidLevel.Raid5, 5), (RaidLevel.Raid6, 6) })
            {
                await CompareAsync(reactor, level, count, "simulated, no cache", i => new SimulatedDrive(DriveBytes, Options(i, cache: false)), seconds);
                await CompareAsync(reactor, level, count, "simulated, cache", i => new SimulatedDrive(DriveBytes, Options(i, cache: true)), seconds);
                await CompareAsync(reactor, level, count, "files", i => DriveFactory.Open(DriveSpec.Parse($"file:{files}/{level}-{i},size=1GiB"), readOnly: false), seconds);
            }
        }
        finally
        {
            Directory.Delete(own, recursive: true);
            if (Directory.Exists(files))
            {
                Directory.Delete(files, recursive: true);
            }
        }
    }

    private static SimulatedDriveOptions Options(int seed, bool cache) => new()
    {
        Seed = (ulong)seed,
        CanCrash = false,
        VolatileCache = cache,
        MinimumLatencyNs = 20_000,
        MaximumLatencyNs = 60_000,
        ReadIops = 200_000,
        WriteIops = 200_000,
    };

    private static async Task CompareAsync(Reactor reactor, RaidLevel level, int count, string kind, Func<int, IBlockDevice> make, double seconds)
    {
        IBlockDevice[] drives = [.. Enumerable.Range(0, 2 * count).Select(make)];
        RaidArray bitmap = await MakeAsync(reactor, level, drives[..count], ArrayConsistency.Bitmap);
        RaidArray journal = await MakeAsync(reactor, level, drives[count..], ArrayConsistency.Journal);
        Console.WriteLine($"{level.Name()} of {count}, {kind,-34} bitmap    journal  ratio  of processor time");
        foreach ((string name, Load load) in s_loads)
        {
            var without = new List<(double ByProcessor, double ByClock)>();
            var with = new List<(double ByProcessor, double ByClock)>();
            for (int round = 0; round < Rounds; round++)
            {
                without.Add(await LoadRunner.MeasureAsync(reactor, bitmap, load, seconds));
                with.Add(await LoadRunner.MeasureAsync(reactor, journal, load, seconds));
            }

            double a = Median(without.Select(r => r.ByClock)), b = Median(with.Select(r => r.ByClock));
            double byProcessor = Median(with.Select(r => r.ByProcessor)) / Median(without.Select(r => r.ByProcessor));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {name,-42} {a,9:F0}  {b,9:F0}   {b / a:F2}   {byProcessor:F2}"));
        }

        await bitmap.DisposeAsync();
        await journal.DisposeAsync();
        foreach (IBlockDevice drive in drives)
        {
            await drive.DisposeAsync();
        }
    }

    private static double Median(IEnumerable<double> values) => values.Order().ElementAt(Rounds / 2);

    private static Task<RaidArray> MakeAsync(Reactor reactor, RaidLevel level, IBlockDevice[] drives, ArrayConsistency consistency) => ArrayBuilder.CreateAsync(
        new ArrayCreateOptions
        {
            Name = consistency.ToString(),
            Level = level,
            AssumeZeroed = true,
            Consistency = consistency,
            Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) },
        },
        drives,
        reactor);
}
