using System.Globalization;
using System.Xml.Linq;
using Polyblk.Compare.Report;
using Polyblk.Compare.Results;
using Polyblk.Compare.Verdict;

namespace Polyblk.Compare.Tests;

/// <summary>The page in a real browser. The screenshots stay in artifacts/compare-report.</summary>
public sealed class BrowserTests
{
    private const int Laptop = 1366;
    private const int Phone = 390;
    private const int ChartsOfTheExample = (6 * 4) + 2 + 2;
    private const string Drawn = "document.documentElement.dataset.charts === 'drawn'";

    // What an outsider might put into a name or an error: an element, the end of a script, the beginning of a comment, the end of
    // an attribute.
    private const string Nasty = "<img src=x onerror=alert(1)></script><script>alert(2)</script><!--\"'&\u2028";

    [Fact]
    public async Task The_page_is_whole_in_light_and_dark_on_a_laptop_and_on_a_phone()
    {
        string path = await PageAsync("report.html", ExampleComparison.Make());
        await using Chromium browser = await Chromium.StartAsync();
        foreach ((int width, int height) in new[] { (Laptop, 768), (Phone, 844) })
        {
            foreach (bool isDark in new[] { false, true })
            {
                string name = $"{(isDark ? "dark" : "light")}-{width}x{height}";
                await browser.OpenAsync(path, width, height, isDark);
                await browser.WaitAsync(Drawn);
                await browser.ScreenshotAsync(Path.Combine(TestPaths.Artifacts, $"{name}.png"), isWholePage: false);
                await browser.ScreenshotAsync(Path.Combine(TestPaths.Artifacts, $"{name}-whole.png"), isWholePage: true);
                await CheckAsync(browser, name, width, isDark);

                // Everything that is folded must hold to the same.
                await browser.EvaluateAsync("document.querySelectorAll('details').forEach(d => d.open = true)");
                await CheckAsync(browser, $"{name}, unfolded", width, isDark);
            }
        }

        AssertNoComplaints(browser);
    }

    [Fact]
    public async Task It_prints_in_light_with_charts_as_wide_as_the_paper()
    {
        string path = await PageAsync("report-print.html", ExampleComparison.Make());
        await using Chromium browser = await Chromium.StartAsync();
        await browser.OpenAsync(path, Laptop, 768, isDark: false);
        await browser.WaitAsync(Drawn);
        string light = await browser.EvaluateAsync(PageScripts.Colors);

        await browser.OpenAsync(path, Laptop, 768, isDark: true);
        await browser.WaitAsync(Drawn);
        string wide = await browser.EvaluateAsync(PageScripts.Widths);
        await browser.PrintAsync(Path.Combine(TestPaths.Artifacts, "report.pdf"));
        await browser.WaitAsync($"{Drawn} && {PageScripts.Widths} === '{wide}'");

        // The page as the paper shows it: what the browser tells a page before it prints is told here.
        await browser.ResizeAsync(718, 1000);
        await browser.SetDarkAsync(true, isPaper: true);
        await browser.WaitAsync($"{Drawn} && !{PageScripts.Widths}.includes('{wide.Split(' ')[0]}')");
        await browser.EvaluateAsync("dispatchEvent(new Event('beforeprint'))");
        await browser.ScreenshotAsync(Path.Combine(TestPaths.Artifacts, "print-whole.png"), isWholePage: true);
        Assert.Equal(string.Join(' ', Enumerable.Repeat("640", ChartsOfTheExample)), await browser.EvaluateAsync(PageScripts.Widths));
        foreach (string script in new[] { PageScripts.Overflow, PageScripts.TooWideForPaper, PageScripts.Undrawn, PageScripts.BadCharts })
            Assert.Equal(string.Empty, await browser.EvaluateAsync(script));
        string paper = await browser.EvaluateAsync(PageScripts.Colors);
        string[] methods = [.. light.Split(';').Where(c => c.StartsWith("var(--m", StringComparison.Ordinal))];
        Assert.NotEmpty(methods);
        Assert.All(methods.Where(m => !m.StartsWith("var(--muted", StringComparison.Ordinal)), m => Assert.Contains(m, paper, StringComparison.Ordinal));
        AssertNoComplaints(browser);
    }

