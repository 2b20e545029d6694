// What all charts of the report have in common: figures as words, text that is measured and broken into lines, tooltips, legends, and the frame
// of charts with rows. Knows no chart and nothing of the page.
//
// Colours are the page's CSS variables by name. The drawings are SVG, so the browser puts in the colour of the moment: a page that
// turns dark, or is printed, needs no new drawing. Sizes are all computed here from measured text, so that nothing is left to chance on a
// narrow screen. Words from outside (names, errors) become text nodes or SVG text, never markup.
const chartTools = (() => {
  'use strict';

  const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, Liberation Sans, sans-serif'; // the page's, without quotes
  const SIZE = 12.5;
  const LINE = 16;
  const NARROW = 470;
  const ICON = 12; // of a legend whose names have no lines
  const MOST_LINES_OF_A_NAME = 3;

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

  return { SIZE, LINE, NARROW, ICON, ink, short, exact, tick, withSpread, widthOf, clip, element, tip, text, gridLines, axisLine, base, legend, selection, frame, annotations, rowTip };
})();
