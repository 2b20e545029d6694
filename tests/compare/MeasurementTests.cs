using System.Diagnostics;
using Polyblk.Compare.Load;
using Polyblk.Compare.Measurement;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;
using Polyblk.Frontends;

namespace Polyblk.Compare.Tests;

/// <summary>Figures that are computed while it is measured, and what methods say of themselves.</summary>
public sealed class MeasurementTests
{
    [Fact]
    public void A_reading_in_a_part_of_the_counted_time_is_scaled_to_all_of_it()
    {
        var before = new TargetReading(0, Threads((1, 1000, 10)), 0, 5);
        var after = new TargetReading(Stopwatch.Frequency / 2, Threads((1, 3000, 20)), Stopwatch.Frequency, null);
        TargetUse target = after.Since(before, countedSeconds: 1.5)!.Value;
        Assert.Equal((6000, 30, null), (target.CpuNs, target.ContextSwitches, target.Notifications));

        // Its notifications were asked for in a longer time: one second.
        Assert.Equal(7, (after with { Notifications = 10 }).Since(before, 1.5)?.Notifications);
        Assert.Null((after with { Notifications = 4 }).Since(before, 1.5)!.Value.Notifications);
    }

    /// <summary>
    /// A busy host reads beginning and end at nearly the same moment: ten milliseconds of a tick would become seconds.
    /// </summary>
    [Fact]
    public void A_reading_in_too_small_a_part_is_none()
    {
        var before = new TargetReading(0, Threads((1, 0, 0)), 0, null);
        TargetReading At(double seconds) => new((long)(Stopwatch.Frequency * seconds), Threads((1, 10_000_000, 10)), (long)(Stopwatch.Frequency * seconds), null);
        Assert.Null(At(0.000_1).Since(before, countedSeconds: 0.3));
        Assert.Null(At(0.09).Since(before, 0.3));
        Assert.Equal(20_000_000, At(0.15).Since(before, 0.3)?.CpuNs);
        Assert.Null(before.Since(before, 0.3));
    }

    [Fact]
    public void Threads_that_begin_or_end_meanwhile_make_no_figure_negative()
    {
        ThreadReading before = Threads((1, 1000, 10), (2, 900_000, 5000), (3, 700, 70));

        // 1 goes on, 2 has ended, 3 is a new thread with an old id, 4 is new.
        ThreadReading after = Threads((1, 1500, 12), (3, 40, 4), (4, 200, 20));
        Assert.Equal(new ThreadUse(500 + 40 + 200, 2 + 4 + 20), after.Since(before));
        Assert.Equal(default, ThreadReading.Empty.Since(before));
    }

    [Fact]
    public void A_thread_that_ends_between_two_readings_of_a_process_takes_nothing_away()
    {
        using var goOn = new ManualResetEventSlim();
        using var hasWorked = new ManualResetEventSlim();
        var worker = new Thread(() =>
        {
            SpinWait.SpinUntil(() => false, TimeSpan.FromMilliseconds(30));
            hasWorked.Set();
            goOn.Wait();
        });
        worker.Start();
        hasWorked.Wait();
        ThreadReading before = ProcessCpu.Read(Environment.ProcessId);
        goOn.Set();
        worker.Join();
        Assert.True(before.Threads.Count > 1);
        ThreadUse used = ProcessCpu.Read(Environment.ProcessId).Since(before);
        Assert.True(used is { CpuNs: >= 0, ContextSwitches: >= 0 }, $"{used}");
        Assert.Empty(ProcessCpu.Read(int.MaxValue).Threads);
    }

    /// <summary>The server's own work for the answer does not belong to the counted time.</summary>
    [Theory]
    [InlineData(true, "notifications cpu cpu notifications")]
    [InlineData(false, "cpu cpu")]
    public void The_server_is_asked_outside_of_the_time_in_which_its_processor_time_is_read(bool asks, string order)
    {
        var method = new Logging();
        TargetReading begin = TargetReading.AtBegin(method, asks);
        TargetReading end = TargetReading.AtEnd(method, asks);
        Assert.Equal(order, string.Join(' ', method.Log));
        Assert.Equal(asks ? 0 : null, end.Since(begin, 1e-9)?.Notifications);
    }

    private static ThreadReading Threads(params (int Id, long CpuNs, long ContextSwitches)[] threads) => new(threads.ToDictionary(t => t.Id, t => new ThreadUse(t.CpuNs, t.ContextSwitches)));

    private sealed class Logging : IRunningMethod
    {
        public List<string> Log { get; } = [];

        public LoadEndpoint Endpoint => new FileEndpoint("f", 1);

        public IReadOnlyList<int> ProcessIds
        {
            get
            {
                Log.Add("cpu");
                return [Environment.ProcessId];
            }
        }

        public IReadOnlyList<string> Commands => [];

