using Polyblk.Compare.Load;
using Polyblk.Compare.Load.Fio;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Tests;

/// <summary>Presets, and what becomes of a workload on fio's command line.</summary>
public sealed class WorkloadTests
{
    private static readonly LoadSettings Settings = new(TimeSpan.FromSeconds(0.1), TimeSpan.FromSeconds(2), [1], 7);

    [Theory]
    [InlineData("quick", 4)]
    [InlineData("random", 8)]
    [InlineData("io_uring", 8)]
    [InlineData("sequential", 24)]
    [InlineData("filesystem", 8)]
    [InlineData("full", 40)]
    public void Each_preset_has_its_published_workloads_with_unique_names(string preset, int count)
    {
        IReadOnlyList<Workload> workloads = Presets.Get(preset, 64);
        Assert.Equal(count, workloads.Count);
        Assert.Equal(count, workloads.Select(w => w.Name).Distinct().Count());
        Assert.Equal(count, workloads.Select(w => w.Title).Distinct().Count());
        Assert.All(workloads, w => Assert.Null(w.Scaling));
    }

    [Fact]
    public void Jobs_are_scaled_to_the_machine_and_that_is_said()
    {
        IReadOnlyList<Workload> workloads = Presets.Get("random", 2);
        Assert.Equal([1, 2], workloads.Select(w => w.Jobs).Distinct());
        Assert.All(workloads.Where(w => w.Jobs == 2), w => Assert.Equal("jobs 32 → 2", w.Scaling));
        Assert.Throws<ArgumentException>(() => Presets.Get("none", 2));
    }

    [Fact]
    public void Files_that_do_not_fit_are_made_smaller_and_that_is_said()
    {
        Workload workload = Presets.Get("filesystem", 2)[0];
        Workload small = workload.FittedTo(112L << 20);
        Assert.Equal((28L << 20, "jobs 16 → 2, files 64MiB → 28MiB"), (small.FileBytes, small.Scaling));
        Assert.Equal(small.FileBytes, small.FileBytesOn(112L << 20));
        Assert.Same(workload, workload.FittedTo(1L << 30));
        Assert.Same(Presets.Quick[0], Presets.Quick[0].FittedTo(4096));
    }

    [Fact]
    public void A_workload_becomes_fio_options()
    {
        Workload sequential = Presets.Get("sequential", 8).Single(w => w.Name == "1472k-write-qd32-j8");
        IReadOnlyList<string> arguments = FioJob.Arguments(sequential, FioTarget.Device("/dev/ublkb0", 100 << 20), Settings);
        string[] wanted =
        [
            "--filename=/dev/ublkb0", "--ioengine=libaio", "--direct=1", "--rw=write", $"--bs={1472 << 10}", "--iodepth=32", "--numjobs=8", "--offset_increment=10%",
            "--runtime=2000ms", "--ramp_time=100ms", "--randseed=7", $"--size={69 * (1472 << 10)}",
        ];
        Assert.All(wanted, w => Assert.Contains(w, arguments));
    }

    [Fact]
    public void Polling_is_asked_of_devices_that_can()
    {
        Workload fixedBuffers = Presets.Get("io_uring", 1)[0];
        Assert.Contains("--hipri=1", FioJob.Arguments(fixedBuffers, FioTarget.Device("/dev/nvme0n1", 1 << 20, canPoll: true), Settings));
        IReadOnlyList<string> arguments = FioJob.Arguments(fixedBuffers, FioTarget.Device("/dev/loop0", 1 << 20), Settings);
        Assert.DoesNotContain("--hipri=1", arguments);
        Assert.Contains("--fixedbufs=1", arguments);
        Assert.Contains("--registerfiles=1", arguments);
    }

    [Fact]
    public void An_engine_that_the_target_dictates_is_not_the_workloads()
    {
        IReadOnlyList<string> arguments = FioJob.Arguments(Presets.Quick[0], FioTarget.Nbd("nbd+unix:///v?socket=/s", 1 << 20), Settings);
        Assert.Contains("--ioengine=nbd", arguments);
        Assert.Single(arguments, a => a.StartsWith("--ioengine", StringComparison.Ordinal));
        Assert.DoesNotContain("--direct=1", arguments);
    }