    [Fact]
    public async Task Charts_take_the_colours_and_the_width_of_the_moment()
    {
        string path = await PageAsync("report-moment.html", ExampleComparison.Make());
        await using Chromium browser = await Chromium.StartAsync();
        await browser.OpenAsync(path, Laptop, 768, isDark: false);
        await browser.WaitAsync(Drawn);
        string light = await browser.EvaluateAsync(PageScripts.Colors);
        await browser.SetDarkAsync(true);
        string dark = await browser.EvaluateAsync(PageScripts.Colors);
        Assert.Equal(light.Split(';').Length, dark.Split(';').Length);
        Assert.True(light.Split(';').Length >= 10, light);
        Assert.All(light.Split(';').Zip(dark.Split(';')), pair => Assert.NotEqual(pair.First, pair.Second));

        await browser.ResizeAsync(Phone, 844);
        await browser.WaitAsync($"{Drawn} && [...document.querySelectorAll('.chart svg')].every(s => s.getBoundingClientRect().width < {Phone})");
        await CheckAsync(browser, "made narrow", Phone, isDark: true);
        await browser.ResizeAsync(Laptop, 768);
        await browser.WaitAsync($"{Drawn} && [...document.querySelectorAll('.chart svg')].some(s => s.getBoundingClientRect().width > {Phone})");
        await CheckAsync(browser, "made wide again", Laptop, isDark: true);
        AssertNoComplaints(browser);
    }

    [Fact]
    public async Task Words_from_outside_stay_words_in_charts_and_tooltips()
    {
        Comparison example = ExampleComparison.Make();
        string path = await PageAsync("report-nasty.html", example with
        {
            Methods = [.. example.Methods.Select(m => m with { Title = m.Title + Nasty, VerificationDetail = Nasty })],
            Workloads = [.. example.Workloads.Select(w => w with { Title = w.Title + Nasty })],
        });
        await using Chromium browser = await Chromium.StartAsync();
        foreach (int width in new[] { Laptop, Phone })
        {
            await browser.OpenAsync(path, width, 844, isDark: false);
            await browser.WaitAsync(Drawn);
            foreach (string chart in new[] { "overview-chart", "w0-result", "w0-latency", "w0-cpu" })
            {
                string tip = await HoverAsync(browser, chart);
                Assert.Contains("<img src=x onerror=alert(1)></script><script>alert(2)</script><!--\"'&", tip, StringComparison.Ordinal);
            }

            Assert.Equal("0", await browser.EvaluateAsync("document.querySelectorAll('img').length"));
            Assert.Equal("3", await browser.EvaluateAsync("document.scripts.length"));
            string found = await browser.EvaluateAsync(PageScripts.BadCharts);
            Assert.True(found.Length == 0, $"{width}: {found}");
        }

        AssertNoComplaints(browser);
    }

    [Fact]
    public async Task Tooltips_have_the_exact_figures_and_their_spread()
    {
        Comparison example = ExampleComparison.Make();
        ComparedRow row = ComparedRow.From(example).First(r => r.Method.Id == "vhost-user-4q@guest");
        string path = await PageAsync("report-tips.html", example);
        await using Chromium browser = await Chromium.StartAsync();
        await browser.OpenAsync(path, Laptop, 900, isDark: false);
        await browser.WaitAsync(Drawn);
        string tip = await HoverAsync(browser, "w0-result", 2);
        await browser.ScreenshotAsync(Path.Combine(TestPaths.Artifacts, "tooltip.png"), isWholePage: false);
        Assert.Contains("vhost-user, 4 queues", tip, StringComparison.Ordinal);
        foreach (double exact in new[] { row.Iops.Median, row.Iops.Minimum, row.Iops.Maximum })
            Assert.Contains((exact / 1e3).ToString("0.####", CultureInfo.InvariantCulture)[..5], tip, StringComparison.Ordinal);
        Assert.Contains("in 5 rounds, spread", tip, StringComparison.Ordinal);
        Assert.Contains(Figures.RatioAndRange(row.Ratio!.Value), tip, StringComparison.Ordinal);
        AssertNoComplaints(browser);
    }

