import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { Comparison } from './benchmark.js';
import { growthPower } from './growth.js';
import type { Measurement } from './measure.js';

const width = 390;
const height = 332;
const colors = ['#1a56c4', '#9aa0a6', '#12805c', '#f29900'];

/** The measured growth: a point for each size. */
interface Line {
  readonly name: string;
  readonly points: readonly { readonly size: number; readonly milliseconds: number }[];
}

/**
 * Time over size on doubly logarithmic axes, in one self-contained SVG, with a panel for each quantity and a line for
 * each comparison that grows with it. A line's name ends with its power.
 */
export function growthPlot(measured: readonly (Comparison & { readonly rows: readonly Measurement[] })[]): string {
  const panels = new Map<string, Line[]>();
  for (const { title, growth, rows } of measured) {
    if (!growth) continue;
    const power = growthPower(
      growth.sizes,
      rows.map(({ milliseconds }) => milliseconds),
    );
    const points = rows.map(({ milliseconds }, i) => ({ size: growth.sizes[i], milliseconds }));
    const named = Number.isNaN(power) ? title : `${title}: power ${power.toFixed(2)}`;
    panels.set(growth.quantity, [...(panels.get(growth.quantity) ?? []), { name: named, points }]);
  }
  const drawn = [...panels].map(([quantity, lines], i) => panel(quantity, lines, i * width));
  const total = width * Math.max(1, panels.size);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${total}" height="${height}" viewBox="0 0 ${total} ${height}"><rect width="100%" height="100%" fill="white"/>${drawn.join('')}</svg>\n`;
}

function panel(quantity: string, lines: readonly Line[], x: number): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const sizes = [...new Set(lines.flatMap(({ points }) => points.map(({ size }) => size)))];
  const color = (at: number) => colors[at % colors.length];
  const figure = Plot.plot({
    document: document as unknown as Document,
    width,
    height,
    marginLeft: 60,
    // The label of the axis is at the very top, above the legend.
    marginTop: 42 + 18 * lines.length,
    marginBottom: 42,
    className: 'growth',
    style: { background: 'white', fontFamily: 'system-ui, sans-serif', fontSize: '12px' },
    x: { type: 'log', label: `${quantity} →`, labelAnchor: 'right', ticks: sizes, tickFormat: 'd', inset: 12 },
    y: { type: 'log', label: '↑ milliseconds', tickFormat: '~s', ticks: 5, inset: 12 },
    marks: [
      Plot.gridX(sizes, { stroke: '#eceff1', strokeOpacity: 1 }),
      Plot.gridY({ stroke: '#eceff1', strokeOpacity: 1, ticks: 5 }),
      Plot.frame({ stroke: '#cfd8dc' }),
      ...lines.flatMap(({ points }, i) => [
        Plot.line(points, { x: 'size', y: 'milliseconds', stroke: color(i), strokeWidth: 1.75 }),
        Plot.dot(points, { x: 'size', y: 'milliseconds', fill: color(i), stroke: 'white', r: 4 }),
      ]),
    ],
  } as Plot.PlotOptions);
  const legend = lines.map(
    ({ name }, i) =>
      `<g transform="translate(${x + 60},${28 + 18 * i})"><circle r="4.5" fill="${color(i)}"/><text x="10" dy="0.35em" font-family="system-ui, sans-serif" font-size="12" fill="#202124">${escapeText(name)}</text></g>`,
  );
  const { outerHTML } = figure as unknown as { outerHTML: string };
  return `${outerHTML.replace('<svg ', `<svg x="${x}" `)}${legend.join('')}`;
}

const escapeText = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
