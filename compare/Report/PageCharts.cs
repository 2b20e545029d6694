using System.Text.Json;
using Polyblk.Compare.Results;

namespace Polyblk.Compare.Report;

/// <summary>Collects the charts of a page while its sections are made.</summary>
internal sealed class PageCharts(Comparison comparison)
{
    /// <summary>Colours of methods that the page defines: --m0 to --m7.</summary>
    private const int MethodInks = 8;

    private readonly List<ChartData> _charts = [];

    /// <summary>A place for a chart in the page, under its heading.</summary>
    public Html Add(ChartData chart)
    {
        _charts.Add(chart);
        return Html.Of($"""
            <figure><figcaption>{chart.Heading}</figcaption><div class="chart" id="{chart.Id}"></div></figure>
            """);
    }

    /// <summary>What the charts are drawn from, as JSON that is safe inside a script element.</summary>
    public string ToJson()
    {
        HashSet<string> measured = [.. comparison.Runs.Select(r => r.Method)];
        MethodData[] methods = [.. comparison.Methods.Where(m => measured.Contains(m.Id)).Select(m => new MethodData(m.Id, comparison.TitleOf(m), InkOf(m), StyleOf(m)))];
        return JsonSerializer.Serialize(new PageData(methods, _charts), ChartJsonContext.Default.PageData);
    }

    /// <summary>The colour of a method: the same in every chart of the page.</summary>
    private string InkOf(MethodFacts method) => method.Role switch
    {
        MethodRole.Bare => "bare",
        MethodRole.Peer => "peer",
        _ => $"m{IndexOf(method) % MethodInks}",
    };

    /// <summary>Methods that share a colour differ in this number.</summary>
    private int StyleOf(MethodFacts method)
    {
        int index = IndexOf(method);
        return index + (index / MethodInks);
    }

    /// <summary>The place of a method among those of its role.</summary>
    private int IndexOf(MethodFacts method) => comparison.Methods.Where(m => m.Role == method.Role).TakeWhile(m => m.Id != method.Id).Count();
}