        public long? ReadNotifications()
        {
            Log.Add("notifications");
            return 3;
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    /// <summary>NBD and ublk have no driver that is notified: a 0 would be a figure, and the best one.</summary>
    [Fact]
    public void What_a_server_does_not_count_is_absent_and_not_zero()
    {
        Assert.Null(new ExportStatistics().Notifications);
        const string answer = """{"live":{"exports":[{"statistics":{"reads":5}},{"statistics":{"reads":5,"notifications":0}},{"statistics":{"notifications":7}}]}}""";
        Assert.Equal([null, 0, 7], new[] { 0, 1, 2 }.Select(i => ServerCounters.Notifications(answer, i)));
        Assert.Null(ServerCounters.Notifications("{}", 0));
    }

    [Fact]
    public void The_program_reads_its_own_processor_time()
    {
        long before = ProcessCpu.ReadTotalNs(Environment.ProcessId, withChildren: true);
        Assert.True(before > 0);
        Assert.True(before >= ProcessCpu.ReadTotalNs(Environment.ProcessId) - ProcessCpu.NsPerTick * 100);
        Assert.Equal(0, ProcessCpu.ReadTotalNs(int.MaxValue));
    }

    [Fact]
    public void Efficiency_comes_from_the_medians_of_both_and_needs_reads_and_writes_of_one_kind()
    {
        Workload read = Presets.Quick[1];
        Workload write = Presets.Quick[2];
        RunRecord[] runs =
        [
            Run("bare", read, 0, 100), Run("bare", read, 1, 300), Run("bare", read, 2, 200), Run("bare", write, 0, 100),
            Run("array", read, 0, 450), Run("array", write, 0, 50),
        ];
        EfficiencyRow[] rows = [.. EfficiencyMeter.FromRuns(runs, Presets.Quick, "bare", "array", "raid5", 3)];
        Assert.Equal(2, rows.Length);
        Assert.Equal((200, 600, 450, 75), (rows[0].SingleDrive, rows[0].Theoretical, rows[0].Array, rows[0].Percent));

        // 3 / (2 / 200 + 2 / 100)
        Assert.Equal((100, 100, 50), (rows[1].SingleDrive, Math.Round(rows[1].Theoretical, 6), rows[1].Array));
        Assert.Single(EfficiencyMeter.FromRuns([.. runs.Where(r => r.Workload == read.Name)], Presets.Quick, "bare", "array", "raid5", 3));
    }

    [Fact]
    public void A_method_without_its_frontend_or_its_load_says_what_is_missing()
    {
        var missing = new FrontendProbe(false, "no module", ["modprobe it"], new Dictionary<string, string>());
        MethodAvailability no = MethodAvailability.OfFrontend(missing, byFio: true);
        Assert.Equal((false, "no module", "modprobe it"), (no.CanRun, no.Reason, Assert.Single(no.Remedies)));
        Assert.True(MethodAvailability.OfFrontend(missing with { Available = true }, byFio: false).CanRun);
    }

    /// <summary>The driver takes a new size from Linux 6.16 on: the probe knows, not the version.</summary>
    [Theory]
    [InlineData("yes", true)]
    [InlineData("no", false)]
    [InlineData(null, null)]
    public void Whether_ublk_resizes_is_what_this_kernels_driver_says(string? probed, bool? resizes)
    {
        Dictionary<string, string> facts = probed is null ? [] : new() { ["resize"] = probed };
        MethodFacts ublk = KnownFacts.Frontend("ublk", "copy", "ublk", Vantage.Host, isMultiQueue: true);
        MethodFeatures features = ublk.OnKernel(facts).Features;
        Assert.Equal((resizes, true, true), (features.Resize, features.Discard, features.MultiQueue));
    }

    [Fact]
    public void Every_peer_has_a_row_of_features()
    {
        IDeliveryMethod[] peers = [new LoopDevice(), new MdArray("raid5"), new QemuStorageDaemon(), new QemuStorageDaemonNbd(), new QemuStorageDaemonVduse()];
        Assert.All(peers, p => Assert.Contains(p.Facts.Features.All(), f => f.State == true));
        string page = Report.HtmlReport.Render(SmallComparison.Of([.. peers.Select(p => p.Facts)], []), Polyblk.Compare.Verdict.Purpose.Vm);
        string table = page.Split("Features by method")[2].Split("</table>")[0];
        Assert.All(peers, p => Assert.Contains($"{p.Facts.Title} <span", table, StringComparison.Ordinal));
    }

    [Fact]
    public void Every_frontend_is_known_with_whom_it_reaches_and_what_it_needs()
    {
        MethodFacts ublk = KnownFacts.Frontend("ublk", "copy", "ublk", Vantage.Host);
        Assert.Equal(("ublk-copy@host", Consumer.Container), (ublk.Id, Assert.Single(ublk.Reaches)));
        Assert.Equal(["ublk_drv"], ublk.Needs.KernelModules);
        MethodFacts vduse = KnownFacts.Frontend("vduse", string.Empty, "vduse", Vantage.Guest);
        Assert.Equal(("vduse@guest", Consumer.Vm), (vduse.Id, Assert.Single(vduse.Reaches)));
        Assert.Contains("vhost_vdpa", vduse.Needs.KernelModules);
        Assert.True(KnownFacts.Frontend("vhost-user", "1q", "vhost-user", Vantage.Host) is { Needs.SharedMemory: true, Features.LiveMigration: true });
        Assert.False(vduse.Features.LiveMigration);
    }

    private static RunRecord Run(string method, Workload workload, int round, long requests) => new(
        method,
        workload.Name,
        round,
        new LoadResult { Requests = requests, Bytes = requests * 4096, Seconds = 1, Errors = 0, MeanNs = 1, P50Ns = 1, P99Ns = 1, P999Ns = 1, LoadCpuNs = 1 },
        0,
        0);
}
