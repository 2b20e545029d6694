using Polyblk.Core.Block;
using Polyblk.Core.Reactors;
using Polyblk.Fakes;

namespace Polyblk.Drives.Tests;

/// <summary>Threads that wait in a reactor's place do not share its processor, where there is another.</summary>
public sealed class HelperCpusTests
{
    [Theory]
    [InlineData(256u, "iou-wrk-")]
    [InlineData(0u, "polyblk-io")]
    public async Task ThreadsThatWaitRunElsewhere(uint ringEntries, string thread)
    {
        CpuSet allowed = CpuSet.Allowed();
        int cpu = allowed.Cpus[0];
        CpuSet helpers = allowed.Without([cpu]);
        using var files = new TemporaryFiles();
        using var group = new ReactorGroup([new ReactorOptions { Name = "helped", Cpu = cpu, HelperCpus = helpers, RingEntries = ringEntries }]);
        await using IBlockDevice drive = DriveFactory.Open(files.Parse("file:/tmp/polyblk-test-{0}.img,size=8MiB"));
        await using RequestDriver driver = await RequestDriver.OpenAsync(drive, group.Reactors[0]);

        // fsync is what io_uring always gives to a worker.
        Assert.Equal(0, await driver.WriteAsync(0, new byte[4096]));
        Assert.Equal(0, await driver.FlushAsync());
        string[] found = AffinityOf(thread);
        Assert.Contains(helpers.ToString(), found);
        Assert.Equal(cpu.ToString(System.Globalization.CultureInfo.InvariantCulture), Assert.Single(AffinityOf("helped")));
    }

    [Fact]
    public void WithoutLeavesTheWholeSetRatherThanNothing()
    {
        CpuSet set = CpuSet.Parse("2-5");
        Assert.Equal("3,5", set.Without([2, 4, 9]).ToString());
        Assert.Equal("2,3,4,5", set.Without([2, 3, 4, 5]).ToString());
    }

    /// <summary>The processors of each of this process's threads with such a name, as a list of numbers.</summary>
    private static string[] AffinityOf(string thread) =>
    [
        .. Directory.GetDirectories("/proc/self/task")
            .Select(StatusOf)
            .Where(status => status.Length != 0 && status[0].StartsWith($"Name:\t{thread}", StringComparison.Ordinal))
            .Select(status => status.First(line => line.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal)))
            .Select(line => CpuSet.Parse(line.Split('\t')[1]).ToString()),
    ];

    /// <summary>A thread's /proc/…/status; empty when it has ended meanwhile.</summary>
    private static string[] StatusOf(string task)
    {
        try
        {
            return File.ReadAllLines(Path.Combine(task, "status"));
        }
        catch (IOException)
        {
            return [];
        }
    }
}
