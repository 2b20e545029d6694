namespace Polyblk.Compare.Tests;

/// <summary>Questions to a report in a browser, as JavaScript; the answer is empty when all is well.</summary>
internal static class PageScripts
{
    /// <summary>What sticks out of the window, except inside a box that scrolls by itself.</summary>
    public const string Overflow = """
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

    /// <summary>
    /// Charts in whose SVG there are not as many bars, lines and dots as their data has, or whose bars are not as long as their
    /// figures say.
    /// </summary>
    public const string Undrawn = """
        (() => {
          const out = [], data = JSON.parse(document.getElementById('chart-data').textContent);
          const colored = /^var\(--(m\d|bare|peer|unsound|target|load|muted)\)$/;
          for (const chart of data.charts) {
            const box = document.getElementById(chart.id), paths = [...box.querySelectorAll('svg path')], narrow = box.clientWidth < 470;
            const expect = (what, count, wanted) => { if (count !== wanted) out.push(chart.id + ': ' + count + ' ' + what + ' instead of ' + wanted); };
            const bars = paths.filter(p => colored.test(p.getAttribute('fill')) && Math.abs(p.getBoundingClientRect().height - (narrow ? 13 : 17)) < 0.6);
            if (chart.kind === 'bars') {
              const values = chart.parts.flatMap((_, i) => chart.bars.map(b => b.parts[i]?.median ?? 0)).filter(v => v > 0);
              expect('bars', bars.length, values.length);
              const scale = values.map((v, i) => bars[i].getBoundingClientRect().width / v), most = Math.max(...scale);
              values.forEach((v, i) => { if (Math.abs(v * most - v * scale[i]) > 2) out.push(chart.id + ': bar ' + i + ' has a wrong length'); });
              const ranges = chart.parts.length > 1 ? [] : chart.bars.filter(b => b.parts[0].highest > b.parts[0].lowest);
              expect('strokes of ranges', paths.filter(p => p.getAttribute('stroke') === 'var(--ink)').length, 3 * ranges.length);
            } else if (chart.kind === 'latencies' || chart.kind === 'depths') {
              expect('lines', paths.filter(p => p.getAttribute('fill') === 'none' && colored.test(p.getAttribute('stroke')) && p.getBoundingClientRect().width > 100).length, chart.lines.length);
            } else {
              expect('means', bars.length, chart.rows.filter(r => r.mean).length);
              expect('dots', paths.filter(p => p.getAttribute('stroke') === 'var(--card)' && p.getAttribute('fill') !== 'var(--muted)').length, chart.rows.flatMap(r => r.ratios).filter(f => f).length);
            }
            if (!box.getAttribute('aria-label')?.startsWith(chart.heading)) out.push(chart.id + ': no description');
          }
          return out.join('\n');
        })()
        """;

    /// <summary>Charts in which a text sticks out of the drawing, lies on another, or is too small.</summary>
    public const string BadCharts = """
        (() => {
          const out = [];
          for (const svg of document.querySelectorAll('.chart svg')) {
            const box = svg.getBoundingClientRect(), name = svg.closest('.chart').id, texts = [...svg.querySelectorAll('text')].filter(t => t.textContent.trim());
            if (texts.length < 4) out.push(name + ': no labels');
            const rects = texts.map(t => t.getBoundingClientRect());
            texts.forEach((t, i) => {
              const r = rects[i];
              if (parseFloat(getComputedStyle(t).fontSize) < 12) out.push(name + ': "' + t.textContent + '" is small');
              if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1) out.push(name + ': "' + t.textContent + '" is cut off');
              for (let j = 0; j < i; j++) {
                const o = rects[j];
                if (r.left < o.right - 1 && o.left < r.right - 1 && r.top < o.bottom - 2 && o.top < r.bottom - 2) out.push(name + ': "' + t.textContent + '" lies on "' + texts[j].textContent + '"');
              }
            });
          }
          return out.join('\n');
        })()
        """;

    /// <summary>Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3).</summary>
    public const string LowContrast = """
        (() => {
          const parse = c => { const m = c.match(/[\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
          const light = ([r, g, b]) => { const f = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
          const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] > 0.99) return c; } return [255, 255, 255, 1]; };
          const out = new Set();
          for (const e of document.querySelectorAll('body *')) {
            const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || e.closest('.skip, title, style, script') || !e.getClientRects().length) continue;
            const color = parse(e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color);
            const a = light(color), b = light(behind(e)), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) out.add(e.tagName + '.' + (e.getAttribute('class') ?? '') + ' "' + e.textContent.trim().slice(0, 30) + '" ' + ratio.toFixed(2));
          }
          return [...out].join('\n');
        })()
        """;

    /// <summary>The widths of the charts' drawings.</summary>
    public const string Widths = "[...document.querySelectorAll('.chart svg')].map(s => Math.round(s.getBoundingClientRect().width)).join(' ')";

    /// <summary>What is wider than the paper.</summary>
    public const string TooWideForPaper = """
        [...document.querySelectorAll('table, pre, figure')].filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
          .map(e => e.tagName + ' ' + (e.caption?.textContent ?? '') + ' ' + e.getBoundingClientRect().right).join('\n')
        """;

    /// <summary>The colours that the charts' shapes and words have now, one for each name of a colour.</summary>
    public const string Colors = """
        (() => {
          const seen = new Map();
          for (const e of document.querySelectorAll('.chart svg *')) {
            const name = e.getAttribute('fill');
            if (name?.startsWith('var(')) seen.set(name, getComputedStyle(e).fill);
          }
          return [...seen].map(([name, color]) => name + '=' + color).sort().join(';');
        })()
        """;
}
