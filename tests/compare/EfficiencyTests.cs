using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;
using Polyblk.Core.Block;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>Which drive the array is held against, and what its rows are called.</summary>
public sealed class EfficiencyTests : IDisposable
{
    private readonly string _place = Directory.CreateTempSubdirectory("polyblk-efficiency-").FullName;

    public void Dispose() => Directory.Delete(_place, recursive: true);

    [Theory]
    [InlineData("none", 1, 1)]
    [InlineData("raid0", 4, 4)]
    [InlineData("raid1", 3, 1)]
    [InlineData("raid10", 4, 2)]
    [InlineData("raid5", 24, 23)]
    [InlineData("raid6", 24, 22)]
    [InlineData("raid7.3", 11, 8)]
    public void An_array_holds_the_data_of_so_many_of_its_members(string level, int members, int data) => Assert.Equal(data, RaidTheory.DataMembers(level, members));

    [Fact]
    public async Task The_array_is_held_against_the_hosts_drive_whatever_ratios_refer_to()
    {
        ComparisonResults results = await RunAsync(new InGuest(), new ArrayInProcess(new NoArrays(), "raid0"), new BareFile());
        Assert.NotEqual("bare drive", results.Baseline);
        EfficiencyRow row = Assert.Single(results.Efficiency);
        Assert.Equal((100, 300, 240, 80), (row.SingleDrive, row.Theoretical, row.Array, row.Percent));
        Assert.DoesNotContain(results.Notes, n => n.Contains("efficiency", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Without_the_hosts_drive_there_is_a_reason_instead_of_rows()
    {
        ComparisonResults results = await RunAsync(new InGuest(), new ArrayInProcess(new NoArrays(), "raid0"));
        Assert.Empty(results.Efficiency);
        Assert.Contains(results.Notes, n => n.Contains("the bare drive was not measured on the host", StringComparison.Ordinal));
    }

    [Fact]
    public void Rows_of_one_pattern_are_told_apart_by_their_workload()
    {
        EfficiencyRow Row(string workload, bool isSimulated = false) => new()
        {
            Pattern = AccessPattern.RandomRead, Workload = workload, Level = "raid5", Members = 3, SingleDrive = 1, Theoretical = 3, Formula = "3 x read", Array = 2, Simulated = isSimulated,
        };
        Comparison comparison = Of([Method("b")], [Workload()]) with { Efficiency = [Row("4 KiB random read, QD 1"), Row("4 KiB random read, QD 32"), Row("4 KiB random read; latency=1ms", isSimulated: true)] };
        Assert.Equal(["4 KiB random read, QD 1", "4 KiB random read, QD 32", "random read, simulated"], comparison.Efficiency.Select(r => EfficiencySection.Title(comparison, r)));
    }

    private async Task<ComparisonResults> RunAsync(params IDeliveryMethod[] methods)
    {
        using ScratchSpace scratch = ScratchSpace.Create(_place, 17 << 20, 3, 1, [0], [0]);
        var plan = new ComparisonPlan
        {
            Methods = methods,
            Loads = [new PlayedLoad()],
            Workloads = [new Workload("w", IsWrite: false, IsRandom: true, 4096, 1)],
            Baseline = methods[0].Name,
            Rounds = 1,
            Efficiency = new EfficiencyPlan(new NoArrays(), "raid0", 0, string.Empty),
        };
        return await new ComparisonRunner(plan, scratch, _ => { }).RunAsync(CancellationToken.None);
    }

    /// <summary>A drive in a virtual machine: ten times slower than that of the host.</summary>
    private sealed class InGuest : IDeliveryMethod
    {
        public MethodFacts Facts { get; } = KnownFacts.Bare("qemu-file", "bare drive, in the VM", Backing.Drive) with { Vantage = Vantage.Guest };

        public string Description => "played";

        public MethodAvailability Check() => MethodAvailability.Yes;

        public Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation) => Task.FromResult<IRunningMethod>(new RunningEndpoint(new NbdEndpoint("/s", "v", 1 << 20)));
    }

    private sealed class PlayedLoad : ILoadGenerator
    {
        public string Name => "played";

        public bool CanDrive(LoadEndpoint endpoint) => true;

        public Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation) => Task.FromResult<string?>(null);

        public Task<LoadResult> RunAsync(LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
        {
            long requests = endpoint switch { NbdEndpoint => 10, DeviceEndpoint => 240, _ => 100 };
            return Task.FromResult(new LoadResult { Requests = requests, Bytes = requests * 4096, Seconds = 1, Errors = 0, MeanNs = 1, P50Ns = 1, P99Ns = 1, P999Ns = 1, LoadCpuNs = 1 });
        }
    }

    private sealed class NoArrays : IArrayFactory
    {
        public Task<IOpenArray> CreateAsync(string level, IReadOnlyList<string> drives, CancellationToken cancellation) => Task.FromResult<IOpenArray>(new Open());

        private sealed class Open : IOpenArray
        {
            public IBlockDevice Device => null!;

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
