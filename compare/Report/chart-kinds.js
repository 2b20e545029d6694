// The kinds of charts of the report: a function for each turns a chart's data (ChartData.cs has its form), the width at hand (view) and what the
// page has to say (the methods, those that are switched off, how one is switched) into a height and the options of ECharts.
const chartKinds = (() => {
  'use strict';

  const { SIZE, NARROW, ICON, ink, short, exact, tick, withSpread, widthOf, tip, text, gridLines, axisLine, base, legend, selection, frame, annotations, rowTip } = chartTools;
  const MARKERS = ['circle', 'rect', 'triangle', 'diamond'];
  const DASHES = ['solid', 'dashed', 'dotted', [8, 3, 2, 3]];
  const PATTERNS = {
    'random read': 'circle', 'random write': 'triangle', 'sequential read': 'rect', 'sequential write': 'diamond', custom: 'roundRect',
  };
  const MOST_LINES_OF_A_TIP = 14;

  /** Horizontal bars; those with several parts are stacked. */
  function bars(chart, view, { methods, hidden }) {
    const rows = chart.bars.filter(b => !hidden.has(b.method)), isStacked = chart.parts.length > 1;
    const isOn = part => !view.off.has(part.title);
    const barInk = (bar, part) => bar.ink ?? (isStacked ? part.ink : methods.get(bar.method)?.ink ?? part.ink);
    const annotated = rows.map(bar => {
      const sum = chart.parts.reduce((total, part, i) => total + (isOn(part) ? bar.parts[i]?.median ?? 0 : 0), 0);
      const only = isStacked ? undefined : bar.parts[0];
      return {
        label: short(sum) + (bar.remark ? ` (${bar.remark})` : ''),
        end: Math.max(sum, only?.highest ?? 0, chart.mark && sum <= chart.mark.value ? chart.mark.value : 0),
        range: only && only.highest > only.lowest ? [only.lowest, only.highest] : undefined,
      };
    });
    const names = chart.parts.map(p => p.title);
    const key = isStacked ? legend(names, names, view.width, selection(names, n => view.off.has(n)), ICON) : undefined;
    const barHeight = view.width < NARROW ? 13 : 17;
    const { height, option } = frame(rows.map(b => b.title), annotated, view, {
      unit: chart.unit, barHeight, bottom: key ? key.height + 8 : 0, max: chart.mark?.value,
    });
    Object.assign(option, base(chart, view, `${rows.map((b, i) => `${b.title}: ${annotated[i].label}`).join('; ')}. Unit: ${chart.unit}.`));
    if (key) option.legend = { ...key.option, top: height - key.height };
    option.series = chart.parts.map((part, i) => ({
      type: 'bar', name: part.title, stack: isStacked ? 'all' : undefined, barWidth: barHeight, cursor: 'default', emphasis: { disabled: true }, itemStyle: { color: ink(part.ink) },
      data: rows.map(b => ({ value: b.parts[i]?.median || null, itemStyle: { color: ink(barInk(b, part)) } })),
      markLine: i > 0 || !chart.mark ? undefined : {
        silent: true, symbol: 'none', data: [{ xAxis: chart.mark.value }], lineStyle: { color: ink('muted'), type: 'dashed', width: 1 },
        label: { ...text('muted', 12), formatter: () => chart.mark.title, position: 'start', distance: 4 },
      },
    }));
    option.series.push(annotations(annotated));
    rowTip(option, index => {
      const bar = rows[index], unit = chart.unit.startsWith('percent') ? '%' : chart.unit.replace(/ ?for a request/, '');
      return tip(bar.title, [
        ...chart.parts.map((part, i) => ({ name: part.title, color: barInk(bar, part), value: bar.parts[i] ? withSpread(bar.parts[i], unit) : 'not read' })),
        ...(bar.facts ?? []), ...(bar.remark ? [{ name: 'remark', value: bar.remark }] : []),
      ]);
    });
    return { height, option };
  }

  /** The next number of 1, 2 and 5 times a power of ten above or below a value; undefined when there is none. */
  function nice(value, direction) {
    if (!Number.isFinite(value)) return undefined;
    const power = 10 ** Math.floor(Math.log10(value)), steps = [1, 2, 5, 10].map(s => s * power);
    return direction > 0 ? steps.find(s => s >= value) : steps.findLast(s => s <= value);
  }

  /**
   * Lines over categories, one for each method, with a legend that switches methods in all charts. `values` has a figure or null for each
   * category of each line.
   */
  function lines(chart, view, page, { categories, unit, yAxis, below: belowAxis, headingOf, isMoreBetter }) {
    const { methods, hidden } = page;
    const isNarrow = view.width < NARROW, isOn = line => !hidden.has(line.method);
    const shown = view.isSaved ? chart.lines.filter(isOn) : chart.lines;
    const names = shown.map(l => l.method), titles = names.map(n => methods.get(n).title);
    const key = legend(names, titles, view.width, selection(names, n => hidden.has(n)));
    const axis = yAxis(chart.lines.filter(isOn).flatMap(l => l.figures).filter(f => f).map(f => f.median));
    const left = Math.ceil(Math.max(...[axis.max ?? 1, axis.min ?? 1].map(v => widthOf(tick(v), 12)))) + 30;
    const top = view.top + 8, plot = isNarrow ? 230 : 270, room = 40 + (belowAxis ? 20 : 0), below = room + key.height;
    const described = shown.filter(isOn).map(l => `${methods.get(l.method).title}: ${categories.map((c, i) => (l.figures[i] ? `${c} ${short(l.figures[i].median)}` : '')).filter(s => s).join(', ')}`);
    const option = {
      ...base(chart, view, `${described.join('; ')}. Unit: ${unit}.`),
      grid: { left, right: 26, top, bottom: below, outerBoundsMode: 'none' },
      legend: { ...key.option, top: top + plot + room },
      xAxis: {
        type: 'category', data: categories, boundaryGap: false, axisLine, axisTick: { show: false }, axisLabel: { ...text(), interval: 0, margin: 10 },
        name: belowAxis, nameLocation: 'middle', nameGap: 30, nameTextStyle: text('muted', 12),
      },
      yAxis: {
        ...axis, nameLocation: 'middle', nameGap: left - 18, nameTextStyle: text('muted', 12), axisLabel: { ...text('muted', 12), formatter: tick, hideOverlap: true },
        splitLine: gridLines, minorTick: { show: false },
      },
      series: shown.map(line => {
        const method = methods.get(line.method);
        return {
          type: 'line', name: line.method, emphasis: { disabled: true }, symbol: MARKERS[method.style % MARKERS.length], symbolSize: 8, showAllSymbol: true, cursor: 'default',
          lineStyle: { color: ink(method.ink), width: 2, type: DASHES[method.style % DASHES.length] }, itemStyle: { color: ink(method.ink) },
          data: line.figures.map(f => (f && f.median > 0 ? f.median : null)), connectNulls: true,
        };
      }),
    };
    Object.assign(option.tooltip, {
      trigger: 'axis', axisPointer: { type: 'line', lineStyle: { color: ink('muted'), type: 'dashed' } },
      formatter: params => {
        const at = params[0].dataIndex, order = isMoreBetter ? -1 : 1;
        const known = shown.filter(l => isOn(l) && l.figures[at]).sort((a, b) => order * (a.figures[at].median - b.figures[at].median));
        const figure = f => (isNarrow ? `${exact(f.median)} ${unit}` : withSpread(f, unit));
        return tip(`${headingOf(categories[at])}, ${chart.subject}`, known.map(l => ({ name: methods.get(l.method).title, color: methods.get(l.method).ink, value: figure(l.figures[at]) })));
      },
    });
    return { height: top + plot + below, option, onLegend: name => page.toggle(names.includes(name) ? name : undefined) };
  }

  /** Latency over percentiles, on a logarithmic scale. */
  function latencies(chart, view, page) {
    return lines(chart, view, page, {
      categories: chart.percentiles, unit: 'µs', headingOf: percentile => percentile, isMoreBetter: false,
      yAxis: values => ({ type: 'log', min: nice(Math.min(...values, Infinity), -1), max: nice(Math.max(...values, -Infinity), 1), name: 'latency, µs' }),
    });
  }

  /** The result over the depth of the queue, from zero. */
  function depths(chart, view, page) {
    return lines(chart, view, page, {
      categories: chart.depths.map(String), unit: chart.unit, below: 'requests in flight of each job', headingOf: depth => `QD ${depth}`, isMoreBetter: true,
      yAxis: values => ({ type: 'value', min: 0, max: nice(Math.max(...values, -Infinity), 1), name: chart.unit }),
    });
  }

  /** Ratios to the baseline: a bar for the mean over the workloads, a dot for each workload, its marker for the kind of workload. */
  function ratios(chart, view, { methods, hidden }) {
    const rows = chart.rows.filter(r => !hidden.has(r.method)), title = row => methods.get(row.method).title;
    const patterns = [...new Set(chart.workloads.map(w => w.pattern))], mean = 'geometric mean, the figure at the right';
    const names = [mean, ...patterns], key = legend(names, names, view.width, selection(names, n => view.off.has(n)), ICON);
    const color = row => (row.remark ? 'unsound' : methods.get(row.method).ink);
    const annotated = rows.map(row => ({
      label: row.mean === undefined ? '–' : row.mean.toFixed(2), end: Math.max(row.mean ?? 0, ...row.ratios.map(f => f?.median ?? 0)), isAtEdge: true,
    }));
    const barHeight = view.width < NARROW ? 13 : 17;
    const { height, option } = frame(rows.map(r => title(r) + (r.remark ? ` (${r.remark})` : '')), annotated, view, { unit: chart.subject, barHeight, bottom: key.height + 8, max: 1 });
    Object.assign(option, base(chart, view, rows.map((r, i) => `${title(r)}: ${annotated[i].label}`).join('; ') + '. Geometric means over the workloads.'));
    option.legend = { ...key.option, top: height - key.height };
    option.series = [
      {
        type: 'bar', name: mean, barWidth: barHeight, cursor: 'default', emphasis: { disabled: true }, itemStyle: { color: ink('muted'), opacity: 0.45 },
        data: rows.map(r => ({ value: r.mean ?? null, itemStyle: { color: ink(color(r)), opacity: 0.45 } })),
        markLine: {
          silent: true, symbol: 'none', data: [{ xAxis: 1 }], lineStyle: { color: ink('muted'), type: 'dashed', width: 1 },
          label: { ...text('muted', 12), formatter: () => 'baseline', position: 'start', distance: 4 },
        },
      },
      ...patterns.map(pattern => ({
        type: 'scatter', name: pattern, symbol: PATTERNS[pattern], symbolSize: 10, cursor: 'default', emphasis: { disabled: true }, itemStyle: { color: ink('muted'), borderColor: ink('card'), borderWidth: 1 },
        z: 4,
        data: rows.flatMap((row, y) => row.ratios.flatMap((f, w) => (f && chart.workloads[w].pattern === pattern
          ? [{ value: [f.median, y], itemStyle: { color: ink(color(row)), borderColor: ink('card'), borderWidth: 1 } }] : []))),
      })),
      annotations(annotated),
    ];
    rowTip(option, index => tipOfRatios(chart, rows[index], title(rows[index])));
    option.tooltip.formatter = params => tipOfRatios(chart, rows[Number(params[0].axisValue)], title(rows[Number(params[0].axisValue)]));
    return { height, option };
  }

  function tipOfRatios(chart, row, title) {
    const known = chart.workloads.map((w, i) => ({ name: w.title, figure: row.ratios[i] })).filter(w => w.figure);
    const lines = known.slice(0, MOST_LINES_OF_A_TIP).map(w => ({
      name: w.name, value: `${w.figure.median.toFixed(2)}${w.figure.rounds > 1 ? ` (${w.figure.lowest.toFixed(2)}–${w.figure.highest.toFixed(2)} in ${w.figure.rounds} rounds)` : ''}`,
    }));
    if (known.length > lines.length) lines.push({ name: `${known.length - lines.length} more`, value: 'in the table below' });
    if (row.mean !== undefined) lines.unshift({ name: 'geometric mean', value: row.mean.toFixed(3) });
    if (row.remark) lines.push({ name: 'remark', value: row.remark });
    return tip(title, lines);
  }

  return { bars, latencies, depths, ratios };
})();
