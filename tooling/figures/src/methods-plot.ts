import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';
import type { MeasuredRun } from './measure-recipe.js';

export interface MethodLine extends MeasuredRun {
  readonly model: string;
  readonly bits: number;
  readonly group: number;
  readonly method: string;
}

/** KL over bits per weight, both methods' colours and models' panels in one self-contained SVG. */
export function methodsPlot(lines: readonly MethodLine[]): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const figure = Plot.plot({
    document: document as unknown as Document,
    width: 1100,
    height: 420,
    marginLeft: 64,
    style: { background: 'white', fontFamily: 'sans-serif', fontSize: '12px' },
    x: { label: 'bits per weight of the quantized linears', grid: true },
    y: { label: 'KL to the original, nats per token', type: 'log', grid: true },
    fx: { label: null },
    color: { legend: false, domain: [...new Set(lines.map(({ method }) => method))], scheme: 'Observable10' },
    marks: [
      Plot.frame({ stroke: '#ccc' }),
      Plot.line(lines, {
        x: 'bitsPerWeight',
        y: 'kl',
        z: 'method',
        stroke: 'method',
        fx: 'model',
        sort: 'bitsPerWeight',
      }),
      Plot.dot(lines, { x: 'bitsPerWeight', y: 'kl', fill: 'method', fx: 'model', r: 3 }),
      Plot.text(
        lines,
        Plot.selectFirst({
          x: 'bitsPerWeight',
          y: 'kl',
          z: 'method',
          fx: 'model',
          text: 'method',
          dx: 6,
          textAnchor: 'start',
        }),
      ),
    ],
  } as Plot.PlotOptions);
  return (figure as unknown as { outerHTML: string }).outerHTML.replace(
    '<svg ',
    '<svg xmlns="http://www.w3.org/2000/svg" ',
  );
}
