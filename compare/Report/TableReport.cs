using System.Globalization;
using Polyblk.Compare.Results;
using Polyblk.Compare.Workloads;
using Spectre.Console;

namespace Polyblk.Compare.Report;

/// <summary>The results as tables for the terminal: one table a workload, one row a method.</summary>
public static class TableReport
{
    private const double NoisySpread = 0.25;

    public static void Write(IAnsiConsole console, ComparisonResults results)
    {
        ArgumentNullException.ThrowIfNull(console);
        ArgumentNullException.ThrowIfNull(results);
        IReadOnlyList<ResultRow> rows = ResultRow.From(results);
        foreach (Workload workload in results.Workloads)
        {
            ResultRow[] own = [.. rows.Where(r => r.Workload == workload.Name)];
            if (own.Length > 0)
            {
                console.MarkupLine($"[bold]{Markup.Escape(workload.Title)}[/]");
                console.Write(MakeTable(results, own));
                console.WriteLine();
            }
            else if (workload.LeftOut is string why)
            {
                console.MarkupLine($"[bold]{Markup.Escape(workload.Title)}[/]");
                console.MarkupLine(Markup.Escape($"left out: {why}"));
                console.WriteLine();
            }
        }

        WriteEfficiency(console, results);
        WriteRestarts(console, results);
        WriteWords(console, results, rows);
    }

    private static void WriteEfficiency(IAnsiConsole console, ComparisonResults results)
    {
        if (results.Efficiency.Count == 0)
        {
            return;
        }

        console.MarkupLine("[bold]RAID efficiency: the array without a frontend against theory[/]");
        Table table = NewTable(["pattern", "drives", "one drive", "theory", "array", "percent"]);
        foreach (EfficiencyRow row in results.Efficiency)
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

    private static void WriteRestarts(IAnsiConsole console, ComparisonResults results)
    {
        if (results.Restarts.Count == 0)
        {
            return;
        }

        console.MarkupLine("[bold]Killed under load (SIGKILL) and started again[/]");
        Table table = NewTable(["method", "ms without an answer", "failed requests", "data"]);
        foreach (RestartTest test in results.Restarts)
        {
            string data = test.Verification switch { Verification.Passed => "right", Verification.Failed => "[red]wrong[/]", _ => Markup.Escape(test.Detail ?? "not checked") };
            table.AddRow(Markup.Escape(test.Method), test.DidNotComeBack ? "[red]did not come back[/]" : test.GapMs is double gap ? Number(gap) : "-", $"{test.IoErrors}", data);
        }

        console.Write(table);
        console.WriteLine();
    }

    private static Table MakeTable(ComparisonResults results, ResultRow[] rows)
    {
        Table table = NewTable(["method", "kIOPS", "MB/s", "mean us", "p99 us", "p99.9 us", "CPU us/req", "load us/req", "spread", $"x {results.Baseline}"]);
        foreach (ResultRow row in rows)
        {
            string spread = row.Rounds < 2 ? "-" : row.Spread.ToString("P0", CultureInfo.InvariantCulture);
            table.AddRow(
                Markup.Escape(row.Method + (row.Errors > 0 ? " (errors!)" : string.Empty)),
                Number(row.Iops / 1000),
                Number(row.BytesPerSecond / 1e6),
                Number(row.MeanNs / 1000),
                Number(row.P99Ns / 1000),
                Number(row.P999Ns / 1000),
                Number(row.TargetCpuPerRequestNs / 1000),
                Number(row.LoadCpuPerRequestNs / 1000),
                row.Spread > NoisySpread ? $"[yellow]{spread}[/]" : spread,
                double.IsNaN(row.Ratio) ? "-" : row.Ratio.ToString("0.00", CultureInfo.InvariantCulture));
        }

        return table;
    }

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

    private static void WriteWords(IAnsiConsole console, ComparisonResults results, IReadOnlyList<ResultRow> rows)
    {
        foreach (MethodRecord method in results.Methods)
        {
            string state = !method.Ran ? $"not measured: {method.Reason}" : $"{method.Description}; data verified; driven by {method.Load}{(method.Reason is null ? string.Empty : $"; ended early: {method.Reason}")}{FailedRuns(results, method)}";
            console.MarkupLine($"[bold]{Markup.Escape(method.Name)}[/]  {Markup.Escape(state)}");
            foreach (string remedy in method.Remedies)
            {
                console.MarkupLine($"    {Markup.Escape(remedy)}");
            }
        }

        console.WriteLine();
        RunSettings s = results.Settings;
        console.MarkupLine(Markup.Escape(string.Create(
            CultureInfo.InvariantCulture,
            $"{results.Host.Processor}, {results.Host.Processors} CPUs, Linux {results.Host.Kernel}; target on CPU {string.Join(',', s.TargetCpus)}, "
            + $"load on CPU {string.Join(',', s.LoadCpus)}; medians of {s.Rounds} interleaved rounds of {s.SecondsPerRun:0.##} s; {results.Host.ScratchReason}.")));
        if (rows.Any(r => r.Spread > NoisySpread))
        {
            console.MarkupLine("Spreads above 25 % mark rows in which a difference of that size means nothing; more --rounds help.");
        }

        foreach (string note in results.Notes)
        {
            console.MarkupLine(Markup.Escape(note));
        }

        if (results.Interrupted)
        {
            console.MarkupLine("Broken off: the figures are those of the rounds that were made.");
        }
    }

    private static string FailedRuns(ComparisonResults results, MethodRecord method) =>
        results.FailedRuns.Count(r => r.Method == method.Name) is int count and > 0 ? $"; {count} run{(count == 1 ? string.Empty : "s")} failed" : string.Empty;

    private static string Number(double value) => double.IsNaN(value) ? "-"
        : value.ToString(Math.Abs(value) >= 100 ? "0" : Math.Abs(value) >= 10 ? "0.0" : "0.00", CultureInfo.InvariantCulture);
}
