using System.Globalization;
using Polyblk.Compare.Report.Text;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using Spectre.Console;

namespace Polyblk.Compare.Report;

/// <summary>
/// The results for the terminal: the verdict, then one table a workload with a row for each method, then what was not measured
/// and what the reader should know. As wide as the console is.
/// </summary>
/// <param name="console">Where to.</param>
/// <param name="comparison">The recorded results.</param>
/// <param name="isVerbose">Whether with every column, every reason and every method.</param>
public sealed class TableReport(IAnsiConsole console, Comparison comparison, bool isVerbose)
{
    private const double NoisySpread = 0.25;
    private const string Mean = "mean us";
    private const string P99 = "p99 us";

    private readonly IReadOnlyList<ComparedRow> _rows = ComparedRow.From(comparison);

    /// <summary>Writes all of it.</summary>
    /// <param name="purpose">Whose verdict it begins with.</param>
    public void Write(Purpose purpose)
    {
        VerdictText.Write(console, Advisor.Advise(comparison, purpose), isVerbose);
        console.WriteLine();
        WriteWorkloads();
        WriteEfficiency();
        WriteRestarts();
        WriteUnmeasured();
        WriteDriven();
        WriteMachine();
    }

    private void WriteWorkloads()
    {
        foreach (WorkloadFacts workload in comparison.Workloads)
        {
            ComparedRow[] own = [.. _rows.Where(r => r.Workload.Name == workload.Name)];
            if (own.Length == 0 && workload.LeftOut is null)
            {
                continue;
            }

            WriteHeading(workload.Title);
            if (own.Length > 0)
            {
                WriteTable(workload, own);
            }
            else
            {
                WriteLines($"left out: {workload.LeftOut}");
            }

            console.WriteLine();
        }

        if (_rows.Count > 0)
        {
            string noisy = _rows.Any(r => Spread(r) > NoisySpread) ? " Where it is above 25 %, a difference of that size means nothing; more --rounds help." : string.Empty;
            WriteLines(
                $"ratio: the result against that of {comparison.TitleOf(comparison.Method(comparison.Baseline))}. CPU us: of the target for a request"
                + $"{(isVerbose ? ", and of the load" : string.Empty)}. spread: from the lowest to the highest round, of the median.{noisy}");
            console.WriteLine();
        }
    }

    private void WriteTable(WorkloadFacts workload, ComparedRow[] rows)
    {
        (string, Func<ComparedRow, TextCell>) iops = ("kIOPS", r => Number(r.Iops.Median / 1000));
        (string, Func<ComparedRow, TextCell>) bytes = ("MB/s", r => Number(r.BytesPerSecond.Median / 1e6));
        (string Heading, Func<ComparedRow, TextCell> Cell)[] columns =
        [
            workload.IsBandwidth ? bytes : iops,
            ("ratio", r => r.Ratio is { } ratio ? ratio.Median.ToString("0.00", CultureInfo.InvariantCulture) : "-"),
            ("spread", SpreadCell),
            (Mean, r => Number(r.MeanNs?.Median / 1000)),
            (P99, r => Number(r.P99Ns?.Median / 1000)),
            ("CPU us", r => Number(r.TargetCpuUs?.Median)),
            .. isVerbose
                ? new (string, Func<ComparedRow, TextCell>)[]
                {
                    workload.IsBandwidth ? iops : bytes, ("p99.9 us", r => Number(r.P999Ns?.Median / 1000)), ("load us", r => Number(r.LoadCpuUs?.Median)),
                }
                : [],
        ];
        var table = new TextTable(["method", .. columns.Select(c => c.Heading)]);
        foreach (ComparedRow row in rows)
        {
            string flaw = row.Flaw is string why ? $" ({why}!)" : string.Empty;
            table.Add([new TextCell(comparison.TitleOf(row.Method) + flaw, row.Flaw is null ? null : "red"), .. columns.Select(c => c.Cell(row))]);
        }

        table.Write(console);
    }

    private static TextCell SpreadCell(ComparedRow row) => Spread(row) is not double spread ? "-"
        : new TextCell(spread.ToString("P0", CultureInfo.InvariantCulture), spread > NoisySpread ? "yellow" : null);

    private void WriteEfficiency()
    {
        if (comparison.Efficiency.Count == 0)
        {
            return;
        }

        WriteHeading("RAID efficiency: the array without a frontend against theory");
        var table = new TextTable(isVerbose ? ["pattern", "percent", "array", "theory", "one drive", "drives"] : ["pattern", "percent", "array", "theory", "drives"]);
        foreach (EfficiencyRow row in comparison.Efficiency)
        {
            table.Add(
            [
                row.Workload.Split(';')[0],
                row.Percent is double percent ? $"{percent.ToString("0", CultureInfo.InvariantCulture)} %" : "-",
                Figures.Result(row.IsBandwidth, row.Array),
                Figures.Result(row.IsBandwidth, row.Theoretical),
                .. isVerbose ? new TextCell[] { Figures.Result(row.IsBandwidth, row.SingleDrive) } : [],
                $"{row.Members}{(row.Simulated ? " simulated" : string.Empty)}",
            ]);
        }

        table.Write(console);
        console.WriteLine();
    }

