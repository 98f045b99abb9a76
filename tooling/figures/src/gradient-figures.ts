import { readFile, writeFile } from 'node:fs/promises';
import * as Plot from '@observablehq/plot';
import { parseHTML } from 'linkedom';

/** A training that several processes shared. Its first five values identify a line: measuring it again replaces it. */
export interface GradientLine {
  readonly model: string;
  readonly compress: string;
  readonly workers: number;
  readonly steps: number;
  /** Of the windows' order and of the draws. */
  readonly seed: number;
  /** Mean loss of the last tenth of the steps, in nats per token. */
  readonly loss: number;
  /** Bytes that a worker has sent to one other, and bytes of the same gradients in f32. */
  readonly sentBytes: number;
  readonly exactBytes: number;
  /** Seconds of the whole command, on the machine where it ran. */
  readonly seconds: number;
  /** Step and loss, at each tenth of the training. */
  readonly curve: readonly (readonly [step: number, loss: number])[];
}

const file = new URL('../reference/gradients.json', import.meta.url);

export async function readGradientLines(): Promise<GradientLine[]> {
  return JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as GradientLine[];
}

/** Replaces a line, or adds it. */
export async function mergeGradientLine(line: GradientLine): Promise<void> {
  const others = (await readGradientLines()).filter((other) => identity(other) !== identity(line));
  await writeFile(file, `${JSON.stringify([...others, line], null, 2)}\n`);
}

const rowOf = ({ model, compress, workers, steps }: GradientLine) => [model, compress, workers, steps].join(' ');
const identity = (line: GradientLine) => `${rowOf(line)} ${line.seed}`;

/** Steps that 1-bit Adam exchanges in f32 before it compresses. */
const warmUps: Readonly<Record<string, number>> = { '1bit-adam': 48 };

/**
 * A table in Markdown with the mean over the seeds. A gap is to the uncompressed training with the same seed and as many
 * workers; with several seeds, its standard error follows.
 */
export function gradientTable(lines: readonly GradientLine[]): string {
  const head = [
    'model',
    'steps',
    '`--compress`',
    'workers',
    'seeds',
    'loss',
    'gap',
    'fewer bytes',
    'after the warm-up',
    'seconds',
  ];
  const rows = [...new Set(lines.map(rowOf))].map((row) => {
    const seeds = lines.filter((line) => rowOf(line) === row);
    const { model, steps, compress, workers, sentBytes, exactBytes } = seeds[0];
    const warm = warmUps[compress];
    const warmBytes = (exactBytes * (warm ?? 0)) / steps;
    const gaps = seeds.flatMap((line) => {
      const exact = lines.find((other) => identity(other) === identity({ ...line, compress: 'none' }));
      return exact && compress !== 'none' ? [100 * (line.loss / exact.loss - 1)] : [];
    });
    return [
      ...[model, `${steps}`, `\`${compress}\``, `${workers}`, `${seeds.length}`],
      meanOf(seeds.map(({ loss }) => loss)).toFixed(5),
      gapText(gaps),
      sentBytes > 0 ? `${(exactBytes / sentBytes).toFixed(1)} x` : '',
      warm === undefined ? '' : `${((exactBytes - warmBytes) / (sentBytes - warmBytes)).toFixed(1)} x`,
      meanOf(seeds.map(({ seconds }) => seconds)).toFixed(0),
    ];
  });
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const meanOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

function gapText(gaps: readonly number[]): string {
  if (gaps.length === 0) return '';
  const mean = meanOf(gaps);
  const spread = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / (gaps.length - 1) / gaps.length);
  return gaps.length === 1 ? `${mean.toFixed(2)} %` : `${mean.toFixed(2)} ± ${spread.toFixed(2)} %`;
}

/** Curves of all lines in one self-contained SVG, with a panel for each model and number of workers. */
export function gradientPlot(lines: readonly GradientLine[]): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const points = lines
    .filter(({ seed }) => seed === 0)
    .flatMap(({ model, workers, compress, curve }) =>
      curve.map(([step, loss]) => ({ step, loss, compress, panel: `${model}, ${workers} workers` })),
    );
  const last = (panel: string, compress: string) =>
    points.filter((point) => point.panel === panel && point.compress === compress).at(-1);
  const names = [...new Set(points.map(({ compress }) => compress))];
  const panels = [...new Set(points.map(({ panel }) => panel))];
  const labels = panels.flatMap((panel) => names.flatMap((compress) => last(panel, compress) ?? []));
  const figure = Plot.plot({
    document: document as unknown as Document,
    ...{ width: 1000, height: 260 * panels.length, marginLeft: 60, marginRight: 110 },
    style: { background: 'white', fontFamily: 'system-ui, sans-serif', fontSize: '12px' },
    x: { label: 'step →', grid: true },
    y: { label: '↑ loss, nats a token', grid: true },
    fy: { label: null },
    color: { domain: names, scheme: 'Tableau10' },
    marks: [
      Plot.line(points, { x: 'step', y: 'loss', fy: 'panel', stroke: 'compress', z: 'compress' }),
      Plot.text(labels, {
        ...{ x: 'step', y: 'loss', fy: 'panel', text: 'compress', fill: 'compress' },
        ...{ textAnchor: 'start', dx: 6, fontSize: 9 },
      }),
    ],
  } as Plot.PlotOptions);
  return (figure as unknown as { outerHTML: string }).outerHTML.replace(
    '<svg ',
    '<svg xmlns="http://www.w3.org/2000/svg" ',
  );
}
