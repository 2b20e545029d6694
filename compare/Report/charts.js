// Draws the charts of the report with Apache ECharts (the global `echarts`), from the JSON in #chart-data (ChartData.cs has its form).
//
// Each chart has a place in the page, <div class="chart" id="...">. A function for each kind of chart turns its data and the width at hand
// into a height and the options of ECharts; everything else here is the page around it: drawing one after another, switching methods
// on and off, saving, printing.
//
// Colours are the page's CSS variables by name. The drawings are SVG, so the browser puts in the colour of the moment: a page that
// turns dark, or is printed, needs no new drawing. Sizes are all computed here from measured text, so that nothing is left to chance on a
// narrow screen. Words from outside (names, errors) become text nodes or SVG text, never markup.
(() => {
  'use strict';

  const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, Liberation Sans, sans-serif'; // the page's, without quotes
  const SIZE = 12.5;
  const LINE = 16;
  const NARROW = 470;
  const ICON = 12; // of a legend whose names have no lines
  const MARKERS = ['circle', 'rect', 'triangle', 'diamond'];
  const DASHES = ['solid', 'dashed', 'dotted', [8, 3, 2, 3]];
  const PATTERNS = {
    'random read': 'circle', 'random write': 'triangle', 'random mixed': 'pin', 'sequential read': 'rect', 'sequential write': 'diamond', custom: 'roundRect',
  };
  const MOST_LINES_OF_A_NAME = 3;
  const MOST_LINES_OF_A_TIP = 14;
  const SAVED_WIDTH = 720;
  const PRINTED_WIDTH = 640;

  const data = JSON.parse(document.getElementById('chart-data').textContent);
  const methods = new Map(data.methods.map(m => [m.id, m]));
  const hidden = new Set(); // ids of methods that are switched off, in all charts
  const ink = name => `var(--${name})`;

  // ---- Figures and text -------------------------------------------------------------------------------------------------------------

  /** Three digits, as in the tables. */
  function short(value) {
    const size = Math.abs(value);
    if (size === 0) return '0';
    if (size >= 100) return value.toLocaleString('en-US', { maximumFractionDigits: 0 });
    return value.toLocaleString('en-US', size >= 1 ? { minimumSignificantDigits: 3, maximumSignificantDigits: 3 } : { maximumSignificantDigits: 3 });
  }

  const exact = value => value.toLocaleString('en-US', { maximumSignificantDigits: 6 });
  const tick = value => value.toLocaleString('en-US', { maximumFractionDigits: 4 });

  /** The median, and how far the rounds lie apart. */
  function withSpread(figure, unit) {
    const median = `${exact(figure.median)}${unit ? ` ${unit}` : ''}`;
    if (figure.rounds < 2) return median;
    const spread = figure.median > 0 ? `, spread ${Math.round(100 * (figure.highest - figure.lowest) / figure.median)}\u00a0%` : '';
    return `${median} (${exact(figure.lowest)}–${exact(figure.highest)} in ${figure.rounds} rounds${spread})`;
  }

  const canvas = document.createElement('canvas').getContext('2d');

  function widthOf(text, size = SIZE) {
    canvas.font = `${size}px ${FONT}`;
    return canvas.measureText(text).width;
  }

  /** Breaks a text into lines of a width: between words where it can, inside of a word where it must. */
  function wrap(text, width) {
    const lines = [];
    let line = '';
    for (const word of text.split(/\s+/)) {
      if (line && widthOf(`${line} ${word}`) <= width) {
        line += ` ${word}`;
        continue;
      }
      if (line) lines.push(line);
      line = word;
      while (widthOf(line) > width && line.length > 1) {
        let end = line.length - 1;
        while (end > 1 && widthOf(line.slice(0, end)) > width) end--;
        lines.push(line.slice(0, end));
        line = line.slice(end);
      }
    }
    return [...lines, line];
  }

  /** Not more lines than these; the last one says that there were more. */
  const atMost = (count, lines) => (lines.length <= count ? lines : [...lines.slice(0, count - 1), `${lines[count - 1].slice(0, -1)}…`]);

  /** A text that is no wider than a width. */
  function clip(text, width) {
    if (widthOf(text) <= width) return text;
    let end = text.length;
    while (end > 1 && widthOf(`${text.slice(0, end)}…`) > width) end--;
    return `${text.slice(0, end)}…`;
  }

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  /** What a tooltip shows: a heading, and lines of a name and a value. ECharts takes elements as they are. */
  function tip(heading, lines) {
    const box = element('div', 'tip-content');
    box.append(element('strong', '', heading));
    const table = element('table');
    for (const { name, value, color } of lines) {
      const row = element('tr'), head = element('th', '', name);
      if (color) {
        const swatch = element('span', 'swatch');
        swatch.style.setProperty('--swatch', ink(color));
        head.prepend(swatch);
      }
      row.append(head, element('td', '', value));
      table.append(row);
    }
    box.append(table);
    return box;
  }

  // ---- Options that charts share ----------------------------------------------------------------------------------------------------

  const text = (color = 'ink', size = SIZE) => ({ color: ink(color), fontSize: size, fontFamily: FONT });
  const gridLines = { show: true, lineStyle: { color: ink('grid'), width: 1 } };
  const axisLine = { show: true, lineStyle: { color: ink('line'), width: 1 } };

  /** What every chart has. `top` is where the drawing begins: below the title if one is drawn. */
  function base(chart, view, description) {
    return {
      animation: false,
      backgroundColor: 'transparent',
      textStyle: { fontFamily: FONT },
      title: {
        show: view.isSaved, text: chart.heading, subtext: chart.subject, left: 0, top: 0, padding: 0, itemGap: 6,
        textStyle: { ...text('ink', 15), fontWeight: 600 }, subtextStyle: text('muted', 13),
      },
      aria: { enabled: true, label: { description: `${chart.heading}, ${chart.subject}. ${description}` } },
      tooltip: {
        confine: true, transitionDuration: 0, padding: 10, backgroundColor: ink('card'), borderColor: ink('line'), textStyle: text('ink', 13), className: 'tip',
      },
    };
  }

  /** A legend whose names can be clicked in, and the height that it takes. Its place is set by `top`. */
  function legend(names, titles, width, selected, itemWidth = 24) {
    const between = 5, gap = 12, most = width - itemWidth - between - 4;
    const shown = new Map(names.map((name, i) => [name, clip(titles[i], most)]));
    let lines = 1, used = 0;
    for (const title of shown.values()) {
      const needed = itemWidth + between + widthOf(title) + 1;
      if (used > 0 && used + gap + needed > width - 2) {
        lines++;
        used = 0;
      }
      used += (used > 0 ? gap : 0) + needed;
    }
    return {
      height: lines * (LINE + gap),
      option: {
        type: 'plain', orient: 'horizontal', left: 0, width, padding: 0, itemGap: gap, itemWidth, itemHeight: 11, data: names, selected,
        formatter: name => shown.get(name) ?? name, textStyle: { ...text(), lineHeight: LINE }, inactiveColor: ink('line'), inactiveBorderColor: ink('line'),
        lineStyle: { inactiveColor: ink('line') },
      },
    };
  }

  const selection = (names, isOff) => Object.fromEntries(names.map(name => [name, !isOff(name)]));

  /**
   * Rows with names, figures to the right of a zero line, and a label behind each: the frame of horizontal charts. Where there is room the
   * names are a column at the left; on a narrow screen each stands above its bar.
   */
  function frame(titles, rows, view, { unit, bottom, barHeight, max }) {
    const isNarrow = view.width < NARROW;
    const column = isNarrow ? 0 : Math.min(Math.ceil(Math.max(0, ...titles.map(t => widthOf(t)))) + 1, Math.floor(view.width * 0.4));
    const lines = titles.map(t => atMost(MOST_LINES_OF_A_NAME, wrap(t, isNarrow ? view.width - 8 : column)));
    const most = Math.max(1, ...lines.map(l => l.length)), name = most * LINE;
    const row = isNarrow ? barHeight + name + 17 : Math.max(barHeight + 13, name + 8);
    const left = isNarrow ? 6 : column + 10, right = roomForLabels(rows, view.width - left);
    const below = 24 + (unit ? 20 : 0) + bottom;
    const aboveFirst = isNarrow ? Math.max(0, barHeight / 2 + 3 + name - row / 2) : 0;
    const top = view.top + 2 + aboveFirst + (max === undefined ? 0 : 18);
    return {
      height: top + Math.max(1, titles.length) * row + below,
      option: {
        grid: { left, right, top, bottom: below, outerBoundsMode: 'none' },
        yAxis: {
          type: 'category', inverse: true, data: titles.map((_, i) => String(i)), axisTick: { show: false }, axisLine, z: 4,
          axisLabel: {
            ...text(), interval: 0, lineHeight: LINE, formatter: i => lines[Number(i)].join('\n'),
            ...(isNarrow ? { inside: true, align: 'left', verticalAlign: 'bottom', margin: 0, padding: [0, 0, barHeight / 2 + 3, 0] } : { align: 'right', margin: 8 }),
          },
        },
        xAxis: {
          type: 'value', min: 0, max: rows.every(r => r.end <= max) ? max : undefined, splitNumber: Math.max(2, Math.floor((view.width - left - right) / 60)),
          name: clip(unit, view.width - left - right), nameLocation: 'middle', nameGap: 26, nameTextStyle: text('muted', 12), axisLabel: { ...text('muted', 12), formatter: tick, hideOverlap: true }, splitLine: gridLines,
        },
      },
    };
  }

  /** What must be free at the right so that the label behind each bar has its place; the axis ends at the longest bar or farther out. */
  function roomForLabels(rows, width) {
    const longest = Math.max(...rows.map(r => r.end), 0);
    const needed = rows.map(r => {
      const share = longest > 0 && !r.isAtEdge ? r.end / longest : 1, label = widthOf(r.label) + 12;
      return share > 0 ? (label - width * (1 - share)) / share : 0;
    });
    return Math.ceil(Math.min(Math.max(16, ...needed), width / 2));
  }

  /** What stands on a row besides its bar: the range of the rounds, and the label behind all of it. */
  function annotations(rows) {
    return {
      type: 'custom', name: 'range', silent: true, z: 5, data: rows.map((r, i) => [r.end, i]), encode: { x: 0, y: 1 }, tooltip: { show: false },
      renderItem(params, api) {
        const row = rows[params.dataIndex], y = api.coord([0, params.dataIndex])[1], x = value => api.coord([value, params.dataIndex])[0];
        const stroke = { stroke: ink('ink'), lineWidth: 1.5, fill: 'none' };
        const line = (x1, y1, x2, y2) => ({ type: 'line', shape: { x1, y1, x2, y2 }, style: stroke });
        const children = [{
          type: 'text', x: (row.isAtEdge ? params.coordSys.x + params.coordSys.width : x(row.end)) + 8, y, style: { text: row.label, fill: ink('ink'), font: `${SIZE}px ${FONT}`, align: 'left', verticalAlign: 'middle' },
        }];
        if (row.range) {
          const [from, to] = row.range.map(x);
          children.push(line(from, y, to, y), line(from, y - 4, from, y + 4), line(to, y - 4, to, y + 4));
        }
        return { type: 'group', children };
      },
    };
  }

  const rowTip = (option, content) => Object.assign(option.tooltip, {
    trigger: 'axis', axisPointer: { type: 'shadow', shadowStyle: { color: ink('plain-soft'), opacity: 0.6 }, z: 0 }, formatter: params => content(params[0].dataIndex),
  });

  // ---- Kinds of charts --------------------------------------------------------------------------------------------------------------

  /** Horizontal bars; those with several parts are stacked. */
  function bars(chart, view) {
    const rows = chart.bars.filter(b => !hidden.has(b.method)), isStacked = chart.parts.length > 1;
    const isOn = part => !view.off.has(part.title);
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
      data: rows.map(b => ({ value: b.parts[i]?.median || null, itemStyle: { color: ink(barInk(b, part, isStacked)) } })),
      markLine: i > 0 || !chart.mark ? undefined : {
        silent: true, symbol: 'none', data: [{ xAxis: chart.mark.value }], lineStyle: { color: ink('muted'), type: 'dashed', width: 1 },
        label: { ...text('muted', 12), formatter: () => chart.mark.title, position: 'start', distance: 4 },
      },
    }));
    option.series.push(annotations(annotated));
    rowTip(option, index => {
      const bar = rows[index], unit = chart.unit.startsWith('percent') ? '%' : chart.unit.replace(/ ?for a request/, '');
      return tip(bar.title, [
        ...chart.parts.map((part, i) => ({ name: part.title, color: barInk(bar, part, isStacked), value: bar.parts[i] ? withSpread(bar.parts[i], unit) : 'not read' })),
        ...(bar.facts ?? []), ...(bar.remark ? [{ name: 'remark', value: bar.remark }] : []),
      ]);
    });
    return { height, option };
  }

  const barInk = (bar, part, isStacked) => bar.ink ?? (isStacked ? part.ink : methods.get(bar.method)?.ink ?? part.ink);

  /** The next number of 1, 2 and 5 times a power of ten above or below a value; undefined when there is none. */
  function nice(value, direction) {
    if (!Number.isFinite(value)) return undefined;
    const power = 10 ** Math.floor(Math.log10(value)), steps = [1, 2, 5, 10].map(s => s * power);
    return direction > 0 ? steps.find(s => s >= value) : steps.findLast(s => s <= value);
  }

  /** Latency over percentiles, a line for each method. The legend switches methods, in all charts. */
  function latencies(chart, view) {
    const ids = chart.lines.map(l => l.method), isNarrow = view.width < NARROW;
    const isOn = line => !hidden.has(line.method);
    const lines = view.isSaved ? chart.lines.filter(isOn) : chart.lines;
    const names = lines.map(l => l.method), titles = names.map(n => methods.get(n).title);
    const key = legend(names, titles, view.width, selection(names, n => hidden.has(n)));
    const values = chart.lines.filter(isOn).flatMap(l => l.us).filter(f => f).map(f => f.median);
    const left = Math.ceil(Math.max(...[...values, 1].map(v => widthOf(tick(nice(v, 1)), 12)))) + 30;
    const top = view.top + 8, plot = isNarrow ? 230 : 270, below = 40 + key.height;
    const option = {
      ...base(chart, view, lines.filter(isOn).map(l => `${methods.get(l.method).title}: ${chart.percentiles.map((p, i) => (l.us[i] ? `${p} ${short(l.us[i].median)}` : '')).filter(s => s).join(', ')}`).join('; ') + '. Unit: µs.'),
      grid: { left, right: 26, top, bottom: below, outerBoundsMode: 'none' },
      legend: { ...key.option, top: top + plot + 40 },
      xAxis: { type: 'category', data: chart.percentiles, boundaryGap: false, axisLine, axisTick: { show: false }, axisLabel: { ...text(), interval: 0, margin: 10 } },
      yAxis: {
        type: 'log', min: nice(Math.min(...values, Infinity), -1), max: nice(Math.max(...values, -Infinity), 1), name: 'latency, µs', nameLocation: 'middle', nameGap: left - 18, nameTextStyle: text('muted', 12), axisLabel: { ...text('muted', 12), formatter: tick, hideOverlap: true },
        splitLine: gridLines, minorTick: { show: false },
      },
      series: lines.map(line => {
        const method = methods.get(line.method);
        return {
          type: 'line', name: line.method, emphasis: { disabled: true }, symbol: MARKERS[method.style % MARKERS.length], symbolSize: 8, showAllSymbol: true, cursor: 'default',
          lineStyle: { color: ink(method.ink), width: 2, type: DASHES[method.style % DASHES.length] }, itemStyle: { color: ink(method.ink) },
          data: line.us.map(f => (f && f.median > 0 ? f.median : null)), connectNulls: true,
        };
      }),
    };
    Object.assign(option.tooltip, {
      trigger: 'axis', axisPointer: { type: 'line', lineStyle: { color: ink('muted'), type: 'dashed' } },
      formatter: params => {
        const at = params[0].dataIndex;
        const known = lines.filter(l => isOn(l) && l.us[at]).sort((a, b) => a.us[at].median - b.us[at].median);
        const figure = f => (isNarrow ? `${exact(f.median)} µs` : withSpread(f, 'µs'));
        return tip(`${chart.percentiles[at]}, ${chart.subject}`, known.map(l => ({ name: methods.get(l.method).title, color: methods.get(l.method).ink, value: figure(l.us[at]) })));
      },
    });
    return { height: top + plot + below, option, onLegend: name => toggle(ids.includes(name) ? name : undefined) };
  }

  /** Ratios to the baseline: a bar for the mean over the workloads, a dot for each workload, its marker for the kind of workload. */
  function ratios(chart, view) {
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

  const KINDS = { bars, latencies, ratios };

  // ---- The page ---------------------------------------------------------------------------------------------------------------------

  const slots = data.charts.map(chart => ({ chart, place: document.getElementById(chart.id), off: new Set(), drawing: undefined, onLegend: undefined }));
  const waiting = new Set();
  let isScheduled = false;

  function draw(slot, width = slot.place.clientWidth) {
    const { height, option, onLegend } = KINDS[slot.chart.kind](slot.chart, { width, top: 0, off: slot.off, isSaved: false });
    slot.onLegend = onLegend;
    slot.place.style.height = `${height}px`;
    if (!slot.drawing) {
      slot.drawing = echarts.init(slot.place, null, { renderer: 'svg', width, height });
      slot.drawing.on('legendselectchanged', event => switchName(slot, event.name));
    }
    slot.drawing.resize({ width, height, silent: true });
    slot.drawing.setOption(option, { notMerge: true });
  }

  /** Draws charts one after another, and lets the browser breathe between them. */
  function schedule(some) {
    some.forEach(slot => waiting.add(slot));
    document.documentElement.dataset.charts = 'drawing';
    if (isScheduled) return;
    isScheduled = true;
    const step = () => {
      const until = performance.now() + 20;
      for (const slot of waiting) {
        waiting.delete(slot);
        draw(slot);
        if (performance.now() > until) break;
      }
      isScheduled = waiting.size > 0;
      if (isScheduled) setTimeout(step);
      else document.documentElement.dataset.charts = 'drawn';
    };
    setTimeout(step);
  }

  /** A name in a legend was clicked: a method is switched in all charts, a part of a bar in its own. */
  function switchName(slot, name) {
    if (slot.onLegend) {
      slot.onLegend(name);
    } else {
      if (!slot.off.delete(name)) slot.off.add(name);
      schedule([slot]);
    }
  }

  function toggle(id) {
    if (id === undefined) return;
    if (!hidden.delete(id)) hidden.add(id);
    showSwitches();
    schedule(slots);
  }

  const switches = document.getElementById('switches');

  function makeSwitches() {
    if (!switches) return;
    switches.append(element('span', 'switches-title', 'Methods in the charts:'));
    for (const method of data.methods) {
      const button = element('button', 'switch'), swatch = element('span', 'swatch');
      button.type = 'button';
      button.dataset.method = method.id;
      swatch.style.setProperty('--swatch', ink(method.ink));
      button.append(swatch, document.createTextNode(method.title));
      button.addEventListener('click', () => toggle(method.id));
      switches.append(button);
    }
    const all = element('button', 'switch all', 'all on');
    all.type = 'button';
    all.addEventListener('click', () => {
      hidden.clear();
      showSwitches();
      schedule(slots);
    });
    switches.append(all);
    showSwitches();
  }

  function showSwitches() {
    for (const button of switches?.querySelectorAll('[data-method]') ?? [])
      button.setAttribute('aria-pressed', String(!hidden.has(button.dataset.method)));
    const all = switches?.querySelector('.all');
    if (all) all.hidden = hidden.size === 0;
  }

  /** A chart as an SVG file of its own: with its title, without switched-off names, and with the colours of the moment in place of variables. */
  function toSvg(slot) {
    const { height, option } = KINDS[slot.chart.kind](slot.chart, { width: SAVED_WIDTH, top: 56, off: slot.off, isSaved: true });
    const drawing = echarts.init(null, null, { renderer: 'svg', ssr: true, width: SAVED_WIDTH, height });
    drawing.setOption({ ...option, backgroundColor: ink('card'), aria: { enabled: false } });
    const svg = drawing.renderToSVGString();
    drawing.dispose();
    const colors = getComputedStyle(document.documentElement);
    return svg.replace(/var\((--[\w-]+)\)/g, (_, name) => colors.getPropertyValue(name).trim());
  }

  function addSaving(slot) {
    const button = element('button', 'save', 'Save as SVG');
    button.type = 'button';
    button.setAttribute('aria-label', `Save as SVG: ${slot.chart.heading}, ${slot.chart.subject}`);
    button.addEventListener('click', () => {
      const link = element('a');
      link.download = `${slot.chart.subject} ${slot.chart.heading.replace(/\(.*\)/, '')}`.replace(/[^\w.]+/g, '-').replace(/^-|-$/g, '') + '.svg';
      link.href = URL.createObjectURL(new Blob([toSvg(slot)], { type: 'image/svg+xml' }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    });
    slot.place.parentElement.querySelector('figcaption').append(button);
  }

  document.documentElement.classList.add('scripted');
  makeSwitches();
  slots.forEach(addSaving);
  schedule(slots);

  let width = document.body.clientWidth, isPrinting = false;
  new ResizeObserver(() => {
    if (isPrinting || document.body.clientWidth === width) return;
    width = document.body.clientWidth;
    schedule(slots);
  }).observe(document.body);
  addEventListener('beforeprint', () => {
    isPrinting = true; // the page may take another width for the paper: that is no reason to draw again
    waiting.clear();
    slots.forEach(slot => draw(slot, PRINTED_WIDTH));
  });
  addEventListener('afterprint', () => {
    isPrinting = false;
    schedule(slots);
  });
})();
