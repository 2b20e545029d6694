using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;

namespace Polyblk.Compare.Tests;

/// <summary>Who has the drives of a volume when: each round begins with another turn, and with the one that is on.</summary>
public sealed class TurnOrderTests : IDisposable
{
    private readonly string _place = Directory.CreateTempSubdirectory("polyblk-turns-").FullName;
    private readonly List<string> _events = [];

    public void Dispose() => Directory.Delete(_place, recursive: true);

    [Fact]
    public async Task ATurnThatIsOnGoesOnAndEachRoundBeginsWithAnother()
    {
        using ScratchSpace scratch = ScratchSpace.Create(_place, 17 << 20, 1, 1, [0], [0]);
        IDeliveryMethod[] methods = [new Played("a", _events), new Played("b", _events), new Played("c", _events)];
        var plan = new ComparisonPlan
        {
            Methods = methods,
            Loads = [new PlayedLoad(_events)],
            Workloads = [new Workload("w", IsWrite: false, IsRandom: true, 4096, 1)],
            Baseline = "a",
            Rounds = 3,
        };
        ComparisonResults results = await new ComparisonRunner(plan, scratch, _ => { }).RunAsync(CancellationToken.None);
        Assert.Equal(
            ["a starts", "a rests", "b starts", "b rests", "c starts",
                "c", "c rests", "a resumes", "a", "a rests", "b resumes", "b",
                "b", "b rests", "c resumes", "c", "c rests", "a resumes", "a",
                "a", "a rests", "b resumes", "b", "b rests", "c resumes", "c"],
            _events);
        Assert.Equal(9, results.Runs.Count);
    }

    private sealed class Played(string name, List<string> events) : IDeliveryMethod, IRunningMethod
    {
        public MethodFacts Facts { get; } = KnownFacts.Bare(name, name, Backing.Drive);

        public string Description => name;

        public LoadEndpoint Endpoint => new FileEndpoint(name, 1 << 20);

        public IReadOnlyList<int> ProcessIds => [];

        public IReadOnlyList<string> Commands => [];

        public MethodAvailability Check() => MethodAvailability.Yes;

        public object? TurnIn(ScratchSpace scratch) => name;

        public Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation)
        {
            events.Add($"{name} starts");
            return Task.FromResult<IRunningMethod>(this);
        }

        public Task SuspendAsync()
        {
            events.Add($"{name} rests");
            return Task.CompletedTask;
        }

        public Task ResumeAsync(CancellationToken cancellation)
        {
            events.Add($"{name} resumes");
            return Task.CompletedTask;
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class PlayedLoad(List<string> events) : ILoadGenerator
    {
        public string Name => "played";

        public bool CanDrive(LoadEndpoint endpoint) => true;

        public Task<string?> VerifyAsync(LoadEndpoint endpoint, ulong seed, CancellationToken cancellation) => Task.FromResult<string?>(null);

        public Task<LoadResult> RunAsync(LoadEndpoint endpoint, Workload workload, LoadSettings settings, Action<bool> onMeasuring, CancellationToken cancellation)
        {
            events.Add(((FileEndpoint)endpoint).Path);
            return Task.FromResult(new LoadResult { Requests = 1, Bytes = 4096, Seconds = 1, Errors = 0, MeanNs = 1, P50Ns = 1, P99Ns = 1, P999Ns = 1, LoadCpuNs = 1 });
        }
    }
}
