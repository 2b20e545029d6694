// Arrays that are wide, over drives that are slow: what latency and the limits of drives cost, where the processor is idle.
//
//   - random writes of 4 KiB at QD 192 to raid6 over drives that answer after 5 ms, however much they are asked: the more requests
//     are under way at the drives, the more are done;
//   - random writes to raid5 over drives that do 1,000 requests a second: in theory each costs two reads and two writes, and one more
//     where it is recorded in the journal;
//   - resync and rebuild of drives that answer after 5 ms and move 100 MB/s: the share of that on each member.
//
// Drives are simulated ones; what is measured is requests, or bytes of a member, a second of the clock. One round each: nothing
// of it depends on the processor while one is free.

using System.Diagnostics;
using System.Globalization;
using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Drives.Simulated;
using Polyblk.Raid.Layout;
using Polyblk.Raid.Superblock;

namespace Polyblk.Raid.Bench;

internal static class WideBench
{
    private const long DriveBytes = 1L << 30;
    private const double DriveIops = 1000;
    private const long JobBytes = 96L << 20;
    private const double DriveRate = 100e6;

    public static async Task RunAsync(double seconds)
    {
        using var reactor = new Reactor(new ReactorOptions { Name = "bench", Idle = IdlePolicy.Frugal, RingEntries = 0 });
        Console.WriteLine("4 KiB random writes, QD 192, raid6, drives of 5 ms     IOPS  of a processor");
        foreach (int drives in new[] { 8, 16, 32, 64 })
        {
            (double iops, double processor) = await WritesAsync(reactor, RaidLevel.Raid6, drives, 192, ArrayConsistency.Bitmap, Slow, seconds);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {drives,2} drives                                         {iops,9:F0}  {processor:F2}"));
        }

        Console.WriteLine("4 KiB random writes, raid5, drives of 1000 IOPS        IOPS  of theory");
        foreach ((int drives, int depth, ArrayConsistency consistency, double cost) in new[]
        {
            (9, 192, ArrayConsistency.Bitmap, 4.0), (24, 192, ArrayConsistency.Bitmap, 4), (24, 256, ArrayConsistency.Bitmap, 4),
            (9, 192, ArrayConsistency.Journal, 5), (24, 192, ArrayConsistency.Journal, 5), (24, 256, ArrayConsistency.Journal, 5),
        })
        {
            double theory = drives * DriveIops / cost;
            (double iops, _) = await WritesAsync(reactor, RaidLevel.Raid5, drives, depth, consistency, Limited, seconds);
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"  {drives - 1,2} + 1, {consistency.ToString().ToLowerInvariant(),-7}, QD {depth}                        {iops,9:F0}  {iops / theory:F2}"));
        }

        Console.WriteLine("a member's share of 100 MB/s, drives of 5 ms        MB/s   of the drive's");
        foreach ((RaidLevel level, int drives, int chunk) in new[]
        {
            (RaidLevel.Raid1, 2, 64 << 10), (RaidLevel.Raid10, 4, 64 << 10), (RaidLevel.Raid5, 5, 4 << 10), (RaidLevel.Raid5, 5, 64 << 10),
            (RaidLevel.Raid6, 8, 64 << 10),
        })
        {
            await JobAsync(reactor, "resync", level, drives, chunk);
            await JobAsync(reactor, "rebuild", level, drives, chunk);
        }
    }

    private static SimulatedDriveOptions Slow => new()
    {
        CanCrash = false, VolatileCache = false, MinimumLatencyNs = 5_000_000, MaximumLatencyNs = 5_000_000,
    };

    private static SimulatedDriveOptions Limited => new()
    {
        CanCrash = false, VolatileCache = false, MinimumLatencyNs = 100_000, MaximumLatencyNs = 200_000, ReadIops = DriveIops, WriteIops = DriveIops,
    };

    /// <summary>Requests a second, and the share of a processor that they took.</summary>
    private static async Task<(double Iops, double Processor)> WritesAsync(
        Reactor reactor, RaidLevel level, int count, int depth, ArrayConsistency consistency, SimulatedDriveOptions options, double seconds)
    {
        SimulatedDrive[] drives = [.. Enumerable.Range(0, count).Select(i => new SimulatedDrive(DriveBytes, options with { Seed = (ulong)i + 1 }))];
        RaidArray array = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions
            {
                Name = "wide", Level = level, AssumeZeroed = true, Consistency = consistency, Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) },
            },
            drives,
            reactor);
        var load = new Load(BlockOperation.Write, 4096, depth, Random: true) { SpanBytes = array.SizeBytes };

        // All regions are marked, and pools in use, before anything counts.
        await LoadRunner.MeasureAsync(reactor, array, load, seconds);
        (double byProcessor, double iops) = await LoadRunner.MeasureAsync(reactor, array, load, seconds);
        await EndAsync(array, drives);
        return (iops, iops / byProcessor);
    }

    private static async Task JobAsync(Reactor reactor, string job, RaidLevel level, int count, int chunk)
    {
        SimulatedDriveOptions options = Slow with { ReadBytesPerSecond = DriveRate, WriteBytesPerSecond = DriveRate };
        SimulatedDrive[] drives = [.. Enumerable.Range(0, count + 1).Select(i => new SimulatedDrive(JobBytes, options with { Seed = (ulong)i + 1 }))];
        await Task.WhenAll(drives.Select(d => TouchAsync(d, reactor)));
        bool isResync = job == "resync";
        RaidArray array = await ArrayBuilder.CreateAsync(
            new ArrayCreateOptions
            {
                Name = "wide", Level = level, ChunkBytes = chunk, AssumeZeroed = !isResync, Run = new ArrayRunOptions { CleanAfter = TimeSpan.FromHours(1) },
            },
            drives[..count],
            reactor);
        if (!isResync)
        {
            await array.FailMemberAsync(0);
            await array.ReplaceMemberAsync(0, drives[count]);
        }

        double rate = await RateAsync(array, isResync);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture, $"  {job,-7} {level.Name(),-6} of {count,2}, chunks of {chunk >> 10,2} KiB          {rate / 1e6,9:F1}   {rate / DriveRate:F2}"));
        await EndAsync(array, drives);
    }

    /// <summary>What a drive holds is memory that is there: that it must be made is no part of what is measured.</summary>
    private static async Task TouchAsync(SimulatedDrive drive, Reactor reactor)
    {
        var zeroes = new byte[1 << 20];
        for (long at = 0; at < drive.SizeBytes; at += zeroes.Length)
        {
            await BlockIo.WriteAsync(drive, reactor, at, zeroes);
        }
    }

    /// <summary>Bytes of a member a second, from the first progress to the end.</summary>
    private static async Task<double> RateAsync(RaidArray array, bool isResync)
    {
        ResyncStatus? Look() => isResync ? array.GetStatus().Resync : array.GetStatus().Rebuild;
        ResyncStatus? first;
        while ((first = Look()) is null or { DoneBytes: 0 })
        {
            await Task.Delay(1);
        }

        long from = Stopwatch.GetTimestamp();
        while (Look() is { } status && status.DoneBytes < status.TotalBytes)
        {
            await Task.Delay(1);
        }

        return (first.TotalBytes - first.DoneBytes) / Stopwatch.GetElapsedTime(from).TotalSeconds;
    }

    private static async Task EndAsync(RaidArray array, SimulatedDrive[] drives)
    {
        await array.DisposeAsync();
        foreach (SimulatedDrive drive in drives)
        {
            await drive.DisposeAsync();
        }
    }
}
