import * as Plot from '@observablehq/plot';
import type { RunReport } from '@q/pipeline';
import { parseHTML } from 'linkedom';

const { document } = parseHTML('<!doctype html><html><body></body></html>');

/** Colours come from the page's custom properties, so that one SVG serves light and dark. */
const own = 'var(--accent)';
const other = 'var(--muted-mark)';

function svg(options: Plot.PlotOptions): string {
  const plot = Plot.plot({
    document: document as unknown as Document,
    style: { background: 'transparent', color: 'inherit', fontFamily: 'inherit', fontSize: '12px' },
    ...options,
  } as Plot.PlotOptions);
  return (plot as unknown as { outerHTML: string }).outerHTML;
}

/** Relative error of each layer, the method's beside round-to-nearest's, on a log axis. */
export function layerErrorPlot({ layers }: RunReport): string {
  const floor = 1e-9;
  const names = layers.map(({ module }) => module);
  const points = layers.flatMap(({ module, error, rtnError }) => [
    { module, error: Math.max(floor, rtnError), method: 'rtn' },
    { module, error: Math.max(floor, error), method: 'own' },
  ]);
  return svg({
    width: 860,
    height: 40 + 20 * layers.length,
    marginLeft: Math.min(320, 12 + 7 * Math.max(...names.map((name) => name.length))),
    marginRight: 24,
    x: {
      type: 'log',
      label: 'relative error on the calibration inputs',
      grid: true,
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

/** Two bars with their values. */
export function barPlot(
  bars: readonly { readonly label: string; readonly value: number; readonly text: string }[],
  axis: string,
): string {
  return svg({
    width: 400,
    height: 34 + 44 * bars.length,
    marginLeft: 90,
    marginRight: 90,
    x: {
      label: axis,
      grid: false,
      domain: [0, Math.max(...bars.map(({ value }) => value)) || 1],
      ticks: 3,
      axis: null,
    },
    y: { domain: bars.map(({ label }) => label), label: null, tickSize: 0 },
    marks: [
      Plot.barX(bars, {
        y: 'label',
        x: 'value',
        fill: (bar: { label: string }) => (bar.label === 'before' ? other : own),
        insetTop: 6,
        insetBottom: 6,
        rx: 2,
      }),
      Plot.text(bars, { y: 'label', x: 'value', text: 'text', textAnchor: 'start', dx: 6, fill: 'currentColor' }),
    ],
  } as Plot.PlotOptions);
}
