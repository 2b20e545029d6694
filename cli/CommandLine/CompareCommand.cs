using System.CommandLine;
using System.Text.Json;
using Polyblk.Cli.Output;
using Polyblk.Cli.Serving;
using Polyblk.Compare.Load;
using Polyblk.Compare.Methods;
using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Compare.Running;
using Polyblk.Compare.Verdict;
using Polyblk.Compare.Workloads;
using Polyblk.Core.Block;
using Polyblk.Core.Frontend;
using Polyblk.Core.Reactors;
using Spectre.Console;

namespace Polyblk.Cli.CommandLine;

/// <summary><c>polyblk compare</c>: measures the ways of attaching a volume side by side, on scratch files.</summary>
internal sealed class CompareCommand(IEnumerable<IFrontend> frontends) : ICliCommand
{
    private const string BaselineName = "bare drive";
    private const int DefaultRounds = 3;
    private const double DefaultSeconds = 0.5;
    private const long DefaultMemberBytes = 192L << 20;

    private readonly Option<int> _rounds = new("--rounds")
    {
        HelpName = "N", Description = "How often everything is measured; medians are shown.", DefaultValueFactory = _ => DefaultRounds,
    };

    private readonly Option<double> _seconds = new("--seconds")
    {
        HelpName = "S", Description = "Length of one run in seconds.", DefaultValueFactory = _ => DefaultSeconds,
    };

    private readonly Option<string?> _directory = new("--dir")
    {
        HelpName = "DIR", Description = "Where the scratch files go. [default: /dev/shm, /var/tmp or the temporary directory, where there is room]",
    };

    private readonly Option<long?> _memberSize = CommandSettings.Size("--member-size", "Size of each scratch file. [default: 192MiB]");
    private readonly Option<int> _members = new("--members")
    {
        HelpName = "N", Description = "Members of the scratch RAID-5 volume.", DefaultValueFactory = _ => 3,
    };

    private readonly Option<Purpose> _purpose = new("--for")
    {
        HelpName = "vm|container|shared", Description = "What the volume is for: whose verdict is printed and comes first in the report.", DefaultValueFactory = _ => Purpose.Vm,
    };

    private readonly Option<string?> _out = new("--out") { HelpName = "DIR", Description = "Write results.json, results.csv and report.html to DIR." };
    private readonly Option<string[]> _diff = new("--diff")
    {
        HelpName = "A.json B.json", Description = "Measure nothing; show what changed between two results.json files.", Arity = new ArgumentArity(2, 2), AllowMultipleArgumentsPerToken = true,
    };

    private readonly Option<string?> _json = new("--json") { HelpName = "FILE", Description = "Write every run to FILE as JSON." };

    public Command Build()
    {
        var command = new Command("compare", "Measure the ways of attaching a volume side by side, on scratch files; needs no preparation.");
        Option[] options = [_rounds, _seconds, _directory, _memberSize, _members, _purpose, _out, _json, _diff];
        foreach (Option option in options)
        {
            command.Options.Add(option);
        }

        command.SetAction(RunAsync);
        HelpWithExamples.Add(command, "polyblk compare", "polyblk compare --rounds 7 --seconds 2 --out results", "polyblk compare --diff old/results.json new/results.json");
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        Terminal terminal = CommandSettings.Terminal(parsed);
        if (parsed.GetValue(_diff) is [string before, string after])
        {
            return await ShowDifferenceAsync(terminal, before, after, cancellation).ConfigureAwait(false);
        }

        (int rounds, double seconds, int members) = CheckNumbers(parsed);
        (IReadOnlyList<int> target, IReadOnlyList<int> load) = SplitProcessors(CpuSet.Allowed().Cpus);
        ComparisonResults results;
        using (ScratchSpace scratch = MakeScratch(parsed, members, target, load))
        {
            using var interruption = new Interruption(onForced: scratch.Dispose);
            ComparisonPlan plan = MakePlan(rounds, seconds);
            results = await RunWithProgressAsync(terminal, plan, scratch, interruption.Token).ConfigureAwait(false);
        }

        TableReport.Write(terminal.Ansi, results);
        WriteOtherFrontends(terminal);
        await WriteReportAsync(terminal, parsed, results).ConfigureAwait(false);
        if (parsed.GetValue(_json) is string file)
        {
            await File.WriteAllTextAsync(file, JsonSerializer.Serialize(results, ComparisonJson.Default.ComparisonResults) + "\n", CancellationToken.None)
                .ConfigureAwait(false);
            terminal.WriteLine($"Every run is in {file}.");
        }

        return results.Interrupted ? ExitCode.Interrupted
            : results.Methods.Any(m => m is { Ran: false, Load: not null }) ? ExitCode.Failed
            : ExitCode.Ok;
    }

    private async Task WriteReportAsync(Terminal terminal, ParseResult parsed, ComparisonResults results)
    {
        Purpose purpose = parsed.GetValue(_purpose);
        Comparison comparison = CompareReport.Record(results, parsed.GetValue(_memberSize) ?? DefaultMemberBytes, frontends);
        terminal.WriteLine(Advisor.Advise(comparison, purpose).ToText());
        if (parsed.GetValue(_out) is string directory)
        {
            // Also what was measured until an interruption: no cancellation here.
            IReadOnlyList<string> files = await ReportFiles.WriteAsync(comparison, directory, purpose, CancellationToken.None).ConfigureAwait(false);
            terminal.WriteLine($"Written: {string.Join(", ", files)}");
        }
    }

