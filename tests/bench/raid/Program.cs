// Arrays beside the bare drive, in one process on one reactor: what the array itself costs, without a frontend.
//
//     dotnet run -c Release --project tests/bench/raid [SECONDS [NAME]]
//     dotnet run -c Release --project tests/bench/raid journal [SECONDS [FOLDER]]
//
//     dotnet run -c Release --project tests/bench/raid wide [SECONDS]
//
//     dotnet run -c Release --project tests/bench/raid checksums [SECONDS]
//
// The second form is in JournalBench.cs, the third in WideBench.cs, the last in ChecksumBench.cs.
//
// NAME chooses the arrays whose name contains it. Every line is the median of five alternating runs, and a ratio to the bare
// drive in the same rounds. A load keeps QD requests in flight: a completion submits the next one through deferred work.

using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Null;
using Polyblk.Drives.Ram;
using Polyblk.Raid;
using Polyblk.Raid.Bench;
using Polyblk.Raid.Layout;

if (args.Length > 0 && args[0] == "journal")
{
    await JournalBench.RunAsync(args.Length > 1 ? double.Parse(args[1], CultureInfo.InvariantCulture) : 1, args.Length > 2 ? args[2] : Path.GetTempPath());
    return;
}

if (args.Length > 0 && args[0] == "wide")
{
    await WideBench.RunAsync(args.Length > 1 ? double.Parse(args[1], CultureInfo.InvariantCulture) : 2);
    return;
}

if (args.Length > 0 && args[0] == "checksums")
{
    await ChecksumBench.RunAsync(args.Length > 1 ? double.Parse(args[1], CultureInfo.InvariantCulture) : 1);
    return;
}

double seconds = args.Length > 0 ? double.Parse(args[0], CultureInfo.InvariantCulture) : 0.5;
string only = args.Length > 1 ? args[1] : string.Empty;
const long Size = 160L << 20;
using var reactor = new Reactor(new ReactorOptions { Name = "bench", Idle = IdlePolicy.Frugal, RingEntries = 0 });

Console.WriteLine("null members, 4 KiB random, QD 32                    kIOPS   ratio");
await CompareAsync(
    () => new NullDrive(Size),
    [
        ("raid0 x4 read", RaidLevel.Raid0, 4, 0, new Load(BlockOperation.Read, 4096, 32, Random: true)),
        ("raid0 x4 write", RaidLevel.Raid0, 4, 0, new Load(BlockOperation.Write, 4096, 32, Random: true)),
        ("raid1 x2 read", RaidLevel.Raid1, 2, 0, new Load(BlockOperation.Read, 4096, 32, Random: true)),
        ("raid1 x2 write", RaidLevel.Raid1, 2, 0, new Load(BlockOperation.Write, 4096, 32, Random: true)),
        ("raid10 x4 read", RaidLevel.Raid10, 4, 0, new Load(BlockOperation.Read, 4096, 32, Random: true)),
        ("raid5 x9 read", RaidLevel.Raid5, 9, 0, new Load(BlockOperation.Read, 4096, 32, Random: true)),
        ("raid6 x10 read", RaidLevel.Raid6, 10, 0, new Load(BlockOperation.Read, 4096, 32, Random: true)),
    ],
    load => $"{load / 1e3,9:F0}");

Console.WriteLine("RAM members, 4 KiB random, QD 32                     kIOPS   ratio to a RAM drive");
await CompareAsync(
    () => new RamDrive(Size),
    [
        ("raid5 x9 read", RaidLevel.Raid5, 9, 0, new Load(BlockOperation.Read, 4096, 32, Random: true)),
        ("raid5 x9 read, one lost", RaidLevel.Raid5, 9, 1, new Load(BlockOperation.Read, 4096, 32, Random: true)),
        ("raid5 x9 write", RaidLevel.Raid5, 9, 0, new Load(BlockOperation.Write, 4096, 32, Random: true)),
        ("raid6 x10 read, two lost", RaidLevel.Raid6, 10, 2, new Load(BlockOperation.Read, 4096, 32, Random: true)),
    ],
    load => $"{load / 1e3,9:F0}");

Console.WriteLine("RAM members, full stripes (512 KiB), QD 4              GB/s   ratio to a RAM drive");
await CompareAsync(
    () => new RamDrive(Size),
    [
        ("raid5 8+1 write", RaidLevel.Raid5, 9, 0, new Load(BlockOperation.Write, 512 << 10, 4, Random: false)),
        ("raid6 8+2 write", RaidLevel.Raid6, 10, 0, new Load(BlockOperation.Write, 512 << 10, 4, Random: false)),
        ("raid5 8+1 read", RaidLevel.Raid5, 9, 0, new Load(BlockOperation.Read, 512 << 10, 4, Random: false)),
    ],
    load => $"{load * (512 << 10) / 1e9,9:F2}");

async Task CompareAsync(Func<IBlockDevice> makeDrive, (string Name, RaidLevel Level, int Drives, int Lost, Load Load)[] cases, Func<double, string> format)
{
    foreach ((string name, RaidLevel level, int count, int lost, Load load) in cases)
    {
        if (!name.Contains(only, StringComparison.Ordinal))
        {
            continue;
        }

        IBlockDevice[] drives = [.. Enumerable.Range(0, count).Select(_ => makeDrive())];
        IBlockDevice bare = makeDrive();
        foreach (IBlockDevice drive in drives.Append(bare))
        {
            await FillAsync(drive);
        }

        var create = new ArrayCreateOptions
        {
            Name = "bench",
            Level = level,
            AssumeZeroed = true,
            Force = true, // The drives are filled.
            Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) },
        };
        RaidArray array = await ArrayBuilder.CreateAsync(
            create,
            drives,
            reactor);
        if (lost > 0)
        {
            await array.DisposeAsync();
            array = await ArrayBuilder.AssembleAsync(
                new ArrayAssembleOptions { Name = "bench", AllowDegraded = true }, drives[lost..], reactor);
        }

        var bareRates = new List<double>();
        var arrayRates = new List<double>();
        for (int round = 0; round < 5; round++)
        {
            bareRates.Add(await LoadRunner.RunAsync(reactor, bare, load, seconds));
            arrayRates.Add(await LoadRunner.RunAsync(reactor, array, load, seconds));
        }

        double bareRate = bareRates.Order().ElementAt(2);
        double arrayRate = arrayRates.Order().ElementAt(2);
        Console.WriteLine($"  {name,-28} bare {format(bareRate)}  array {format(arrayRate)}   {arrayRate / bareRate:F3}");
        await array.DisposeAsync();
        foreach (IBlockDevice drive in drives)
        {
            await drive.DisposeAsync();
        }

        await bare.DisposeAsync();
    }
}

// Memory that was never written is one page of zeroes for everybody, and its first touch a page fault: neither is what a drive
// costs.
async Task FillAsync(IBlockDevice drive)
{
    if (drive is RamDrive)
    {
        var block = new byte[1 << 20];
        new Random(1).NextBytes(block);
        for (long at = 0; at < drive.SizeBytes; at += block.Length)
        {
            await BlockIo.WriteAsync(drive, reactor, at, block);
        }
    }
}