    private void WriteRestarts()
    {
        if (comparison.Restarts.Count == 0)
        {
            return;
        }

        WriteHeading("Killed under load (SIGKILL) and started again");
        var table = new TextTable("method", "ms without an answer", "failed requests", "data");
        foreach (RestartTest test in comparison.Restarts)
        {
            table.Add(
                comparison.TitleOf(comparison.Method(test.Method)),
                test.DidNotComeBack ? new TextCell("did not come back", "red") : test.GapMs is double gap ? Number(gap) : "-",
                test.IoErrors == 0 ? "0" : new TextCell($"{test.IoErrors}", "red"),
                test.Verification switch { Verification.Passed => "right", Verification.Failed => new TextCell("wrong", "red"), _ => "not checked" });
        }

        table.Write(console);
        foreach (RestartTest test in comparison.Restarts.Where(t => t.Detail is not null && (isVerbose || t.Verification != Verification.Passed)))
        {
            WriteLines($"{comparison.TitleOf(comparison.Method(test.Method))}: {test.Detail}");
        }

        console.WriteLine();
    }

    /// <summary>Those that have the same reason and the same remedies are said together.</summary>
    private void WriteUnmeasured()
    {
        var groups = comparison.Methods.Where(m => WhyUnmeasured(m) is not null)
            .GroupBy(m => (Why: WhyUnmeasured(m)!, Remedies: string.Join('\n', m.Remedies)), m => comparison.TitleOf(m)).ToArray();
        if (groups.Length == 0)
        {
            return;
        }

        WriteHeading("Not measured");
        foreach (var group in groups)
        {
            WriteLines($"{string.Join("; ", group)}: {group.Key.Why}", next: "  ");
            foreach (string remedy in group.Key.Remedies.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                WriteLines(remedy, "    ", "      ");
            }
        }

        console.WriteLine();
    }

    private static string? WhyUnmeasured(MethodFacts method) =>
        !method.Available ? method.Reason
        : method.Verification == Verification.Failed ? method.VerificationDetail ?? "its data was wrong"
        : null;

    /// <summary>What drove the methods, and what befell them; with every method's description where all is wanted.</summary>
    private void WriteDriven()
    {
        MethodFacts[] measured = [.. comparison.Methods.Where(m => WhyUnmeasured(m) is null)];
        if (isVerbose && measured.Length > 0)
        {
            WriteHeading("What was measured");
            foreach (MethodFacts method in measured)
            {
                WriteLines($"{comparison.TitleOf(method)}: {method.Description ?? method.Id}", next: "  ");
            }

            console.WriteLine();
        }

        foreach (MethodFacts method in measured.Where(m => m.Reason is not null))
        {
            WriteLines($"{comparison.TitleOf(method)} ended early: {method.Reason}");
        }

        foreach (var failed in comparison.FailedRuns.GroupBy(r => r.Method))
        {
            WriteLines($"{comparison.TitleOf(comparison.Method(failed.Key))}: {Sentences.FailedRuns(comparison, [.. failed])}");
        }

        string[] unverified = [.. measured.Where(m => m.Verification != Verification.Passed).Select(comparison.TitleOf)];
        string verified = unverified.Length == measured.Length ? string.Empty
            : $"Data verified through every method{(unverified.Length == 0 ? string.Empty : $" but {Sentences.List(unverified)}")}. ";
        string[] loads = [.. measured.Where(m => m.Load is not null).GroupBy(m => m.Load).Select(g => $"by {g.Key}: {string.Join("; ", g.Select(comparison.TitleOf))}")];
        if (verified.Length + loads.Length > 0)
        {
            WriteLines($"{verified}{(loads.Length == 0 ? string.Empty : $"Driven {string.Join(". Driven ", loads)}.")}");
        }
    }

    private void WriteMachine()
    {
        EnvironmentFacts e = comparison.Environment;
        MeasurementSettings s = comparison.Settings;
        WriteLines(string.Create(
            CultureInfo.InvariantCulture,
            $"{e.Cpu}, {e.CpuCount} CPUs, Linux {e.Kernel}; target on CPU {string.Join(',', s.TargetCpus)}, load on CPU {string.Join(',', s.LoadCpus)}; "
            + $"medians of {s.Rounds} interleaved rounds of {s.RuntimeSeconds:0.##} s; {e.Scratch ?? $"the drives of the volume '{comparison.Volume.Name}'"}."));
        foreach (string note in comparison.Notes)
        {
            WriteLines(note);
        }

        if (comparison.Interrupted)
        {
            WriteLines("Broken off: the figures are those of the rounds that were made.");
        }

        if (!isVerbose)
        {
            WriteLines("More columns, reasons and every method: --verbose. Every figure and chart: --out DIR.");
        }
    }

    private void WriteHeading(string text)
    {
        foreach (string line in TextWrap.Lines(text, console.Profile.Width))
        {
            console.MarkupLine($"[bold]{Markup.Escape(line)}[/]");
        }
    }

    private void WriteLines(string text, string first = "", string next = "")
    {
        foreach (string line in TextWrap.Lines(text, console.Profile.Width, first, next))
        {
            console.MarkupLine(Markup.Escape(line));
        }
    }

    private static double? Spread(ComparedRow row) => row.Result.Spread;

    private static string Number(double? value) => value is not double v ? "-"
        : v.ToString(Math.Abs(v) >= 100 ? "0" : Math.Abs(v) >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);
}
