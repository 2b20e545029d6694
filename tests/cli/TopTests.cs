// polyblk top: the arithmetic between two pictures of a daemon, the tables, and the command over a daemon's API.

using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using Polyblk.Api;
using Polyblk.Cli.CommandLine;
using Polyblk.Cli.Output;
using Polyblk.Compare.Clients.Nbd;
using Polyblk.Core.Metering;
using Polyblk.Host.Model;

namespace Polyblk.Cli.Tests;

public sealed class TopTests : DaemonTestBase
{
    private const long Second = 1_000_000_000;

    [Fact]
    public void RatesAndTimesAreThoseBetweenTwoPictures()
    {
        var histogram = new LatencyHistogram();
        histogram.Add(10_000_000, 1000);
        StatisticsJson before = Picture(7, 5 * Second, histogram.Read(), bytes: 4096, busyNs: Second);
        histogram.Add(8000, 99);
        histogram.Add(32_000);
        StatisticsJson after = Picture(7, 7 * Second, histogram.Read(), bytes: 8_004_096, busyNs: 2 * Second);
        TopJson interval = TopJson.Between(before, after);
        Assert.Equal(2, interval.Seconds);
        TopVolumeJson volume = Assert.Single(interval.Volumes);
        foreach (TopTrafficJson traffic in (TopTrafficJson[])[volume.Total, volume.Exports[0].Traffic, volume.Drives[0].Traffic])
        {
            Assert.Equal((50, 0), (traffic.ReadsPerSecond, traffic.WritesPerSecond));
            Assert.Equal((4e6, 0), (traffic.ReadBytesPerSecond, traffic.WriteBytesPerSecond));
            LatencyJson latency = traffic.Latency!;
            Assert.Equal((100, 8.24, 8, 32), (latency.Count, latency.MeanUs, latency.P99Us, latency.P999Us));
            Assert.Equal((traffic.Latency, null), (traffic.Operations.Read, traffic.Operations.Write));
        }

        Assert.Equal((3, 2), (volume.Exports[0].Traffic.InFlight, volume.Exports[0].Traffic.Errors));
        Assert.Equal((50, 25), (interval.Reactors[0].BusyPercent, interval.Reactors[0].SleepsPerSecond));
    }

    /// <summary>A successor counts from nothing: what is less than before is not a negative rate.</summary>
    [Fact]
    public void ASuccessorsCountersBeginAnew()
    {
        var histogram = new LatencyHistogram();
        histogram.Add(1000, 10);
        StatisticsJson after = Picture(8, 6 * Second, histogram.Read(), bytes: 100, busyNs: Second / 2);
        histogram.Add(1000, 1000);
        TopJson interval = TopJson.Between(Picture(7, 5 * Second, histogram.Read(), bytes: 1_000_000, busyNs: Second), after);
        TopTrafficJson traffic = interval.Volumes[0].Total;
        Assert.Equal((10, 100, 50), (traffic.ReadsPerSecond, traffic.ReadBytesPerSecond, interval.Reactors[0].BusyPercent));
    }

