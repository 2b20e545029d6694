using Polyblk.Compare.Results;

namespace Polyblk.Compare.Tests;

/// <summary>Builds small comparisons whose figures can be followed by hand.</summary>
internal static class SmallComparison
{
    public static WorkloadFacts Workload(string name = "w", AccessPattern pattern = AccessPattern.RandomRead) => new()
    {
        Name = name, Title = name, Pattern = pattern, BlockBytes = 4096, QueueDepth = 1, Jobs = 1,
    };

    public static MethodFacts Method(string id, Consumer consumer = Consumer.Container) => new()
    {
        Id = id, Title = id, Frontend = id, Role = MethodRole.Frontend, Vantage = Vantage.Host, Reaches = [consumer], Available = true, Verification = Verification.Passed,
    };

    /// <summary>Runs of one method and workload, a round each, with these requests per second.</summary>
    public static IEnumerable<MeasuredRun> Runs(string method, string workload, params double[] iops) => iops.Select((v, round) => new MeasuredRun
    {
        Method = method, Workload = workload, Round = round, Seconds = 1, Iops = v, BytesPerSecond = v * 4096,
    });

    public static Comparison Of(IReadOnlyList<MethodFacts> methods, IReadOnlyList<WorkloadFacts> workloads, params IEnumerable<MeasuredRun>[] runs) => new()
    {
        StartedUtc = DateTimeOffset.UnixEpoch,
        ElapsedSeconds = 1,
        Environment = new EnvironmentFacts
        {
            Host = "h", Kernel = "k", Cpu = "c", CpuCount = 4, Virtualization = Virtualization.None, ProgramVersion = "0", DotnetVersion = "10",
            Noise = new NoiseReadings { StealPercent = 0, OtherLoadPercent = 0, ReferenceDriftPercent = 1 },
        },
        Volume = new VolumeFacts { Name = "v", Level = "raid5", SizeBytes = 1 << 30, ChunkBytes = 65536, Members = ["a", "b", "c"] },
        Settings = new MeasurementSettings { Rounds = 3, RuntimeSeconds = 1, WarmUpSeconds = 0 },
        Baseline = methods[0].Id,
        Methods = methods,
        Workloads = workloads,
        Runs = [.. runs.SelectMany(r => r)],
    };
}
