// One chart of a comparison as an SVG file of its own, for a README or a slide: every method's result for one workload, in light and dark.

using System.Xml.Linq;
using OxyPlot;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>Makes chart.svg.</summary>
public static class OverviewChart
{
    private const double HeadingHeight = 26;
    private static readonly XNamespace Svg = "http://www.w3.org/2000/svg";

    /// <summary>The chart of the random read with the most requests in flight, or of the first workload; null when nothing was measured.</summary>
    public static string? Render(Comparison comparison)
    {
        ArgumentNullException.ThrowIfNull(comparison);
        IReadOnlyList<ComparedRow> rows = ComparedRow.From(comparison);
        WorkloadFacts? workload = comparison.Workloads
            .Where(w => rows.Any(r => r.Workload.Name == w.Name))
            .OrderByDescending(w => w.Pattern == AccessPattern.RandomRead)
            .ThenByDescending(w => w.QueueDepth * w.Jobs)
            .FirstOrDefault();
        if (workload is null)
            return null;
        ComparedRow[] own = [.. rows.Where(r => r.Workload.Name == workload.Name)];
        PlotModel model = WorkloadSection.ResultChart(comparison, workload, own);
        model.Title = workload.Title;
        model.TitleColor = Ink.Text;
        model.TitleFontSize = 14;
        double height = Charts.HeightOfBars(own.Length, false) + HeadingHeight;
        XElement root = XElement.Parse(SvgChart.Render(model, "chart", $"{workload.Title}, by method", height).ToString());
        root.AddFirst(
            new XElement(Svg + "style", $"{HtmlReport.Colors}text{{font-family:Arial,Liberation Sans,sans-serif}}"),
            new XElement(Svg + "rect", new XAttribute("width", "100%"), new XAttribute("height", "100%"), new XAttribute("rx", 8), new XAttribute("style", "fill:var(--card)")));
        return root.ToString(SaveOptions.DisableFormatting) + "\n";
    }
}
