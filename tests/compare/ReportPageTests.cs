using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;
using static Polyblk.Compare.Tests.SmallComparison;

namespace Polyblk.Compare.Tests;

/// <summary>The page as text: what it says and what it must not contain.</summary>
public sealed class ReportPageTests
{
    [Fact]
    public void It_asks_the_network_for_nothing_and_runs_only_its_own_scripts()
    {
        string page = HtmlReport.Render(ExampleComparison.Make(), Purpose.Vm);
        Assert.DoesNotContain("@import", WithoutLibrary(page), StringComparison.Ordinal);
        Assert.DoesNotContain(" src=", WithoutLibrary(page), StringComparison.Ordinal);

        string policy = System.Net.WebUtility.HtmlDecode(Between(page, "http-equiv=\"Content-Security-Policy\" content=\"", "\"")[0]);
        Assert.StartsWith("default-src 'none'; script-src 'sha256-", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("http", policy, StringComparison.Ordinal);
        Assert.Equal([HashOf(PageResources.Library), HashOf(PageResources.Charts)], SourcesOf(policy, "script-src"));
        Assert.Equal([HashOf(PageResources.Style)], SourcesOf(policy, "style-src"));

        // What is hashed is what stands in the elements.
        Assert.Equal([PageResources.Library, PageResources.Charts], Between(page, "<script>", "</script>"));
        Assert.Equal([PageResources.Style], Between(page, "<style>", "</style>"));
    }

    [Fact]
    public void The_library_and_its_licences_come_with_it()
    {
        string page = HtmlReport.Render(ExampleComparison.Make(), Purpose.Vm);
        Assert.Contains("version=\"6.0.0\"", PageResources.Library, StringComparison.Ordinal);
        Assert.Equal(PageResources.LibrarySha512, Convert.ToHexStringLower(SHA512.HashData(Encoding.UTF8.GetBytes(PageResources.Library))));
        foreach (string words in new[] { "Copyright 2017-2025 The Apache Software Foundation", "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION", "Copyright (c) 2017, Baidu Inc.", "Mike Bostock" })
            Assert.Contains(words, page, StringComparison.Ordinal);
    }

    [Fact]
    public void Words_from_outside_never_become_markup()
    {
        const string Nasty = "<img src=x onerror=alert(1)></script><!--\"'&";
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
        Assert.DoesNotContain("<img", WithoutLibrary(page), StringComparison.Ordinal);
        Assert.DoesNotContain("<!--", page, StringComparison.Ordinal);
        Assert.Equal(4, page.Split("</script").Length);
        Assert.Contains("&lt;img src=x onerror=alert(1)&gt;", page, StringComparison.Ordinal);
        Assert.All(DataOf(page)["methods"]!.AsArray(), m => Assert.Contains(Nasty, m!["title"]!.ToString(), StringComparison.Ordinal));
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
    public void Charts_have_places_and_the_figures_of_the_results()
    {
        Comparison example = ExampleComparison.Make();
        string page = HtmlReport.Render(example, Purpose.Vm);
        JsonObject data = DataOf(page);
        JsonArray charts = data["charts"]!.AsArray();
        Assert.Equal((6 * 4) + 2 + 2, charts.Count);
        Assert.Equal(charts.Count, charts.Select(c => c!["id"]!.ToString()).Distinct().Count());
        Assert.All(charts, c => Assert.Contains($"<div class=\"chart\" id=\"{c!["id"]}\"></div>", page, StringComparison.Ordinal));

        ComparedRow row = ComparedRow.From(example).First(r => r.Workload == example.Workloads[1] && r.Method.Id == "nbd@host");
        JsonNode bar = charts.First(c => c!["id"]!.ToString() == "w1-result")!["bars"]!.AsArray().First(b => b!["method"]!.ToString() == "nbd@host")!;
        JsonNode figure = bar["parts"]![0]!;
        Assert.Equal([row.Iops.Median / 1e3, row.Iops.Minimum / 1e3, row.Iops.Maximum / 1e3, row.Iops.Count], new[] { "median", "lowest", "highest", "rounds" }.Select(n => Math.Round(figure[n]!.GetValue<double>(), 3)));
        JsonNode line = charts.First(c => c!["id"]!.ToString() == "w1-latency")!["lines"]!.AsArray().First(l => l!["method"]!.ToString() == "nbd@host")!;
        Assert.Equal(row.P99Ns!.Value.Median / 1e3, line["figures"]![2]!["median"]!.GetValue<double>(), 1);
    }

    [Fact]
    public void Workloads_that_differ_in_depth_alone_have_a_chart_by_depth_with_the_deepest_of_them()
    {
        Comparison example = ExampleComparison.Make();
        JsonArray charts = DataOf(HtmlReport.Render(example, Purpose.Vm))["charts"]!.AsArray();
        Assert.Equal(["w1-depth", "w3-depth"], charts.Where(c => c!["kind"]!.ToString() == "depths").Select(c => c!["id"]!.ToString()));
        JsonNode chart = charts.First(c => c!["id"]!.ToString() == "w1-depth")!;
        Assert.Equal("4 KiB random read", chart["subject"]!.ToString());
        Assert.Equal([1, 32], chart["depths"]!.AsArray().Select(d => d!.GetValue<int>()));
        JsonNode line = chart["lines"]!.AsArray().First(l => l!["method"]!.ToString() == "nbd@host")!;
        double[] expected = [.. ComparedRow.From(example).Where(r => r.Method.Id == "nbd@host" && r.Workload.Pattern == AccessPattern.RandomRead).Select(r => r.Iops.Median / 1e3)];
        Assert.Equal(expected, line["figures"]!.AsArray().Select(f => f!["median"]!.GetValue<double>()));
        Assert.DoesNotContain(chart["lines"]!.AsArray(), l => l!["method"]!.ToString() == "loop@host"); // its data was wrong
    }

    [Fact]
    public void Methods_with_figures_that_must_not_be_used_are_marked_in_charts()
    {
        JsonArray charts = DataOf(HtmlReport.Render(ExampleComparison.Make(), Purpose.Vm))["charts"]!.AsArray();
        JsonNode bar = charts.First(c => c!["id"]!.ToString() == "w0-result")!["bars"]!.AsArray().First(b => b!["method"]!.ToString() == "loop@host")!;
        Assert.Equal("unsound", bar["ink"]!.ToString());
        Assert.Equal("wrong data", bar["remark"]!.ToString());
        Assert.DoesNotContain(charts.First(c => c!["id"]!.ToString() == "w0-latency")!["lines"]!.AsArray(), l => l!["method"]!.ToString() == "loop@host");
        JsonNode ratios = charts.First(c => c!["id"]!.ToString() == "overview-chart")!["rows"]!.AsArray().First(r => r!["method"]!.ToString() == "loop@host")!;
        Assert.Null(ratios["mean"]);
        Assert.Equal("wrong data", ratios["remark"]!.ToString());
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
        JsonArray charts = DataOf(page)["charts"]!.AsArray();
        Assert.Equal(["w0-result"], charts.Select(c => c!["id"]!.ToString()));
    }

    [Fact]
    public async Task The_files_are_written_whole()
    {
        string folder = Path.Combine(TestPaths.Artifacts, "files");
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
        IReadOnlyList<string> files = await ReportFiles.WriteAsync(ExampleComparison.Make(), folder, Purpose.Shared);
        Assert.Equal(["report.html", "results.csv", "results.json"], Directory.GetFiles(folder).Select(Path.GetFileName).Order());
        Assert.Equal(ExampleComparison.Make().Runs, (await ComparisonFile.ReadAsync(files[0])).Runs);
        Assert.StartsWith("<!DOCTYPE html>", await File.ReadAllTextAsync(files[2]), StringComparison.Ordinal);

        await Assert.ThrowsAsync<ComparisonFormatException>(() => ReportFiles.WriteAsync(ExampleComparison.Make() with { Baseline = "none" }, folder, Purpose.Vm));
        Assert.Equal(3, Directory.GetFiles(folder).Length);
    }

    private static string WithoutLibrary(string page) => page.Replace(PageResources.Library, string.Empty, StringComparison.Ordinal);

    private static JsonObject DataOf(string page) => JsonNode.Parse(Between(page, "<script type=\"application/json\" id=\"chart-data\">", "</script>")[0])!.AsObject();

    private static string[] Between(string page, string begin, string end) => [.. page.Split(begin).Skip(1).Select(p => p[..p.IndexOf(end, StringComparison.Ordinal)])];

    private static string HashOf(string text) => $"'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(text)))}'";

    private static string[] SourcesOf(string policy, string directive) => policy.Split("; ").First(d => d.StartsWith(directive, StringComparison.Ordinal)).Split(' ')[1..];
}
