// What a chart shows, without a word on how: figures, names, and which colour of the page stands for what. It goes into the page
// as JSON; chart-kinds.js makes the drawing of it. A name here is a name there.

using System.Text.Json.Serialization;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>All that the page's charts are drawn from.</summary>
/// <param name="Methods">Every method that has figures, in the order of the comparison.</param>
/// <param name="Charts">The charts, in the order of the page.</param>
internal sealed record PageData(IReadOnlyList<MethodData> Methods, IReadOnlyList<ChartData> Charts);

/// <summary>A method, the same in all charts.</summary>
/// <param name="Id">What charts refer to.</param>
/// <param name="Title">What people call it.</param>
/// <param name="Ink">The colour of the page that is its own, such as <c>m3</c> for --m3.</param>
/// <param name="Style">A number for markers and dashes: methods of one colour differ in it.</param>
internal sealed record MethodData(string Id, string Title, string Ink, int Style);

/// <summary>A figure over the rounds, in the unit of its chart.</summary>
internal sealed record Figure(double Median, double Lowest, double Highest, int Rounds)
{
    private const int Digits = 7;

    /// <summary>A sample, divided into the chart's unit.</summary>
    public static Figure Of(Sample sample, double divisor = 1) =>
        new(Shorten(sample.Median / divisor), Shorten(sample.Minimum / divisor), Shorten(sample.Maximum / divisor), sample.Count);

    /// <summary>A single value.</summary>
    public static Figure Of(double value) => new(Shorten(value), Shorten(value), Shorten(value), 1);

    /// <summary>More digits than anybody reads would be most of the page.</summary>
    private static double Shorten(double value) =>
        value == 0 ? 0 : double.Parse(value.ToString($"G{Digits}", System.Globalization.CultureInfo.InvariantCulture), System.Globalization.CultureInfo.InvariantCulture);
}

/// <summary>A chart.</summary>
/// <param name="Id">Unique in the page: that of the element which it is drawn into.</param>
/// <param name="Heading">What is shown, and which direction is good.</param>
/// <param name="Subject">Of what, such as the workload.</param>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(BarChart), "bars")]
[JsonDerivedType(typeof(LatencyChart), "latencies")]
[JsonDerivedType(typeof(DepthChart), "depths")]
[JsonDerivedType(typeof(RatioChart), "ratios")]
internal abstract record ChartData(string Id, string Heading, string Subject);

/// <summary>Horizontal bars from zero, the first on top, each with the range of its rounds.</summary>
/// <param name="Unit">Of all figures.</param>
/// <param name="Parts">What a bar is stacked from; a single part is the whole bar.</param>
/// <param name="Mark">A line across all bars; absent when there is nothing to compare with.</param>
internal sealed record BarChart(string Id, string Heading, string Subject, string Unit, IReadOnlyList<BarPart> Parts, IReadOnlyList<Bar> Bars, BarMark? Mark = null)
    : ChartData(Id, Heading, Subject);

/// <summary>What a bar is stacked from.</summary>
internal sealed record BarPart(string Title, string Ink);

/// <summary>A line across all bars.</summary>
internal sealed record BarMark(double Value, string Title);

/// <summary>A bar.</summary>
/// <param name="Title">Its name at the axis.</param>
/// <param name="Method">The method that it belongs to; absent when it is that of no single method.</param>
/// <param name="Parts">A figure for each part of the chart; null where there is none.</param>
/// <param name="Ink">Its colour; absent for that of its parts.</param>
/// <param name="Remark">A word to the figure behind the bar, such as why it must not be used.</param>
/// <param name="Facts">What else is known of it.</param>
internal sealed record Bar(string Title, string? Method, IReadOnlyList<Figure?> Parts, string? Ink = null, string? Remark = null, IReadOnlyList<Fact>? Facts = null);

/// <summary>A fact beside the figures.</summary>
internal sealed record Fact(string Name, string Value);

/// <summary>Latency by percentile, a line for each method, on a logarithmic scale.</summary>
internal sealed record LatencyChart(string Id, string Heading, string Subject, IReadOnlyList<string> Percentiles, IReadOnlyList<ChartLine> Lines)
    : ChartData(Id, Heading, Subject);

/// <summary>The result over the depth of the queue, a line for each method, from zero.</summary>
/// <param name="Unit">Of all figures.</param>
/// <param name="Depths">Requests in flight of each job, ascending.</param>
internal sealed record DepthChart(string Id, string Heading, string Subject, string Unit, IReadOnlyList<int> Depths, IReadOnlyList<ChartLine> Lines)
    : ChartData(Id, Heading, Subject);

/// <summary>Figures of one method, one for each percentile (in microseconds) or depth; null where there is none.</summary>
internal sealed record ChartLine(string Method, IReadOnlyList<Figure?> Figures);

/// <summary>
/// Results of all workloads as ratios to the baseline: a bar for the mean of each method, a dot for each workload.
/// </summary>
internal sealed record RatioChart(string Id, string Heading, string Subject, string Baseline, IReadOnlyList<RatioWorkload> Workloads, IReadOnlyList<RatioRow> Rows)
    : ChartData(Id, Heading, Subject);

/// <summary>A workload of a chart of ratios.</summary>
/// <param name="Pattern">Its kind, which has a marker.</param>
internal sealed record RatioWorkload(string Title, string Pattern);

/// <summary>The ratios of a method.</summary>
/// <param name="Mean">Geometric mean of the medians; absent unless every workload has one that may be used.</param>
/// <param name="Ratios">A figure for each workload of the chart; null where there is none.</param>
/// <param name="Remark">Why some of its figures must not be used; absent when they may.</param>
internal sealed record RatioRow(string Method, double? Mean, IReadOnlyList<Figure?> Ratios, string? Remark);

/// <summary>
/// Serialization of what the charts are drawn from. The default encoder escapes what could end a script: &lt;, &gt; and &amp;.
/// </summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(PageData))]
internal sealed partial class ChartJsonContext : JsonSerializerContext;