    private static async Task<int> ShowDifferenceAsync(Terminal terminal, string before, string after, CancellationToken cancellation)
    {
        try
        {
            Comparison a = await ComparisonFile.ReadAsync(before, cancellation).ConfigureAwait(false);
            Comparison b = await ComparisonFile.ReadAsync(after, cancellation).ConfigureAwait(false);
            terminal.WriteLine(ComparisonDiff.Of(a, b).ToText());
            return ExitCode.Ok;
        }
        catch (Exception e) when (e is ComparisonFormatException or IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Usage, e.Message, e);
        }
    }

    private (int Rounds, double Seconds, int Members) CheckNumbers(ParseResult parsed)
    {
        int rounds = parsed.GetValue(_rounds);
        double seconds = parsed.GetValue(_seconds);
        int members = parsed.GetValue(_members);
        return rounds is < 1 or > 1000 ? throw CliException.Usage("--rounds takes a number from 1 to 1000.")
            : seconds is not (>= 0.05 and <= 3600) ? throw CliException.Usage("--seconds takes a number from 0.05 to 3600.")
            : members is < 3 or > 64 ? throw CliException.Usage("--members takes a number from 3 to 64.")
            : (rounds, seconds, members);
    }

    /// <summary>Target and load never share a processor where there are two; with four each side has two; what is left is for the rest.</summary>
    internal static (IReadOnlyList<int> Target, IReadOnlyList<int> Load) SplitProcessors(IReadOnlyList<int> cpus)
    {
        int each = cpus.Count >= 4 ? 2 : 1;
        return cpus.Count == 1 ? (cpus, cpus) : ([.. cpus.TakeLast(2 * each).Take(each)], [.. cpus.TakeLast(each)]);
    }

    private ScratchSpace MakeScratch(ParseResult parsed, int members, IReadOnlyList<int> target, IReadOnlyList<int> load)
    {
        long memberBytes = parsed.GetValue(_memberSize) ?? DefaultMemberBytes;
        if (memberBytes < 32L << 20 || memberBytes % (1 << 20) != 0)
        {
            throw CliException.Usage("--member-size takes a multiple of 1MiB from 32MiB.");
        }

        try
        {
            return ScratchSpace.Create(parsed.GetValue(_directory), memberBytes, members, target, load);
        }
        catch (MethodException e)
        {
            throw new CliException(ExitCode.HostLacks, e.Message, e);
        }
    }

    private static ComparisonPlan MakePlan(int rounds, double seconds)
    {
        var program = new PolyblkProgram(SelfCommand());
        var array = new PolyblkServer(program, "array", "raid5", [1, 2]);
        var single = new PolyblkServer(program, "single", "none", [1]);
        return new ComparisonPlan
        {
            Methods =
            [
                new BareFile(),
                new PolyblkVhostUser("vhost-user, one file", "polyblk serving one member-sized file, one queue", single, "single", 0, 1),
                new QemuStorageDaemon(),
                new PolyblkVhostUser("vhost-user, RAID 5, 1 queue", "polyblk serving the RAID-5 volume, one queue", array, "array", 0, 1),
                new PolyblkVhostUser("vhost-user, RAID 5, 2 queues", "polyblk serving the RAID-5 volume, two queues", array, "array", 1, 2),
            ],
            Loads = [.. FioLoad.TryFind() is FioLoad fio ? new ILoadGenerator[] { fio } : [], new VhostUserLoad(), new DriveLoad()],
            Workloads = Workload.Quick,
            Baseline = BaselineName,
            Rounds = rounds,
            Duration = TimeSpan.FromSeconds(seconds),
        };
    }

    /// <summary>How this program was started: its own executable, or dotnet with its assembly.</summary>
    private static string[] SelfCommand()
    {
        string executable = Environment.ProcessPath!;
        return Path.GetFileNameWithoutExtension(executable) == "dotnet"
            ? [executable, typeof(CompareCommand).Assembly.Location]
            : [executable];
    }

    private static async Task<ComparisonResults> RunWithProgressAsync(
        Terminal terminal, ComparisonPlan plan, ScratchSpace scratch, CancellationToken cancellation)
    {
        if (!terminal.IsInteractive)
        {
            return await new ComparisonRunner(plan, scratch, _ => { }).RunAsync(cancellation).ConfigureAwait(false);
        }

        return await terminal.Ansi.Progress().AutoClear(true).StartAsync(async context =>
        {
            ProgressTask bar = context.AddTask("starting");
            var runner = new ComparisonRunner(plan, scratch, progress =>
            {
                bar.Description = Markup.Escape(progress.What);
                bar.MaxValue = progress.Total;
                bar.Value = progress.Done;
            });
            return await runner.RunAsync(cancellation).ConfigureAwait(false);
        }).ConfigureAwait(false);
    }

    /// <summary>A clear word on what this host cannot do.</summary>
    private void WriteOtherFrontends(Terminal terminal)
    {
        foreach (IFrontend frontend in frontends)
        {
            FrontendProbe probe = frontend.Probe();
            if (!probe.Available)
            {
                terminal.WriteLine($"{frontend.Name} cannot be served on this host: {probe.Summary}");
                foreach (string remedy in probe.Remedies)
                {
                    terminal.WriteLine($"    {remedy}");
                }
            }
        }
    }
}