    [Fact]
    public async Task Methods_are_switched_off_and_on_in_all_charts()
    {
        const string Bars = "document.querySelectorAll('#w0-result path[fill=\"var(--m1)\"]').length";
        const string Lines = "document.querySelectorAll('#w5-latency path[stroke=\"var(--m1)\"][fill=none]').length";
        string path = await PageAsync("report-switches.html", ExampleComparison.Make());
        await using Chromium browser = await Chromium.StartAsync();
        await browser.OpenAsync(path, Laptop, 768, isDark: false);
        await browser.WaitAsync(Drawn);
        string before = await browser.EvaluateAsync($"{Bars} + ' ' + {Lines}");
        Assert.DoesNotContain("0", before, StringComparison.Ordinal);

        await browser.EvaluateAsync("document.querySelector('#switches [data-method=\"vhost-user-4q@guest\"]').click()");
        await browser.WaitAsync($"{Drawn} && {Bars} === 0 && {Lines} === 0");
        Assert.Equal("false", await browser.EvaluateAsync("document.querySelector('#switches [data-method=\"vhost-user-4q@guest\"]').getAttribute('aria-pressed')"));

        // Its name in the legend of a chart switches it on again, in all charts.
        await browser.EvaluateAsync("document.querySelector('#w0-latency').scrollIntoView({ block: 'center' })");
        string[] at = (await browser.EvaluateAsync("""
            (() => {
              const r = [...document.querySelectorAll('#w0-latency text')].find(t => t.textContent === 'vhost-user, 4 queues').getBoundingClientRect();
              return (r.left + r.width / 2) + ' ' + (r.top + r.height / 2);
            })()
            """)).Split(' ');
        await browser.ClickAsync(double.Parse(at[0], CultureInfo.InvariantCulture), double.Parse(at[1], CultureInfo.InvariantCulture));
        await browser.WaitAsync($"{Drawn} && ({Bars} + ' ' + {Lines}) === '{before}'");

        // Without any method nothing breaks, and one button brings all back.
        await browser.EvaluateAsync("document.querySelectorAll('#switches [data-method]').forEach(b => b.click())");
        await browser.WaitAsync($"{Drawn} && {Bars} === 0 && {Lines} === 0");
        await browser.EvaluateAsync("document.querySelector('#switches .all').click()");
        await browser.WaitAsync($"{Drawn} && ({Bars} + ' ' + {Lines}) === '{before}'");
        AssertNoComplaints(browser);
    }

    [Fact]
    public async Task A_chart_is_saved_as_a_file_of_its_own()
    {
        string folder = Path.Combine(TestPaths.Artifacts, "saved");
        if (Directory.Exists(folder))
            Directory.Delete(folder, recursive: true);
        Directory.CreateDirectory(folder);
        string path = await PageAsync("report-save.html", ExampleComparison.Make());
        await using Chromium browser = await Chromium.StartAsync();
        await browser.OpenAsync(path, Phone, 844, isDark: false);
        await browser.WaitAsync(Drawn);
        await browser.DownloadToAsync(folder);
        await browser.EvaluateAsync("['w1-result', 'w1-latency', 'overview-chart'].forEach(id => document.querySelector('#' + id).parentElement.querySelector('.save').click())");
        for (int i = 0; i < 200 && Directory.GetFiles(folder, "*.svg").Length < 3; i++)
            await Task.Delay(50);
        string[] files = Directory.GetFiles(folder, "*.svg");
        Assert.Equal(3, files.Length);
        foreach (string file in files)
        {
            string text = await File.ReadAllTextAsync(file);
            Assert.DoesNotContain("var(", text, StringComparison.Ordinal);
            XElement root = XElement.Parse(text);
            Assert.Contains(root.Descendants(), e => e.Name.LocalName == "text" && e.Value.Contains("is better", StringComparison.Ordinal));
            Assert.True(root.Descendants().Count(e => e.Name.LocalName == "path") > 10, file);
        }

        AssertNoComplaints(browser);
    }

    [Fact]
    public async Task A_script_that_slipped_in_is_refused()
    {
        string path = await PageAsync("report-tampered.html", ExampleComparison.Make());
        string page = await File.ReadAllTextAsync(path);
        await File.WriteAllTextAsync(path, page.Replace("<main", "<script>document.title = 'owned'</script><img src=\"http://127.0.0.1:9/\" onerror=\"document.title = 'owned'\"><main", StringComparison.Ordinal));
        await using Chromium browser = await Chromium.StartAsync();
        await browser.OpenAsync(path, Laptop, 768, isDark: false);
        await browser.WaitAsync(Drawn);
        Assert.DoesNotContain("owned", await browser.EvaluateAsync("document.title"), StringComparison.Ordinal);
        Assert.True(browser.Complaints.Count(c => c.Contains("Content Security Policy", StringComparison.Ordinal)) >= 2, string.Join('\n', browser.Complaints));
    }

