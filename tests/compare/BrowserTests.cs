using System.Globalization;
using Polyblk.Compare.Report;
using Polyblk.Compare.Verdict;

namespace Polyblk.Compare.Tests;

/// <summary>The page in a real browser. The screenshots stay in artifacts/compare-report.</summary>
public sealed class BrowserTests
{
    private const int Laptop = 1366;
    private const int Phone = 390;

    // What sticks out of the window, except inside a box that scrolls by itself.
    private const string Overflow = """
        (() => {
          const width = document.documentElement.clientWidth, out = [];
          for (const e of document.querySelectorAll('body *')) {
            if (e.closest('.box, .links, svg, .skip')?.contains(e) && !e.matches('.box, .links')) continue;
            const r = e.getBoundingClientRect();
            if (r.width > 0 && (r.right > width + 0.5 || r.left < -0.5)) out.push(e.tagName + '.' + e.className + ' ' + r.left + '-' + r.right);
          }
          return out.join('; ');
        })()
        """;

    // Charts in which a text sticks out of the drawing, or in which nothing is drawn.
    private const string BadCharts = """
        (() => {
          const out = [];
          for (const svg of document.querySelectorAll('svg.chart')) {
            const box = svg.getBoundingClientRect(), name = svg.querySelector('title').textContent;
            const shapes = [...svg.querySelectorAll('rect, polyline, path')].filter(e => !e.closest('clipPath') && e.getBoundingClientRect().width > 2);
            if (box.width < 300 || shapes.length < 2) out.push(name + ': nothing drawn');
            if (svg.querySelectorAll('text').length < 4) out.push(name + ': no labels');
            for (const t of svg.querySelectorAll('text')) {
              const r = t.getBoundingClientRect();
              const clip = t.closest('g[clip-path]')?.getAttribute('clip-path').match(/#([^)]*)/)[1], edge = clip && svg.querySelector('#' + clip + ' rect');
              if (edge && r.right > box.left + (+edge.getAttribute('x') + +edge.getAttribute('width')) * box.width / svg.viewBox.baseVal.width + 0.5) out.push(name + ': "' + t.textContent + '" is clipped');
              if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1) out.push(name + ': "' + t.textContent + '" is cut off');
            }
          }
          return out.join('\n');
        })()
        """;

    // Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3).
    private const string LowContrast = """
        (() => {
          const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
          const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
          const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c; } return [255, 255, 255, 1]; };
          const out = new Set();
          for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || e.closest('.skip, title, style') || !e.getClientRects().length) continue;
            const color = parse(e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color);
            const a = light(color), b = light(behind(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) out.add(e.tagName + '.' + (e.getAttribute('class') ?? '') + ' "' + e.textContent.trim().slice(0, 30) + '" ' + ratio.toFixed(2));
          }
          return [...out].join('\n');
        })()
        """;

    [Fact]
    public async Task The_page_is_whole_in_light_and_dark_on_a_laptop_and_on_a_phone()
    {
        string path = Path.Combine(TestPaths.Artifacts, "report.html");
        await File.WriteAllTextAsync(path, HtmlReport.Render(ExampleComparison.Make(), Purpose.Vm));
        await using Chromium browser = await Chromium.StartAsync();
        foreach ((int width, int height) in new[] { (Laptop, 768), (Phone, 844) })
        {
            foreach (bool isDark in new[] { false, true })
            {
                string name = $"{(isDark ? "dark" : "light")}-{width}x{height}";
                await browser.OpenAsync(path, width, height, isDark);
                await browser.ScreenshotAsync(Path.Combine(TestPaths.Artifacts, $"{name}.png"), isWholePage: false);
                await browser.ScreenshotAsync(Path.Combine(TestPaths.Artifacts, $"{name}-whole.png"), isWholePage: true);
                await CheckAsync(browser, name, width, isDark);

                // Everything that is folded must hold to the same.
                await browser.EvaluateAsync("document.querySelectorAll('details').forEach(d => d.open = true)");
                await CheckAsync(browser, $"{name}, unfolded", width, isDark);
            }
        }

        await browser.PrintAsync(Path.Combine(TestPaths.Artifacts, "report.pdf"));
        Assert.True(browser.Complaints.Count == 0, string.Join('\n', browser.Complaints));
    }

    private static async Task CheckAsync(Chromium browser, string name, int width, bool isDark)
    {
        Assert.Equal(width.ToString(CultureInfo.InvariantCulture), await browser.EvaluateAsync("document.documentElement.clientWidth"));
        Assert.Equal(width.ToString(CultureInfo.InvariantCulture), await browser.EvaluateAsync("document.documentElement.scrollWidth"));
        Assert.Equal(isDark ? "true" : "false", await browser.EvaluateAsync("matchMedia('(prefers-color-scheme: dark)').matches"), ignoreCase: true);
        Assert.Equal("25", await browser.EvaluateAsync("document.querySelectorAll('svg.chart').length"));
        foreach ((string what, string script) in new[] { ("sticks out", Overflow), ("charts", BadCharts), ("contrast", LowContrast) })
        {
            string found = await browser.EvaluateAsync(script);
            Assert.True(found.Length == 0, $"{name}, {what}:\n{found}");
        }
    }
}
