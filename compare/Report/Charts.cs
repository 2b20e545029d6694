// The charts, as OxyPlot models. They are static: nothing runs when the page is viewed, and the figures are in a table beside each.

using OxyPlot;
using OxyPlot.Annotations;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>A bar: a title, parts that are stacked, and the range of the rounds.</summary>
internal sealed record Bar(string Title, IReadOnlyList<double> Parts, OxyColor? Color, double Minimum, double Maximum, string Label);

/// <summary>A line of a chart of percentiles: latencies in microseconds by the place of the percentile.</summary>
internal sealed record Curve(string Title, OxyColor Color, int Style, IReadOnlyList<(int Place, double Us)> Points);

/// <summary>Makes charts.</summary>
internal static class Charts
{
    public const double Width = 560;

    private const string Font = "Arial";
    private const double FontSize = 12;
    private const double BarHeight = 30;

    /// <summary>What a character of a label takes of the axis, generously.</summary>
    private const double LabelShare = 0.023;
    private const int LongestTitle = 34;

    private static readonly LineStyle[] Dashes = [LineStyle.Solid, LineStyle.Dash, LineStyle.Dot, LineStyle.DashDot];
    private static readonly MarkerType[] Markers = [MarkerType.Circle, MarkerType.Square, MarkerType.Triangle, MarkerType.Diamond];

    /// <summary>Names of the percentiles that a latency chart shows, from the left.</summary>
    public static IReadOnlyList<string> PercentileNames { get; } = ["p50", "p90", "p99", "p99.9", "p99.99"];

    /// <summary>Horizontal bars, the first on top; a thin line over each shows the range of the rounds.</summary>
    public static PlotModel Bars(IReadOnlyList<Bar> bars, string unit, IReadOnlyList<(string Title, OxyColor Color)> stack, double? full = null)
    {
        PlotModel model = NewModel();
        double largest = Math.Max(bars.Max(b => Math.Max(b.Parts.Sum(), b.Maximum)), full ?? 0);
        var categories = new CategoryAxis
        {
            Position = AxisPosition.Left,
            StartPosition = 1,
            EndPosition = 0,
            GapWidth = 0.45,
            TickStyle = TickStyle.None,
            AxislineStyle = LineStyle.Solid,
            AxislineColor = Ink.Muted,
            TextColor = Ink.Text,
        };
        categories.Labels.AddRange(bars.Select(b => Shorten(b.Title)));
        model.Axes.Add(categories);
        model.Axes.Add(ValueAxis(AxisPosition.Bottom, unit, MaximumWithLabels(bars, largest, full ?? 0)));
        for (int part = 0; part < stack.Count; part++)
            model.Series.Add(MakeSeries(bars, part, stack));
        for (int i = 0; i < bars.Count; i++)
            Annotate(model, bars[i], i, largest, full ?? 0);
        if (full is double line)
            model.Annotations.Add(new LineAnnotation { Type = LineAnnotationType.Vertical, X = line, Color = Ink.Muted, LineStyle = LineStyle.Dash, StrokeThickness = 1 });
        if (stack.Count > 1)
            AddLegend(model);
        return model;
    }

    /// <summary>Latency by percentile, on a logarithmic scale.</summary>
    public static PlotModel Latencies(IReadOnlyList<Curve> curves)
    {
        PlotModel model = NewModel();
        int last = curves.SelectMany(c => c.Points).Max(p => p.Place);
        model.Axes.Add(new LinearAxis
        {
            Position = AxisPosition.Bottom,
            Minimum = -0.15,
            Maximum = last + 0.15,
            MajorStep = 1,
            MinorTickSize = 0,
            TickStyle = TickStyle.None,
            TextColor = Ink.Text,
            AxislineStyle = LineStyle.Solid,
            AxislineColor = Ink.Muted,
            LabelFormatter = v => PercentileNames[(int)Math.Clamp(Math.Round(v), 0, PercentileNames.Count - 1)],
        });
        double[] values = [.. curves.SelectMany(c => c.Points).Select(p => p.Us)];
        model.Axes.Add(new LogarithmicAxis
        {
            Position = AxisPosition.Left,
            Title = "latency, µs",
            TitleColor = Ink.Muted,
            TextColor = Ink.Text,
            TicklineColor = Ink.Grid,
            MinorTicklineColor = Ink.Grid,
            TickStyle = TickStyle.None,
            Minimum = NiceBelow(values.Min()),
            Maximum = NiceAbove(values.Max()),
            MajorGridlineStyle = LineStyle.Solid,
            MajorGridlineColor = Ink.Grid,
            MinorGridlineStyle = LineStyle.Dot,
            MinorGridlineColor = Ink.Grid,
            LabelFormatter = Tick,
            UseSuperExponentialFormat = false,
        });
        foreach (Curve curve in curves)
        {
            var series = new LineSeries
            {
                Title = curve.Title,
                Color = curve.Color,
                StrokeThickness = 2,
                LineStyle = Dashes[curve.Style % Dashes.Length],
                MarkerType = Markers[curve.Style % Markers.Length],
                MarkerSize = 4,
                MarkerFill = curve.Color,
            };
            series.Points.AddRange(curve.Points.Select(p => new DataPoint(p.Place, p.Us)));
            model.Series.Add(series);
        }

        AddLegend(model);
        return model;
    }

