// The machine of the guest vantage when something in it goes wrong: a machine that is played, behind the real session, load and
// runner.

using System.Globalization;
using Polyblk.Compare.Guest;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Results;
using Polyblk.Compare.Running;
using Polyblk.Compare.Workloads;
using Polyblk.Machine;

namespace Polyblk.Compare.Tests;

public sealed class GuestSessionTests : IDisposable
{
    private const int Rounds = 3;

    private readonly string _place = Directory.CreateTempSubdirectory("polyblk-session-").FullName;
    private readonly PlayedSystem _system = new();

    public void Dispose() => Directory.Delete(_place, recursive: true);

    [Fact]
    public async Task ADiskThatStandsStillCostsItsMethodAloneAndTheOthersGoOnInANewMachine()
    {
        // The first script of each method is its verification.
        _system.Play("b.img", script: 3, Deed.StandStill);
        ComparisonResults results = await RunAsync("a", "b", "c");
        Assert.Equal([Rounds, 1, Rounds], RunsOf(results, "a", "b", "c"));
        MethodRecord stuck = results.Methods.Single(m => m.Name == "b (VM)");
        Assert.True(stuck.Ran);
        Assert.Contains("round 2 failed: it stands still in the virtual machine", stuck.Reason, StringComparison.Ordinal);
        Assert.Contains(results.Notes, n => n.StartsWith("b (VM), ", StringComparison.Ordinal) && n.EndsWith(stuck.Reason!, StringComparison.Ordinal));
        Assert.All(results.Methods.Except([stuck]), m => Assert.True(m is { Ran: true, Reason: null }));
        Assert.Equal(["a.img b.img c.img", "a.img c.img"], _system.Boots);
        Assert.Equal(0, _system.Running);
    }

