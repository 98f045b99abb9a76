import * as Plot from '@observablehq/plot';
import type { LineScan, PlaneScan, StudyResult, WidthSummary } from '@q/study';
import { svgOf } from './plots.js';

/**
 * Colours of Okabe and Ito, which are distinguishable with any colour vision, with a symbol each for print without
 * colour. Black has the colour of the page's text.
 */
const palette = ['currentColor', '#E69F00', '#56B4E9', '#009E73', '#D55E00', '#0072B2', '#CC79A7', '#999999'] as const;
const symbols = ['circle', 'square', 'triangle', 'diamond', 'star', 'cross', 'wye', 'asterisk'] as const;

/** Colour and symbol of each name, the same in every plot of a page. */
export interface NameStyles {
  readonly names: readonly string[];
  colour(name: string): string;
  symbol(name: string): string;
}

export function stylesFor(names: readonly string[]): NameStyles {
  const index = (name: string) => Math.max(0, names.indexOf(name));
  return {
    names,
    colour: (name) => palette[index(name) % palette.length],
    symbol: (name) => symbols[index(name) % symbols.length],
  };
}

/** Rise of the loss over the original by width, a line a method, with the range over the seeds. */
export function lossByWidthPlot(
  summaries: readonly WidthSummary[],
  group: number,
  originalNll: number,
  styles: NameStyles,
): string {
  const points = summaries
    .filter((summary) => summary.group === group)
    .flatMap(({ bits, methods }) =>
      methods.map(({ method, nll }) => ({
        ...{ bits, method, mean: rise(nll.mean, originalNll), low: rise(nll.min, originalNll) },
        high: rise(nll.max, originalNll),
      })),
    );
  const widths = [...new Set(points.map(({ bits }) => bits))].sort((a, b) => b - a);
  return svgOf({
    ...{ width: 640, height: 360, marginLeft: 60, marginBottom: 44, marginRight: 24 },
    x: { type: 'point', domain: widths, label: 'bits', padding: 0.3 },
    y: { type: 'log', label: 'loss over the original, nats per token', grid: true, tickFormat: '~g' },
    marks: [
      Plot.line(points, { x: 'bits', y: 'mean', z: 'method', stroke: ({ method }) => styles.colour(method) }),
      Plot.ruleX(points, { x: 'bits', y1: 'low', y2: 'high', stroke: ({ method }) => styles.colour(method) }),
      ...dots(points, 'bits', 'mean', styles),
    ],
  });
}

/** Layer error against the loss over the original, a point a run. */
export function misalignmentPlot(
  results: readonly StudyResult[],
  originalNll: number,
  styles: NameStyles,
  weighted: boolean,
): string {
  const points = results.map((result) => ({
    method: result.job.method,
    error: Math.max(1e-12, weighted ? result.weightedLayerError : result.layerError),
    loss: rise(result.nll, originalNll),
  }));
  return svgOf({
    ...{ width: 460, height: 340, marginLeft: 60, marginBottom: 44, marginRight: 24 },
    x: {
      ...{ type: 'log', grid: true, tickFormat: '~g', ticks: 4 },
      label: weighted ? 'layer error weighted by gradients of the end loss' : 'sum of layer errors',
    },
    y: { type: 'log', label: 'loss over the original, nats', grid: true, tickFormat: '~g', ticks: 5 },
    marks: dots(points, 'error', 'loss', styles),
  });
}

/** Loss along lines from the original (0) through each solution (1). */
export function linePlot(lines: readonly LineScan[], originalNll: number, styles: NameStyles): string {
  const points = lines.flatMap(({ name, points: scanned }) =>
    scanned.filter(({ nll }) => Number.isFinite(nll)).map(({ at, nll }) => ({ at, method: name, loss: nll })),
  );
  const top =
    originalNll + 3 * Math.max(0.02, ...points.filter(({ at }) => at === 1).map(({ loss }) => loss - originalNll));
  const shown = points.filter(({ loss }) => loss <= top);
  return svgOf({
    ...{ width: 640, height: 340, marginLeft: 60, marginBottom: 44, marginRight: 24 },
    x: { label: 'place on the line: 0 is the original, 1 the solution', grid: true },
    y: { label: 'loss, nats per token', grid: true, tickFormat: '~g' },
    marks: [
      Plot.ruleX([0, 1], { stroke: 'var(--muted-mark)', strokeDasharray: '3,3' }),
      Plot.line(shown, { x: 'at', y: 'loss', z: 'method', stroke: ({ method }) => styles.colour(method) }),
      ...dots(shown, 'at', 'loss', styles),
    ],
  });
}

/** Loss on the plane through three solutions, as a heat map with the value in each cell. */
export function planePlot({ names, steps, nll }: PlaneScan): string {
  const cells = nll.flatMap((row, second) =>
    row.map((loss, first) => ({
      first: steps[first],
      second: steps[second],
      loss: Number.isFinite(loss) ? loss : Number.NaN,
    })),
  );
  const finite = cells.map(({ loss }) => loss).filter(Number.isFinite);
  const low = Math.min(...finite);
  return svgOf({
    ...{ width: 460, height: 400, marginLeft: 64, marginBottom: 48 },
    x: { type: 'band', domain: [...steps], label: `step from ${names[0]} to ${names[1]}` },
    y: { type: 'band', domain: [...steps].reverse(), label: `step from ${names[0]} to ${names[2]}` },
    color: { type: 'sqrt', scheme: 'viridis', reverse: true, domain: [0, Math.max(...finite) - low] },
    marks: [
      Plot.cell(cells, { x: 'first', y: 'second', fill: ({ loss }) => loss - low, inset: 0.5 }),
      Plot.text(cells, {
        ...{
          x: 'first',
          y: 'second',
          text: ({ loss }) => (Number.isFinite(loss) ? loss.toFixed(2) : '-'),
          fontSize: 11,
        },
        fill: ({ loss }) => (loss - low > 0.3 * (Math.max(...finite) - low) ? 'white' : 'black'),
      }),
    ],
  });
}

/** One mark for each symbol: a symbol that depends on the datum would add another legend. */
function dots<P extends { readonly method: string }>(points: readonly P[], x: string, y: string, styles: NameStyles) {
  return [...new Set(points.map(({ method }) => method))].map((name) =>
    Plot.dot(
      points.filter(({ method }) => method === name),
      { x, y, symbol: styles.symbol(name) as Plot.SymbolType, fill: styles.colour(name), r: 4 },
    ),
  );
}

/** A loss at or below the original's is drawn at the axis's lowest value. */
const rise = (nll: number, original: number) => Math.max(1e-5, nll - original);