    [Fact]
    public async Task Without_scripts_every_figure_is_in_the_tables()
    {
        string path = await PageAsync("report-unscripted.html", ExampleComparison.Make());
        await using Chromium browser = await Chromium.StartAsync();
        await browser.AllowScriptsAsync(false);
        await browser.OpenAsync(path, Phone, 844, isDark: false);
        await browser.ScreenshotAsync(Path.Combine(TestPaths.Artifacts, "unscripted.png"), isWholePage: false);
        Assert.Equal("0", await browser.EvaluateAsync("document.querySelectorAll('svg').length"));
        Assert.Contains("Every figure is in the tables", await browser.EvaluateAsync("document.querySelector('.unscripted').innerText"), StringComparison.Ordinal);
        Assert.Equal("0", await browser.EvaluateAsync("[...document.querySelectorAll('.chart, .switches')].filter(e => e.getClientRects().length > 0).length"));

        // Folded tables are unfolded by the browser itself.
        await browser.EvaluateAsync("document.querySelectorAll('details').forEach(d => d.open = true)");
        string text = await browser.EvaluateAsync("[...document.querySelectorAll('table')].map(t => t.innerText).join('\\n')");
        foreach (ComparedRow row in ComparedRow.From(ExampleComparison.Make()))
        {
            Assert.Contains(Figures.Number(row.Iops.Median / 1e3), text, StringComparison.Ordinal);
            Assert.Contains($"{Figures.Number(row.Iops.Minimum / 1e3)}–{Figures.Number(row.Iops.Maximum / 1e3)}", text, StringComparison.Ordinal);
            Assert.Contains(Figures.Number(row.P9999Ns!.Value.Median / 1e3), text, StringComparison.Ordinal);
        }
    }

    private static async Task<string> PageAsync(string name, Comparison comparison)
    {
        string path = Path.Combine(TestPaths.Artifacts, name);
        await File.WriteAllTextAsync(path, HtmlReport.Render(comparison, Purpose.Vm));
        return path;
    }

    /// <summary>Puts the mouse on a row (or, of lines, in the middle) of a chart and returns what its tooltip says.</summary>
    private static async Task<string> HoverAsync(Chromium browser, string chart, int row = 1)
    {
        string[] at = (await browser.EvaluateAsync($$"""
            (() => {
              const box = document.getElementById('{{chart}}');
              const bars = [...box.querySelectorAll('path')].filter(p => /^var\(--(m\d|bare|peer|unsound|target|load)\)$/.test(p.getAttribute('fill')) && p.getBoundingClientRect().height > 12);
              const bar = bars[{{row}}];
              (bar ?? box).scrollIntoView({ block: 'center', behavior: 'instant' });
              const r = (bar ?? box).getBoundingClientRect();
              return bar ? (r.left + 3) + ' ' + (r.top + r.height / 2) : (r.left + r.width / 2) + ' ' + (r.top + 100);
            })()
            """)).Split(' ');
        (double x, double y) = (double.Parse(at[0], CultureInfo.InvariantCulture), double.Parse(at[1], CultureInfo.InvariantCulture));
        string tip = string.Empty;
        for (int i = 0; i < 100 && tip.Length == 0; i++)
        {
            // A browser that is still scrolling does not know what is under the mouse.
            await browser.MoveMouseAsync(x, y - (i % 2));
            await Task.Delay(50);
            tip = await browser.EvaluateAsync($"document.querySelector('#{chart} .tip')?.textContent");
        }

        return tip;
    }

    private static async Task CheckAsync(Chromium browser, string name, int width, bool isDark)
    {
        Assert.Equal(width.ToString(CultureInfo.InvariantCulture), await browser.EvaluateAsync("document.documentElement.clientWidth"));
        Assert.Equal(width.ToString(CultureInfo.InvariantCulture), await browser.EvaluateAsync("document.documentElement.scrollWidth"));
        Assert.Equal(isDark ? "true" : "false", await browser.EvaluateAsync("matchMedia('(prefers-color-scheme: dark)').matches"), ignoreCase: true);
        Assert.Equal(ChartsOfTheExample.ToString(CultureInfo.InvariantCulture), await browser.EvaluateAsync("document.querySelectorAll('.chart svg').length"));
        foreach ((string what, string script) in new[] { ("sticks out", PageScripts.Overflow), ("drawn", PageScripts.Undrawn), ("charts", PageScripts.BadCharts), ("contrast", PageScripts.LowContrast) })
        {
            string found = await browser.EvaluateAsync(script);
            Assert.True(found.Length == 0, $"{name}, {what}:\n{found}");
        }
    }

    private static void AssertNoComplaints(Chromium browser) => Assert.True(browser.Complaints.Count == 0, string.Join('\n', browser.Complaints));
}