    [Fact]
    public void A_users_job_keeps_what_it_says_but_not_where_it_goes()
    {
        const string text = "[global]\nfilename=/dev/sda\nioengine=sync\nbs=16k\n[a]\nrw=randwrite\niodepth=8\nnumjobs=3\nsize=1g\n";
        Workload workload = FioJobFile.Read("mine", text);
        Assert.Equal((true, true, 16 << 10, 8, 3), (workload.IsWrite, workload.IsRandom, workload.BlockBytes, workload.Depth, workload.Jobs));
        string file = FioJob.JobFile(text, FioTarget.Device("/dev/loop7", 4096), Settings);
        Assert.DoesNotContain("/dev/sda", file, StringComparison.Ordinal);
        Assert.DoesNotContain("size=1g", file, StringComparison.Ordinal);
        Assert.Contains("filename=/dev/loop7\n", file, StringComparison.Ordinal);
        Assert.Contains("size=4096\n", file, StringComparison.Ordinal);
        Assert.Contains("ioengine=sync\n", file, StringComparison.Ordinal);
        Assert.Contains("bs=16k\n", file, StringComparison.Ordinal);
        Assert.DoesNotContain("sync", FioJob.JobFile(text, FioTarget.Nbd("nbd+unix:///v?socket=/s", 4096), Settings), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("[global]\nbs=4k\n", "no job section")]
    [InlineData("[a]\nexec_prerun=rm -rf /\n", "exec_prerun")]
    [InlineData("[a]\ninclude other.fio\n", "include")]
    [InlineData("[a]\nrw=read\n[b]\n stonewall\nrw=write\n", "'stonewall' lets jobs run one after the other")]
    [InlineData("[a]\n[b]\nwait_for = a\n", "'wait_for = a' lets jobs")]
    public void A_job_file_that_must_not_run_is_refused(string text, string why) =>
        Assert.Contains(why, Assert.Throws<FormatException>(() => FioJobFile.Read("x", text)).Message, StringComparison.Ordinal);

    [Fact]
    public void Sequential_jobs_of_the_built_in_load_start_apart()
    {
        const int kib = 1 << 10;
        var workload = new Workload("w", false, false, kib, 1) { Jobs = 3, OffsetIncrementPercent = 10 };
        var offsets = new JobOffsets(1000 * kib, workload);
        Assert.Equal([0, 100 * kib, 200 * kib, kib, 101 * kib], new[] { 0, 1, 2, 0, 1 }.Select(offsets.Next));
    }

    [Fact]
    public async Task Threads_that_share_a_sequential_job_ask_for_each_block_once()
    {
        const int block = 1 << 10;
        const int blocks = 20_000;
        var offsets = new JobOffsets((long)blocks * block, new Workload("w", false, false, block, 32));
        long[][] taken = await Task.WhenAll(Enumerable.Range(0, 4).Select(t => Task.Run(() => Enumerable.Range(0, blocks / 4).Select(i => offsets.Next((t * 8) + (i % 8))).ToArray())));
        Assert.Equal(Enumerable.Range(0, blocks).Select(i => (long)i * block), taken.SelectMany(t => t).Order());
        Assert.Equal(0, offsets.Next(0));
    }

    [Fact]
    public void Jobs_that_fio_makes_of_queues_begin_apart_where_they_are_sequential()
    {
        var socket = new VhostUserEndpoint("/s", 2, 1 << 20);
        Workload one = FioLoad.ForQueues(socket, new Workload("w", false, false, 4096, 8));
        Assert.Equal((2, 4, 50), (one.Jobs, one.Depth, one.OffsetIncrementPercent));
        Workload apart = FioLoad.ForQueues(socket, new Workload("w", false, false, 4096, 8) { Jobs = 4, OffsetIncrementPercent = 10 });
        Assert.Equal((2, 16, 10), (apart.Jobs, apart.Depth, apart.OffsetIncrementPercent));
        Assert.Equal(0, FioLoad.ForQueues(socket, new Workload("w", false, true, 4096, 8)).OffsetIncrementPercent);
        Assert.Equal(1, FioLoad.ForQueues(new BlockEndpoint("/dev/x", 1 << 20), new Workload("w", false, false, 4096, 8)).Jobs);
    }

    [Fact]
    public void Groups_of_a_users_job_are_added_up_and_their_percentiles_left_out()
    {
        const string job = """{"error":0,"usr_cpu":10.0,"sys_cpu":10.0,"job_runtime":1000,"ctx":50,"mixed":{"io_bytes":4096000,"total_ios":1000,"runtime":1000,"clat_ns":{"mean":100.0,"percentile":{"50.000000":90,"99.990000":300}}}}""";
        var workload = new Workload("mine", false, true, 4096, 1) { FioJobText = "[a]" };
        LoadResult one = FioOutput.Parse($$"""{"jobs":[{{job}}]}""", workload);
        Assert.Equal((1000, 90, 300, 50, 200_000_000), (one.Requests, one.P50Ns, one.P9999Ns, one.LoadContextSwitches, one.LoadCpuNs));
        LoadResult two = FioOutput.Parse($$"""{"jobs":[{{job}},{{job}}]}""", workload);
        Assert.Equal((2000, 100, 0, 100), (two.Requests, two.MeanNs, two.P50Ns, two.LoadContextSwitches));
        Assert.Throws<Polyblk.Compare.Methods.MethodException>(() => FioOutput.Parse("fio: out of memory", workload));
    }
}