    [Theory]
    [InlineData(80)]
    [InlineData(4096)]
    public void EveryExportDriveAndReactorHasALineThatFits(int width)
    {
        var histogram = new LatencyHistogram();
        StatisticsJson before = Picture(7, Second, histogram.Read(), 0, 0);
        histogram.Add(85_300, 123_456);
        StatisticsJson after = Picture(7, 2 * Second, histogram.Read(), 505_675_776, Second);
        string[] lines = [.. TopReport.Render(TopJson.Between(before, after), width)];
        Assert.All(lines, line => Assert.True(line.Length <= width, line));
        string line = Assert.Single(lines, l => l.Contains("data/nbd/0: serving", StringComparison.Ordinal));
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(["123456", "0", "506", "0", "85.3", "88.0", "3"], words[..7]);
        Assert.Contains(lines, l => l.Contains("data: optimal", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains("data 0 /dev/sdb", StringComparison.Ordinal));
        string reactor = Assert.Single(lines, l => l.EndsWith("reactor/2", StringComparison.Ordinal));
        Assert.StartsWith("100", reactor.TrimStart(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task TheCommandShowsWhatTheDaemonDoes()
    {
        await CreateAsync("data", "raid5", 3);
        await ExportBothAsync("data");
        await StartAsync();
        await using ApiServer api = await ApiServer.StartAsync(Daemon!, Directories, NullLogger.Instance);
        await Daemon!.Tried;
        using var client = new NbdClient((await ExportsAsync())[0].Live!.Endpoint, "data");
        using var enough = new CancellationTokenSource();
        Task load = Task.Run(() =>
        {
            while (!enough.IsCancellationRequested)
            {
                Assert.Equal(0, client.Write(4096, new byte[4096]));
            }
        });

        // On a busy host no write may be over in an interval, or one whose time is counted at the end of its turn, after it.
        string json;
        do
        {
            json = (await MustAsync("top", "data", "--json", "--interval", "0.2")).Output;
        }
        while (JsonSerializer.Deserialize(json, TopLineJson.Default.TopJson)!.Volumes[0].Exports[0].Traffic.WritesPerSecond == 0);
        string table = (await MustAsync("top", "--once", "--interval", "0.2")).Output;
        await enough.CancelAsync();
        await load;
        TopJson interval = JsonSerializer.Deserialize(json, TopLineJson.Default.TopJson)!;
        Assert.Equal('\n', json[^1]);
        Assert.Equal(1, json.Count(c => c == '\n'));
        TopTrafficJson traffic = interval.Volumes[0].Exports[0].Traffic;
        Assert.True(traffic is { WritesPerSecond: > 0, WriteBytesPerSecond: > 0, ReadsPerSecond: 0, Latency.P99Us: > 0 }, json);
        Assert.Equal(3, interval.Volumes[0].Drives.Count(d => d.State == "present"));
        Assert.Equal(2, interval.Volumes[0].Drives.Count(d => d.Traffic.WritesPerSecond > 0)); // a block and its parity
        Assert.Contains("data/nbd/0: serving, 1 session", table, StringComparison.Ordinal);

        (int code, _, string errors) = await RunAsync("top", "none", "--once");
        Assert.Equal((ExitCode.NotFound, true), (code, errors.Contains("no volume 'none'", StringComparison.Ordinal)));
        (code, _, errors) = await RunAsync("top", "--interval", "0");
        Assert.Equal((ExitCode.Usage, true), (code, errors.Contains("'0' is no interval", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task WithoutADaemonItSaysWhatToStart()
    {
        (int code, _, string errors) = await RunAsync("top", "--once");
        Assert.Equal(ExitCode.Refused, code);
        Assert.Contains("polyblk daemon", errors, StringComparison.Ordinal);
    }

    private static StatisticsJson Picture(int pid, long takenNs, LatencyCounts reads, long bytes, long busyNs)
    {
        IReadOnlyList<long>[] buckets = [.. reads.Buckets.Select(b => (IReadOnlyList<long>)[b.UpperNs, b.Count])];
        OperationStatisticsJson[] operations = [new("read", reads.Count, bytes, reads.SumNs, buckets)];
        return new StatisticsJson
        {
            TakenNs = takenNs,
            Pid = pid,
            Volumes =
            [
                new VolumeStatisticsJson
                {
                    Name = "data", State = DaemonState.Served, Health = Health.Optimal,
                    Exports =
                    [
                        new DoorStatisticsJson
                        {
                            Id = "data/nbd/0", State = "serving", Sessions = 1, InFlight = 3, Errors = 2, Operations = operations,
                        },
                    ],
                    Drives =
                    [
                        new DriveStatisticsJson { Member = 0, Drive = "/dev/sdb", State = "present", Operations = operations },
                    ],
                },
            ],
            Reactors = [new ReactorJson("reactor/2", 2, 1, 0, busyNs, 0, 0, busyNs / 20_000_000, 0, 0)],
        };
    }
}
