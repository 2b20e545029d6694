using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>The array against what its drives could give.</summary>
internal static class EfficiencySection
{
    public static Html Render(Comparison comparison, IReadOnlyList<ComparedRow> rows, PageCharts charts)
    {
        EfficiencyRow[] known = [.. comparison.Efficiency.Where(r => r.Percent is not null)];
        if (comparison.Efficiency.Count == 0)
            return Html.Of($"<p>It was not measured: it needs the single drive, and the array without a frontend, with the same workloads.</p>");
        Bar[] bars =
        [
            .. known.Select(r => new Bar(Title(comparison, r), null, [Figure.Of(r.Percent!.Value)], Facts:
            [
                new Fact("measured", Figures.Result(r.IsBandwidth, r.Array)), new Fact("theoretical", Figures.Result(r.IsBandwidth, r.Theoretical)),
                new Fact("one drive", Figures.Result(r.IsBandwidth, r.SingleDrive)), new Fact("theory", r.Formula), new Fact("array", $"{r.Level}, {r.Members} members"),
            ])),
        ];
        return Html.Of($"""
            <p>The theoretical result counts the drive operations of each request and takes the measured single drive for what one costs, with all drives busy all the time. It is an upper bound.</p>
            {(bars.Length == 0 ? Html.Empty : Html.Of($"""
                <div class="charts">
                {charts.Add(new BarChart(
                    "efficiency-chart", "Array against theory (more is better)", "RAID efficiency", "percent of the theoretical result", [new BarPart("efficiency", "target")], bars, new BarMark(100, "theory")))}
                </div>
                """))}
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

    /// <summary>The pattern; the workload where several have the same.</summary>
    internal static string Title(Comparison comparison, EfficiencyRow row)
    {
        EfficiencyRow[] alike = [.. comparison.Efficiency.Where(r => (r.Pattern, r.Simulated) == (row.Pattern, row.Simulated))];
        bool isOneOfSeveral = alike.Select(r => r.Workload).Distinct().Count() > 1;
        string pattern = row.Pattern == AccessPattern.Custom || isOneOfSeveral ? row.Workload.Split(';')[0] : Figures.Pattern(row.Pattern);
        return pattern + (row.Simulated ? ", simulated" : string.Empty);
    }
}
