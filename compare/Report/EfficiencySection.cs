using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>The array against what its drives could give.</summary>
internal static class EfficiencySection
{
    public static Html Render(Comparison comparison, IReadOnlyList<ComparedRow> rows)
    {
        EfficiencyRow[] known = [.. comparison.Efficiency.Where(r => r.Percent is not null)];
        if (comparison.Efficiency.Count == 0)
            return Html.Of($"<p>It was not measured: it needs the single drive, and the array without a frontend or through one, with the same workloads.</p>");
        Bar[] bars = [.. known.Select(r => new Bar(Title(comparison, r), [r.Percent!.Value], Ink.Target, 0, 0, $"{r.Percent:0} %"))];
        return Html.Of($"""
            <p>The theoretical result counts the drive operations of each request and takes the measured single drive for what one costs, with all drives busy all the time. It is an upper bound.</p>
            <div class="charts">
            {(bars.Length == 0 ? Html.Empty : Parts.Figure("Array against theory (more is better)", SvgChart.Render(
                Charts.Bars(bars, "percent of the theoretical result", [("percent", Ink.Target)], full: 100), "efficiency-chart",
                "RAID efficiency in percent, by pattern", Charts.HeightOfBars(bars.Length, false))))}
            </div>
            {Parts.Table(
                "RAID efficiency",
                ["Pattern", "Array", "One drive", "Theory", "Theoretical", "Measured", "Efficiency"],
                comparison.Efficiency.Select(r => (IReadOnlyList<Html>)
                [
                    Parts.Text(Title(comparison, r)),
                    Html.Of($"{r.Level}, {r.Members} members {(r.Simulated ? Parts.Badge("plain", "simulated drives") : Html.Empty)}"),
                    Parts.Text(Figures.Result(r.IsBandwidth, r.SingleDrive)),
                    Parts.Text(r.Formula),
                    Parts.Text(Figures.Result(r.IsBandwidth, r.Theoretical)),
                    Parts.Text(Figures.Result(r.IsBandwidth, r.Array)),
                    Html.Of($"<b>{(r.Percent is double p ? $"{p:0} %" : Figures.None)}</b>"),
                ]))}
            """);
    }

    private static string Title(Comparison comparison, EfficiencyRow row)
    {
        string pattern = row.Pattern switch
        {
            AccessPattern.RandomRead => "random read",
            AccessPattern.RandomWrite => "random write",
            AccessPattern.SequentialRead => "sequential read",
            AccessPattern.SequentialWrite => "sequential write",
            _ => row.Workload,
        };
        string workload = comparison.Efficiency.Count(r => r.Pattern == row.Pattern) > 1 && row.Method is string method ? $", {comparison.TitleOf(comparison.Method(method))}" : string.Empty;
        return pattern + workload + (row.Simulated ? ", simulated" : string.Empty);
    }
}