    [Theory]
    [InlineData("a")]
    [InlineData("b")]
    [InlineData("c")]
    public async Task OneThatStandsStillWhileItIsVerifiedHasARowThatSaysSo(string which)
    {
        _system.Play($"{which}.img", script: 1, Deed.StandStill);
        ComparisonResults results = await RunAsync("a", "b", "c");
        MethodRecord stuck = results.Methods.Single(m => m.Name == $"{which} (VM)");
        Assert.False(stuck.Ran);
        Assert.StartsWith("it stands still in the virtual machine", stuck.Reason, StringComparison.Ordinal);
        Assert.All(results.Methods.Except([stuck]), m => Assert.True(m is { Ran: true, Reason: null }));
        Assert.Equal(2 * Rounds, results.Runs.Count);
        Assert.Equal(2, _system.Boots.Count);
        Assert.DoesNotContain(which, _system.Boots[1].Replace(".img", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.Equal(0, _system.Running);
    }

    [Fact]
    public async Task AMachineThatBreaksDownIsBootedAgainAndTheSecondTimeItIsTheMethodsFault()
    {
        _system.Play("b.img", script: 2, Deed.BreakDown);
        Assert.Equal([Rounds, Rounds - 1], RunsOf(await RunAsync("a", "b"), "a", "b"));
        Assert.Equal(["a.img b.img", "a.img b.img"], _system.Boots);

        _system.Boots.Clear();
        _system.Play("b.img", script: 3, Deed.BreakDown);
        ComparisonResults results = await RunAsync("a", "b");
        Assert.Equal([Rounds, 0], RunsOf(results, "a", "b"));
        Assert.Equal(["a.img b.img", "a.img b.img", "a.img"], _system.Boots);
        Assert.Contains("round 2 failed: the virtual machine failed", results.Methods.Single(m => m.Name == "b (VM)").Reason, StringComparison.Ordinal);
        Assert.Equal(0, _system.Running);
    }

    [Fact]
    public async Task WithNobodyLeftNoMachineIsBootedAgain()
    {
        _system.Play("a.img", script: 2, Deed.StandStill);
        ComparisonResults results = await RunAsync("a");
        Assert.Empty(results.Runs);
        Assert.Equal(["a.img"], _system.Boots);
        Assert.Equal(0, _system.Running);
    }

    [Fact]
    public async Task WhenNoNewMachineBootsTheOthersSayWhy()
    {
        _system.Play("b.img", script: 2, Deed.StandStill);
        _system.MostBoots = 1;
        ComparisonResults results = await RunAsync("a", "b");
        Assert.Equal([1, 0], RunsOf(results, "a", "b"));
        Assert.Contains("no more machines", results.Methods.Single(m => m.Name == "a (VM)").Reason, StringComparison.Ordinal);
        Assert.Equal(0, _system.Running);
    }

    [Fact]
    public async Task ATargetThatCannotBeTakenDownDoesNotKeepTheOthersUp()
    {
        var first = new Clinging("a") { IsGivenBack = true };
        var last = new Clinging("b");
        ComparisonResults results = await RunAsync(first, last);
        Assert.Equal([Rounds, Rounds], RunsOf(results, "a", "b"));
        Assert.Equal((1, 1), (first.Ends, last.Ends));
        Assert.Contains(results.Notes, n => n.Contains("could not be taken down completely: the kernel keeps it", StringComparison.Ordinal));
        Assert.Equal(0, _system.Running);
    }

    /// <summary>The machine's process is played by this one: its arguments are those of the kernel's record.</summary>
    [Fact]
    public async Task TheReportHasTheMachinesWholeCommandAndEveryCommandInIt()
    {
        _system.ProcessIds = [Environment.ProcessId];
        IReadOnlyList<string> commands = (await RunAsync("a", "b")).Methods.Single(m => m.Name == "b (VM)").Commands;
        Assert.StartsWith("# no command: this program fills", commands[0], StringComparison.Ordinal);
        string[] argv = File.ReadAllText("/proc/self/cmdline").TrimEnd('\0').Split('\0');
        Assert.Equal(ShellLine.Of(["taskset", "-c", "0", .. argv]), commands[1]);
        Assert.Equal("# in the virtual machine, where /dev/slot11 is the disk with addr=11:", commands[2]);
        Assert.Equal(_system.Scripts.First(x => x.Contains("/dev/slot11", StringComparison.Ordinal)), commands[3]);
        Assert.StartsWith("fio --output-format=json --name=verify --filename=/dev/slot11", commands[3], StringComparison.Ordinal);
        Assert.StartsWith("fio --output-format=json --name=compare --filename=/dev/slot11", commands[4], StringComparison.Ordinal);
        Assert.Contains(_system.Scripts, x => x.Contains(commands[4], StringComparison.Ordinal));
        Assert.Equal(5, commands.Count);
    }

    [Fact]
    public async Task WhatDroveADiskIsTheMachinesOwnFioWithItsVersion()
    {
        ComparisonResults results = await RunAsync("a");
        Assert.Equal("fio-3.39 in the VM", Assert.Single(results.Methods).Load);
    }

    private Task<ComparisonResults> RunAsync(params string[] names) => RunAsync([.. names.Select(name => (IDeliveryMethod)new BareFile(fileName: $"{name}.img"))], names);

    private Task<ComparisonResults> RunAsync(params Clinging[] targets) => RunAsync(targets, [.. targets.Select(t => t.Name)]);

    private async Task<ComparisonResults> RunAsync(IDeliveryMethod[] targets, string[] names)
    {
        var session = new GuestSession(_system);
        GuestMethod[] methods =
        [
            .. names.Select((name, i) => new GuestMethod(
                session, KnownFacts.Bare(name, name, Backing.Drive) with { Vantage = Vantage.Guest }, targets[i], e => new FileDisk(((FileEndpoint)e).Path, 1, 1))),
        ];
        Array.ForEach(methods, m => m.Join());
        using ScratchSpace scratch = ScratchSpace.Create(_place, 17 << 20, 1, names.Length, [0], [0]);
        var plan = new ComparisonPlan
        {
            Methods = methods,
            Loads = [new GuestFioLoad(TimeSpan.FromMilliseconds(100))],
            Workloads = [new Workload("w", IsWrite: false, IsRandom: true, 4096, 1)],
            Baseline = methods[0].Name,
            Rounds = Rounds,
            Duration = TimeSpan.FromMilliseconds(20),
            WarmUp = TimeSpan.FromMilliseconds(5),
        };
        return await new ComparisonRunner(plan, scratch, _ => { }).RunAsync(CancellationToken.None);
    }

    private static IEnumerable<int> RunsOf(ComparisonResults results, params string[] names) => names.Select(n => results.Runs.Count(r => r.Method == $"{n} (VM)"));

    /// <summary>A target that is ended when the machine has ended, and that the kernel may not give back.</summary>
    private sealed class Clinging(string name) : IDeliveryMethod, IRunningMethod
    {
        public string Name => name;

        public bool IsGivenBack { get; init; }

        public int Ends { get; private set; }

        public MethodFacts Facts { get; } = KnownFacts.Bare(name, name, Backing.Drive);

        public string Description => name;

        public LoadEndpoint Endpoint => new FileEndpoint($"{name}.img", 1 << 20);

        public IReadOnlyList<int> ProcessIds => [];

        public IReadOnlyList<string> Commands => [];

        public MethodAvailability Check() => MethodAvailability.Yes;

        public Task<IRunningMethod> StartAsync(ScratchSpace scratch, CancellationToken cancellation) => Task.FromResult<IRunningMethod>(this);

        public ValueTask DisposeAsync()
        {
            Ends++;
            return IsGivenBack ? ValueTask.CompletedTask : throw new MethodException("the kernel keeps it");
        }
    }

    private enum Deed
    {
        Work,
        StandStill,
        BreakDown,
    }

    /// <summary>Boots machines that are nothing but answers, as fio would give them.</summary>
    private sealed class PlayedSystem : IGuestSystem
    {
        private readonly Dictionary<(string File, int Script), Deed> _deeds = [];
        private Dictionary<string, int> _scripts = [];

        /// <summary>The disks of each machine.</summary>
        public List<string> Boots { get; } = [];

        public int MostBoots { get; set; } = int.MaxValue;

        public int Running { get; set; }

        /// <summary>What was run in the machines.</summary>
        public List<string> Scripts { get; } = [];

        /// <summary>The processes that the machines are said to be.</summary>
        public IReadOnlyList<int> ProcessIds { get; set; } = [];

        /// <summary>What the n-th script on a disk does, over all machines of a comparison.</summary>
        public void Play(string file, int script, Deed deed)
        {
            _deeds[(file, script)] = deed;
            _scripts = [];
        }

        public Deed Next(string file)
        {
            _scripts[file] = _scripts.GetValueOrDefault(file) + 1;
            return _deeds.GetValueOrDefault((file, _scripts[file]));
        }

        public MethodAvailability Check() => MethodAvailability.Yes;

        public Task<IBootedGuest> BootAsync(IReadOnlyList<GuestDisk> disks, IReadOnlyList<int> hostCpus, CancellationToken cancellation)
        {
            string[] files = [.. disks.Select(d => Path.GetFileName(((FileDisk)d).Path))];
            Boots.Add(string.Join(' ', files));
            if (Boots.Count > MostBoots)
            {
                throw new MachineException("no more machines");
            }

            Running++;
            return Task.FromResult<IBootedGuest>(new PlayedGuest(this, files));
        }
    }

    private sealed class PlayedGuest(PlayedSystem system, string[] files) : IBootedGuest
    {
        private const string Verified = """{"jobs":[{"error":0}]}""";
        private const string Measured = """
            {"jobs":[{"error":0,"usr_cpu":1,"sys_cpu":1,"read":{"runtime":20,"total_ios":100,"io_bytes":409600,"clat_ns":{"mean":1000}}}]}
            """;

        public string FioVersion => "fio-3.39";

        public string System => "a machine that is played";

        public IReadOnlyList<string> MissingSlots => [];

        public IReadOnlyList<int> ProcessIds => system.ProcessIds;

        public Task<GuestCommandResult> RunAsync(string script, TimeSpan limit, Action onMark, CancellationToken cancellation)
        {
            system.Scripts.Add(script);
            string file = files[int.Parse(script.Split("/dev/slot")[1][..2], NumberStyles.HexNumber, CultureInfo.InvariantCulture) - 0x10];
            onMark();
            return ScriptLimit.RunAsync(
                limit,
                async within =>
                {
                    switch (system.Next(file))
                    {
                        case Deed.StandStill:
                            await Task.Delay(Timeout.Infinite, within);
                            break;
                        case Deed.BreakDown:
                            throw new MethodException("the virtual machine failed: it is played");
                        default:
                            break;
                    }

                    return new GuestCommandResult(0, script.Contains("--verify=", StringComparison.Ordinal) ? Verified : Measured, "");
                },
                cancellation);
        }

        public ValueTask DisposeAsync()
        {
            system.Running--;
            return ValueTask.CompletedTask;
        }
    }
}
