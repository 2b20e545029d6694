using System.Globalization;
using Polyblk.Compare.Results;
using Spectre.Console;

namespace Polyblk.Compare.Report;

/// <summary>The results as tables for the terminal: one table a workload, one row a method; then what every method was, and what the reader should know.</summary>
public static class TableReport
{
    private const double NoisySpread = 0.25;

    public static void Write(IAnsiConsole console, Comparison comparison)
    {
        ArgumentNullException.ThrowIfNull(console);
        ArgumentNullException.ThrowIfNull(comparison);
        IReadOnlyList<ComparedRow> rows = ComparedRow.From(comparison);
        foreach (WorkloadFacts workload in comparison.Workloads)
        {
            ComparedRow[] own = [.. rows.Where(r => r.Workload.Name == workload.Name)];
            if (own.Length > 0)
            {
                console.MarkupLine($"[bold]{Markup.Escape(workload.Title)}[/]");
                console.Write(MakeTable(comparison, own));
                console.WriteLine();
            }
            else if (workload.LeftOut is string why)
            {
                console.MarkupLine($"[bold]{Markup.Escape(workload.Title)}[/]");
                console.MarkupLine(Markup.Escape($"left out: {why}"));
                console.WriteLine();
            }
        }

        WriteEfficiency(console, comparison);
        WriteRestarts(console, comparison);
        WriteWords(console, comparison, rows);
    }

    private static void WriteEfficiency(IAnsiConsole console, Comparison comparison)
    {
        if (comparison.Efficiency.Count == 0)
        {
            return;
        }

        console.MarkupLine("[bold]RAID efficiency: the array without a frontend against theory[/]");
        Table table = NewTable(["pattern", "drives", "one drive", "theory", "array", "percent"]);
        foreach (EfficiencyRow row in comparison.Efficiency)
        {
            string[] cells =
            [
                row.Workload.Split(';')[0], $"{row.Members}{(row.Simulated ? " simulated" : string.Empty)}", Figures.Result(row.IsBandwidth, row.SingleDrive),
                Figures.Result(row.IsBandwidth, row.Theoretical), Figures.Result(row.IsBandwidth, row.Array), row.Percent is double percent ? $"{percent.ToString("0", CultureInfo.InvariantCulture)} %" : "-",
            ];
            table.AddRow([.. cells.Select(Markup.Escape)]);
        }

        console.Write(table);
        console.WriteLine();
    }

    private static void WriteRestarts(IAnsiConsole console, Comparison comparison)
    {
        if (comparison.Restarts.Count == 0)
        {
            return;
        }

        console.MarkupLine("[bold]Killed under load (SIGKILL) and started again[/]");
        Table table = NewTable(["method", "ms without an answer", "failed requests", "data"]);
        foreach (RestartTest test in comparison.Restarts)
        {
            string data = test.Verification switch { Verification.Passed => "right", Verification.Failed => "[red]wrong[/]", _ => Markup.Escape(test.Detail ?? "not checked") };
            table.AddRow(Markup.Escape(comparison.TitleOf(comparison.Method(test.Method))), test.DidNotComeBack ? "[red]did not come back[/]" : test.GapMs is double gap ? Number(gap) : "-", $"{test.IoErrors}", data);
        }

        console.Write(table);
        console.WriteLine();
    }

    private static Table MakeTable(Comparison comparison, ComparedRow[] rows)
    {
        string baseline = comparison.TitleOf(comparison.Method(comparison.Baseline));
        Table table = NewTable(["method", "kIOPS", "MB/s", "mean us", "p99 us", "p99.9 us", "CPU us/req", "load us/req", "spread", $"x {baseline}"]);
        foreach (ComparedRow row in rows)
        {
            string spread = Spread(row) is double s ? s.ToString("P0", CultureInfo.InvariantCulture) : "-";
            table.AddRow(
                Markup.Escape(comparison.TitleOf(row.Method) + (row.Errors > 0 ? " (errors!)" : string.Empty)),
                Number(row.Iops.Median / 1000),
                Number(row.BytesPerSecond.Median / 1e6),
                Number(row.MeanNs?.Median / 1000),
                Number(row.P99Ns?.Median / 1000),
                Number(row.P999Ns?.Median / 1000),
                Number(row.TargetCpuUs?.Median),
                Number(row.LoadCpuUs?.Median),
                Spread(row) > NoisySpread ? $"[yellow]{spread}[/]" : spread,
                row.Ratio is { } ratio ? ratio.Median.ToString("0.00", CultureInfo.InvariantCulture) : "-");
        }

        return table;
    }

    private static double? Spread(ComparedRow row) => row.Result.Spread;

    private static Table NewTable(string[] headings)
    {
        var table = new Table { Border = TableBorder.None };
        foreach ((string heading, int i) in headings.Select((h, i) => (h, i)))
        {
            var column = new TableColumn(Markup.Escape(heading)) { NoWrap = true, Padding = new Padding(0, 0, 2, 0) };
            table.AddColumn(i == 0 ? column : column.RightAligned());
        }

        return table;
    }

    private static void WriteWords(IAnsiConsole console, Comparison comparison, IReadOnlyList<ComparedRow> rows)
    {
        foreach (MethodFacts method in comparison.Methods)
        {
            console.MarkupLine($"[bold]{Markup.Escape(comparison.TitleOf(method))}[/]  {Markup.Escape(StateOf(comparison, method))}");
            foreach (string remedy in method.Remedies)
            {
                console.MarkupLine($"    {Markup.Escape(remedy)}");
            }
        }

        console.WriteLine();
        EnvironmentFacts e = comparison.Environment;
        MeasurementSettings s = comparison.Settings;
        console.MarkupLine(Markup.Escape(string.Create(
            CultureInfo.InvariantCulture,
            $"{e.Cpu}, {e.CpuCount} CPUs, Linux {e.Kernel}; target on CPU {string.Join(',', s.TargetCpus)}, load on CPU {string.Join(',', s.LoadCpus)}; "
            + $"medians of {s.Rounds} interleaved rounds of {s.RuntimeSeconds:0.##} s; {e.Scratch ?? $"the drives of the volume '{comparison.Volume.Name}'"}.")));
        if (rows.Any(r => Spread(r) > NoisySpread))
        {
            console.MarkupLine("Spreads above 25 % mark rows in which a difference of that size means nothing; more --rounds help.");
        }

        foreach (string note in comparison.Notes)
        {
            console.MarkupLine(Markup.Escape(note));
        }

        if (comparison.Interrupted)
        {
            console.MarkupLine("Broken off: the figures are those of the rounds that were made.");
        }
    }

    private static string StateOf(Comparison comparison, MethodFacts method)
    {
        if (!method.Available)
        {
            return $"not measured: {method.Reason}";
        }

        if (method.Verification == Verification.Failed)
        {
            return $"not measured: {method.VerificationDetail}";
        }

        int failed = comparison.FailedRuns.Count(r => r.Method == method.Id);
        string[] parts =
        [
            .. method.Description is string what ? new[] { what } : [],
            "data verified",
            $"driven by {method.Load}",
            .. method.Reason is string ended ? new[] { $"ended early: {ended}" } : [],
            .. failed > 0 ? new[] { $"{failed} run{(failed == 1 ? string.Empty : "s")} failed" } : [],
        ];
        return string.Join("; ", parts);
    }

    private static string Number(double? value) => value is not double v ? "-"
        : v.ToString(Math.Abs(v) >= 100 ? "0" : Math.Abs(v) >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);
}
