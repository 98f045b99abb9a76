import * as Plot from '@observablehq/plot';
import type { RunReport } from '@q/pipeline';
import { parseHTML } from 'linkedom';

const { document } = parseHTML('<!doctype html><html><body></body></html>');

/** Colours come from the page's custom properties, so that one SVG serves light and dark. */
const own = 'var(--accent)';
const other = 'var(--muted-mark)';

/** A plot as SVG text, in the page's own colours and type. */
export function svgOf(options: Plot.PlotOptions): string {
  const plot = Plot.plot({
    document: document as unknown as Document,
    style: { background: 'transparent', color: 'inherit', fontFamily: 'inherit', fontSize: '12px' },
    ...options,
  } as Plot.PlotOptions);
  return (plot as unknown as { outerHTML: string }).outerHTML;
}

const floor = 1e-9;

/** 1, 2 and 5 times the powers of ten in `[low, high]`; over more than two decades only the powers. */
function logTicks(low: number, high: number): number[] {
  const from = Math.floor(Math.log10(low));
  const to = Math.ceil(Math.log10(high));
  const steps = to - from > 3 ? [1] : [1, 2, 5];
  const ticks = Array.from({ length: to - from + 1 }, (_, i) => steps.map((step) => step * 10 ** (from + i))).flat();
  return ticks.filter((tick) => tick >= low && tick <= high);
}

/** Relative error of each module, of the method and of round-to-nearest, on a log axis. */
export function errorPlot({ layers }: RunReport): string {
  const names = layers.map(({ module }) => module);
  const points = layers.flatMap(({ module, error, rtnError }) => [
    { module, error: Math.max(floor, rtnError), method: 'rtn' },
    { module, error: Math.max(floor, error), method: 'own' },
  ]);
  const seen = layers.some(({ tokens }) => tokens > 0);
  const label = seen ? 'relative error on the calibration inputs' : 'relative error of the weights';
  const errors = points.map(({ error }) => error);
  return svgOf({
    width: 920,
    height: 60 + 20 * layers.length,
    marginTop: 8,
    marginBottom: 52,
    marginLeft: Math.min(320, 12 + 7 * Math.max(...names.map((name) => name.length))),
    marginRight: 24,
    x: {
      type: 'log',
      label,
      labelAnchor: 'center',
      labelOffset: 44,
      inset: 12,
      grid: true,
      ticks: logTicks(Math.min(...errors) / 1.1, Math.max(...errors) * 1.1),
      tickFormat: (x: number) => x.toExponential(0),
    },
    y: { domain: names, label: null, tickSize: 0 },
    marks: [
      Plot.ruleY(layers, {
        y: 'module',
        x1: (row) => Math.max(floor, row.error),
        x2: (row) => Math.max(floor, row.rtnError),
        stroke: other,
        strokeOpacity: 0.5,
      }),
      Plot.dot(points, {
        y: 'module',
        x: 'error',
        r: 4.5,
        fill: (point: { method: string }) => (point.method === 'own' ? own : 'var(--background)'),
        stroke: (point: { method: string }) => (point.method === 'own' ? own : other),
        strokeWidth: 1.5,
      }),
    ],
  } as Plot.PlotOptions);
}

/** Bars with their values, beginning at zero. */
export function barPlot(
  bars: readonly { readonly label: string; readonly value: number; readonly text: string }[],
): string {
  return svgOf({
    width: 300,
    height: 8 + 34 * bars.length,
    marginTop: 4,
    marginBottom: 4,
    marginLeft: 52,
    marginRight: 80,
    x: {
      domain: [0, Math.max(...bars.map(({ value }) => value)) || 1],
      axis: null,
    },
    y: { domain: bars.map(({ label }) => label), label: null, tickSize: 0 },
    marks: [
      Plot.barX(bars, {
        y: 'label',
        x: 'value',
        fill: (bar: { label: string }) => (bar.label === 'before' ? other : own),
        insetTop: 4,
        insetBottom: 4,
        rx: 2,
      }),
      Plot.text(bars, { y: 'label', x: 'value', text: 'text', textAnchor: 'start', dx: 6, fill: 'currentColor' }),
    ],
  } as Plot.PlotOptions);
}