    /// <summary>Height of a chart with so many bars, in the units of <see cref="Width"/>.</summary>
    public static double HeightOfBars(int bars, bool hasLegend) => (bars * BarHeight) + 58 + (hasLegend ? 26 : 0);

    /// <summary>Height of a chart of latencies with so many lines.</summary>
    public static double HeightOfLatencies(int curves) => 300 + (((curves + 2) / 3) * 18);

    private static BarSeries MakeSeries(IReadOnlyList<Bar> bars, int part, IReadOnlyList<(string Title, OxyColor Color)> stack)
    {
        var series = new BarSeries
        {
            Title = stack[part].Title,
            FillColor = stack[part].Color,
            IsStacked = stack.Count > 1,
            StrokeThickness = 0,
        };
        foreach (Bar bar in bars)
        {
            var item = new BarItem(part < bar.Parts.Count ? bar.Parts[part] : 0);
            if (bar.Color is OxyColor color)
                item.Color = color;
            series.Items.Add(item);
        }

        return series;
    }

    private static void Annotate(PlotModel model, Bar bar, int index, double largest, double full)
    {
        if (bar.Maximum > bar.Minimum)
        {
            model.Annotations.Add(new LineAnnotation
            {
                Type = LineAnnotationType.Horizontal, Y = index, MinimumX = bar.Minimum, MaximumX = bar.Maximum, Color = Ink.Text, LineStyle = LineStyle.Solid, StrokeThickness = 1.5,
            });
            foreach (double end in new[] { bar.Minimum, bar.Maximum })
            {
                model.Annotations.Add(new LineAnnotation
                {
                    Type = LineAnnotationType.Vertical, X = end, MinimumY = index - 0.13, MaximumY = index + 0.13, Color = Ink.Text, LineStyle = LineStyle.Solid, StrokeThickness = 1.5,
                });
            }
        }

        model.Annotations.Add(new TextAnnotation
        {
            Text = bar.Label,
            TextPosition = new DataPoint(Math.Max(Math.Max(bar.Parts.Sum(), bar.Maximum), full) + (largest * 0.015), index),
            TextHorizontalAlignment = HorizontalAlignment.Left,
            TextVerticalAlignment = VerticalAlignment.Middle,
            TextColor = Ink.Text,
            StrokeThickness = 0,
            Background = OxyColors.Undefined,
            Padding = new OxyThickness(0),
        });
    }

    private static PlotModel NewModel() => new()
    {
        Background = OxyColors.Undefined,
        PlotAreaBorderThickness = new OxyThickness(0),
        DefaultFont = Font,
        DefaultFontSize = FontSize,
        TextColor = Ink.Text,
        Padding = new OxyThickness(4, 6, 8, 4),
    };

    private static LinearAxis ValueAxis(AxisPosition position, string unit, double maximum) => new()
    {
        Position = position,
        Title = unit,
        TitleColor = Ink.Muted,
        TextColor = Ink.Muted,
        TickStyle = TickStyle.None,
        Minimum = 0,
        Maximum = maximum,
        MajorGridlineStyle = LineStyle.Solid,
        MajorGridlineColor = Ink.Grid,
        IntervalLength = 75,
        LabelFormatter = Tick,
    };

    private static string Tick(double value) => value.ToString("#,0.####", System.Globalization.CultureInfo.InvariantCulture);

    private static void AddLegend(PlotModel model) => model.Legends.Add(new Legend
    {
        LegendPlacement = LegendPlacement.Outside,
        LegendPosition = LegendPosition.BottomLeft,
        LegendOrientation = LegendOrientation.Horizontal,
        LegendTextColor = Ink.Text,
        LegendBorderThickness = 0,
        LegendPadding = 0,
        LegendColumnSpacing = 12,
        LegendSymbolLength = 28,
        LegendFontSize = FontSize,
    });

    /// <summary>The end of the axis: far enough right for the label behind each bar.</summary>
    private static double MaximumWithLabels(IReadOnlyList<Bar> bars, double largest, double full) =>
        largest <= 0 ? 1 : bars.Max(b => Math.Max(Math.Max(b.Parts.Sum(), b.Maximum), full) + (largest * (0.05 + (LabelShare * b.Label.Length))));

    private static double NiceBelow(double value) => Nice(value, [5, 2, 1], (candidate, v) => candidate <= v);

    private static double NiceAbove(double value) => Nice(value, [1, 2, 5, 10], (candidate, v) => candidate >= v);

    private static double Nice(double value, double[] steps, Func<double, double, bool> fits)
    {
        double decade = Math.Pow(10, Math.Floor(Math.Log10(value)));
        return steps.Select(s => s * decade).First(c => fits(c, value));
    }

    /// <summary>Shortens a long title in the middle: variants of one method differ at the end. The table has it whole.</summary>
    private static string Shorten(string title) =>
        title.Length <= LongestTitle ? title : $"{title[..(LongestTitle / 2)].TrimEnd()}…{title[^(LongestTitle / 2)..].TrimStart()}";
}
