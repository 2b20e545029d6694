// The page around the charts of the report: it draws one after another with Apache ECharts (the global `echarts`), from the JSON in #chart-data,
// switches methods on and off, saves and prints. What a chart looks like is the business of chart-kinds.js.
//
// Each chart has a place in the page, <div class="chart" id="...">.
(() => {
  'use strict';

  const { ink, element } = chartTools;
  const SAVED_WIDTH = 720;
  const PRINTED_WIDTH = 640;

  const data = JSON.parse(document.getElementById('chart-data').textContent);
  const hidden = new Set(); // ids of methods that are switched off, in all charts
  const page = { methods: new Map(data.methods.map(m => [m.id, m])), hidden, toggle };

  const slots = data.charts.map(chart => ({ chart, place: document.getElementById(chart.id), off: new Set(), drawing: undefined, onLegend: undefined }));
  const waiting = new Set();
  let isScheduled = false;

  function draw(slot, width = slot.place.clientWidth) {
    const { height, option, onLegend } = chartKinds[slot.chart.kind](slot.chart, { width, top: 0, off: slot.off, isSaved: false }, page);
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
    const { height, option } = chartKinds[slot.chart.kind](slot.chart, { width: SAVED_WIDTH, top: 56, off: slot.off, isSaved: true }, page);
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
