using System.Xml.Linq;
using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>The page as text: what it says and what it must not contain.</summary>
public sealed class ReportPageTests
{
    [Fact]
    public void It_asks_the_network_for_nothing_and_runs_nothing()
    {
        string page = HtmlReport.Render(ExampleComparison.Make(), Purpose.Vm);
        Assert.DoesNotContain("<script", page, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain("@import", page, StringComparison.Ordinal);
        Assert.DoesNotContain("src=", page, StringComparison.Ordinal);
        Assert.Equal(
            page.Split("http").Length,
            page.Split("http://www.w3.org/").Length + page.Split("http-equiv").Length - 1); // names of XML, not addresses
        Assert.Contains("default-src 'none'", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Words_from_outside_never_become_markup()
    {
        const string Nasty = "<img src=x onerror=alert(1)>\"'&";
        Comparison example = ExampleComparison.Make();
        Comparison nasty = example with
        {
            Environment = example.Environment with { Host = Nasty, Cpu = Nasty, Kernel = Nasty },
            Volume = example.Volume with { Name = Nasty },
            Methods = [.. example.Methods.Select(m => m with { Title = m.Title + Nasty, Commands = [Nasty], Reason = m.Available ? m.Reason : Nasty, VerificationDetail = Nasty })],
            Workloads = [.. example.Workloads.Select(w => w with { Title = w.Title + Nasty })],
            Notes = [Nasty],
        };
        string page = HtmlReport.Render(nasty, Purpose.Vm);
        Assert.DoesNotContain("<img", page, StringComparison.Ordinal);
        Assert.Contains("&lt;img src=x onerror=alert(1)&gt;", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Everything_recorded_is_on_it()
    {
        Comparison example = ExampleComparison.Make();
        string text = System.Net.WebUtility.HtmlDecode(HtmlReport.Render(example, Purpose.Container));
        Assert.Contains(Advisor.Advise(example, Purpose.Container).Headline, text, StringComparison.Ordinal);
        Assert.All(example.Methods, m => Assert.Contains(m.Id, text, StringComparison.Ordinal));
        Assert.All(example.Methods.SelectMany(m => m.Commands), c => Assert.Contains(c, text, StringComparison.Ordinal));
        Assert.All(example.Methods.Where(m => !m.Available), m => Assert.Contains(m.Reason!, text, StringComparison.Ordinal));
        Assert.All(example.Methods.SelectMany(m => m.Remedies), r => Assert.Contains(r, text, StringComparison.Ordinal));
        Assert.All(example.Notes, n => Assert.Contains(n, text, StringComparison.Ordinal));
        Assert.Contains("wrong data", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Charts_are_well_formed_and_their_names_unique()
    {
        string page = HtmlReport.Render(ExampleComparison.Make(), Purpose.Vm);
        string[] charts = [.. page.Split("<svg ").Skip(1).Select(s => "<svg " + s[..(s.IndexOf("</svg>", StringComparison.Ordinal) + 6)])];
        Assert.Equal((4 * 6) + 1, charts.Length);
        var ids = new HashSet<string>();
        foreach (XElement chart in charts.Select(XElement.Parse))
        {
            Assert.All(chart.DescendantsAndSelf().Attributes("id"), id => Assert.True(ids.Add(id.Value), $"{id.Value} is there twice"));
            Assert.DoesNotContain("rgb(254,", chart.ToString(), StringComparison.Ordinal);
            Assert.DoesNotContain("NaN", chart.ToString(), StringComparison.Ordinal);
            Assert.All(
                chart.Descendants().Attributes("clip-path"),
                clip => Assert.Contains(chart.Descendants().Attributes("id"), id => clip.Value == $"url(#{id.Value})"));
        }
    }

    [Fact]
    public void A_comparison_in_which_nothing_ran_has_a_page()
    {
        MethodFacts missing = Method("m") with { Available = false, Reason = "no kernel module", Verification = Verification.NotRun };
        string page = HtmlReport.Render(Of([missing], [Workload()]), Purpose.Container);
        Assert.Contains("no method can be recommended", page, StringComparison.Ordinal);
        Assert.Contains("no kernel module", page, StringComparison.Ordinal);
    }

    [Fact]
    public void Figures_that_are_zero_or_missing_break_no_chart()
    {
        Comparison comparison = Of([Method("base"), Method("m")], [Workload()], Runs("base", "w", 0), Runs("m", "w", 5).Select(r => r with { Latency = new LatencyNs { P50 = 0, P99 = 10 } }));
        string page = HtmlReport.Render(comparison, Purpose.Vm);
        Assert.Contains("<svg ", page, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_files_are_written_whole()
    {
        string folder = Path.Combine(TestPaths.Artifacts, "files");
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
        IReadOnlyList<string> files = await ReportFiles.WriteAsync(ExampleComparison.Make(), folder, Purpose.Shared);
        Assert.Equal(["chart.svg", "report.html", "results.csv", "results.json"], Directory.GetFiles(folder).Select(Path.GetFileName).Order());
        Assert.Equal(ExampleComparison.Make().Runs, (await ComparisonFile.ReadAsync(files[0])).Runs);
        Assert.StartsWith("<!DOCTYPE html>", await File.ReadAllTextAsync(files[2]), StringComparison.Ordinal);

        await Assert.ThrowsAsync<ComparisonFormatException>(() => ReportFiles.WriteAsync(ExampleComparison.Make() with { Baseline = "none" }, folder, Purpose.Vm));
        Assert.Equal(4, Directory.GetFiles(folder).Length);
    }
}
