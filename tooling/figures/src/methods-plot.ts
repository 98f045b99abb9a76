import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { MeasuredRun } from './measure-recipe.js';
import type { PeerLine } from './peers.js';

export interface MethodLine extends Omit<MeasuredRun, 'figures'> {
  readonly model: string;
  readonly bits: number;
  /** -1: one scale per output channel. */
  readonly group: number;
  readonly method: string;
}

const width = 1180;
/** Colours from the baseline (grey) to the best method. Other names get the remaining colours. */
const colors: Readonly<Record<string, string>> = {
  rtn: '#9aa0a6',
  'rtn, search': '#5f6368',
  hqq: '#c58af9',
  awq: '#f29900',
  'gptq, paper': '#7baaf7',
  gptq: '#1a56c4',
  'rotate, gptq': '#12805c',
  'gptq, budget': '#d93025',
};
const others = ['#a142f4', '#e8710a', '#129eaf', '#80868b'];
const peerNames: Readonly<Record<string, string>> = { 'gptq-act-order': 'act-order reference', autoround: 'AutoRound' };

/** Budgets of one method are one line. */
const series = (method: string) => method.replace(/, budget .*$/, ', budget');
const row = (group: number) => (group === -1 ? 'per channel' : 'in groups');

/**
 * KL over bits per weight in one self-contained SVG, with a column for each model, a row for grids per channel and one
 * for groups. Peers are marks without a line, at the bits per weight of the same bits and group in this toolkit.
 */
export function methodsPlot(lines: readonly MethodLine[], peers: readonly PeerLine[] = []): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const own = lines.map((line) => ({ ...line, series: series(line.method), row: row(line.group) }));
  const names = [...new Set(own.map((line) => line.series))].sort((a, b) => rank(a) - rank(b));
  const color = new Map(names.map((name, i) => [name, colors[name] ?? others[i % others.length]]));
  const marks = peers.flatMap(({ model, method, bits, group, kl }) => {
    const same = lines.find((line) => line.model === model && line.bits === bits && line.group === group);
    return same && peerNames[method]
      ? [{ model, row: row(group), kl, bitsPerWeight: same.bitsPerWeight, name: peerNames[method] }]
      : [];
  });
  const rows = ['per channel', 'in groups'].filter((name) => own.some((line) => line.row === name));
  const facet = { x: 'bitsPerWeight', y: 'kl', fx: 'model', fy: 'row' } as const;
  const figure = Plot.plot({
    document: document as unknown as Document,
    width,
    height: 90 + 290 * Math.max(1, rows.length),
    marginLeft: 64,
    marginRight: 84,
    marginTop: 74,
    marginBottom: 44,
    style: { background: 'white', fontFamily: 'system-ui, sans-serif', fontSize: '12px' },
    x: { label: 'bits per weight, scales and zero points included →', labelAnchor: 'right', nice: true, inset: 8 },
    y: { label: '↑ KL to the original, nats per token', type: 'log', tickFormat: '~g', inset: 8 },
    fx: { label: null, padding: 0.08 },
    fy: { label: null, domain: rows, padding: 0.08 },
    marks: [
      Plot.gridX({ stroke: '#eceff1', strokeOpacity: 1 }),
      Plot.gridY({ stroke: '#eceff1', strokeOpacity: 1 }),
      Plot.frame({ stroke: '#cfd8dc' }),
      Plot.line(own, {
        ...facet,
        z: 'series',
        stroke: (line: { series: string }) => color.get(line.series),
        strokeWidth: 1.75,
        sort: 'bitsPerWeight',
      }),
      Plot.dot(own, { ...facet, fill: (line: { series: string }) => color.get(line.series), stroke: 'white', r: 4 }),
      Plot.dot(marks, {
        ...facet,
        symbol: ({ name }: { name: string }) => peerSymbol(name),
        stroke: '#202124',
        strokeWidth: 1.5,
        r: 4,
      }),
    ],
    symbol: { legend: false },
  } as Plot.PlotOptions);
  const peerLegend = [...new Set(marks.map(({ name }) => name))];
  return (figure as unknown as { outerHTML: string }).outerHTML
    .replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ')
    .replace(/<\/svg>\s*$/, `${legend(names, color, peerLegend)}</svg>`);
}

const rank = (name: string) => {
  const at = Object.keys(colors).indexOf(name);
  return at < 0 ? Number.POSITIVE_INFINITY : at;
};
const peerSymbol = (name: string) => (name === 'AutoRound' ? 'times' : 'plus');

/** One row above the panels. Plot's own legend is HTML, which an image file cannot have. */
function legend(names: readonly string[], color: ReadonlyMap<string, string>, peers: readonly string[]): string {
  let x = 64;
  const entry = (mark: string, name: string) => {
    const out = `<g transform="translate(${x},32)">${mark}<text x="10" dy="0.35em">${escapeText(name)}</text></g>`;
    x += 34 + 6.6 * name.length;
    return out;
  };
  const own = names.map((name) => entry(`<circle r="4.5" fill="${color.get(name)}"/>`, name));
  const cross = (name: string) => (name === 'AutoRound' ? 'M-4,-4L4,4M-4,4L4,-4' : 'M-5,0L5,0M0,-5L0,5');
  const theirs = peers.map((name) => entry(`<path d="${cross(name)}" stroke="#202124" stroke-width="1.5"/>`, name));
  return `<g font-size="12" fill="#202124" text-anchor="start">${[...own, ...theirs].join('')}</g>`;
}

const escapeText = (text: string) => text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
