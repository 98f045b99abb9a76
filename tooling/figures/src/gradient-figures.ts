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

/**
 * Losses relative to the uncompressed training over the steps, with seed 0, in one self-contained SVG. There is a panel
 * for each model and number of workers.
 */
export function gradientPlot(lines: readonly GradientLine[]): string {
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const points = lines
    .filter(({ seed, compress }) => seed === 0 && compress !== 'none')
    .flatMap((line) => {
      const exact = lines.find((other) => identity(other) === identity({ ...line, compress: 'none' }));
      const panel = `${line.model}, ${line.workers} workers`;
      return line.curve.flatMap(([step, loss], i) => {
        const [, against] = exact?.curve[i] ?? [];
        return against === undefined ? [] : [{ step, gap: 100 * (loss / against - 1), compress: line.compress, panel }];
      });
    });
  const names = [...new Set(points.map(({ compress }) => compress))];
  const panels = [...new Set(points.map(({ panel }) => panel))];
  const lowest = Math.min(...points.map(({ gap }) => gap));
  const highest = Math.max(...points.map(({ gap }) => gap));
  const labels = panels.flatMap((panel) => {
    const ends = names.flatMap(
      (name) => points.findLast((each) => each.panel === panel && each.compress === name) ?? [],
    );
    return spread(ends, (highest - lowest) / 18);
  });
  const figure = Plot.plot({
    document: document as unknown as Document,
    ...{ width: 900, height: 260 * panels.length + 40, marginLeft: 60, marginRight: 150 },
    style: { background: 'white', fontFamily: 'system-ui, sans-serif', fontSize: '12px' },
    x: { label: 'step →', grid: true },
    y: { label: '↑ loss above the uncompressed one, %', grid: true },
    fy: { label: null, axis: null },
    color: { domain: names, scheme: 'Tableau10' },
    marks: [
      Plot.ruleY([0]),
      Plot.line(points, { x: 'step', y: 'gap', fy: 'panel', stroke: 'compress', z: 'compress' }),
      Plot.text(labels, {
        ...{ x: 'step', y: 'gap', fy: 'panel', text: 'compress', fill: 'compress' },
        ...{ textAnchor: 'start', dx: 8, fontSize: 11 },
      }),
      Plot.text(panels, { fy: (panel) => panel, text: (panel) => panel, frameAnchor: 'top-left', dx: 8, dy: 4 }),
    ],
  } as Plot.PlotOptions);
  return (figure as unknown as { outerHTML: string }).outerHTML.replace(
    '<svg ',
    '<svg xmlns="http://www.w3.org/2000/svg" ',
  );
}

/** The labels from the lowest up, each at least `distance` above the one before. */
function spread<T extends { readonly gap: number }>(labels: readonly T[], distance: number): T[] {
  let least = Number.NEGATIVE_INFINITY;
  return [...labels]
    .sort((a, b) => a.gap - b.gap)
    .map((label) => {
      const gap = Math.max(label.gap, least);
      least = gap + distance;
      return { ...label, gap };
    });
}
