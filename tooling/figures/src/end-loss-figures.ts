import { readFile, writeFile } from 'node:fs/promises';

/** One measured method. Lines with the same first six values are the same run. */
export interface EndLossLine extends EndLossRun {
  /** KL divergence to the unquantized model on the held-out windows, in nats per token. */
  readonly kl: number;
  readonly perplexity: number;
  readonly processorSeconds: number;
}

export interface EndLossRun {
  readonly model: string;
  readonly bits: number;
  readonly group: number;
  readonly method: string;
  /** Number of calibration windows of 256 tokens. */
  readonly samples: number;
  /** Number of held-out windows. */
  readonly valid: number;
}

const file = new URL('../reference/end-loss.json', import.meta.url);
const base = 'gptq';

export async function readEndLossLines(): Promise<EndLossLine[]> {
  return JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as EndLossLine[];
}

const identity = (run: EndLossRun) =>
  JSON.stringify([run.model, run.samples, run.valid, run.bits, run.group, run.method]);
export const sameRun = (a: EndLossRun, b: EndLossRun): boolean => identity(a) === identity(b);

/** Replaces a line, or adds it. The file is read again, because several runs may add to it. */
export async function mergeEndLossLine(line: EndLossLine): Promise<void> {
  const others = (await readEndLossLines()).filter((other) => !sameRun(other, line));
  const all = [...others, line].sort((a, b) => identity(a).localeCompare(identity(b)));
  await writeFile(file, `${JSON.stringify(all, null, 2)}\n`);
}

/** A table in Markdown: KL and processor time of each line as a share of the default GPTQ's, with the same windows. */
export function endLossTable(lines: readonly EndLossLine[]): string {
  const head = ['model', 'windows', 'bits', 'group', 'method', 'KL', 'of GPTQ', 'perplexity', 'seconds', 'of GPTQ'];
  const rows = lines.map((line) => {
    const default_ = lines.find((other) => sameRun(other, { ...line, method: base }));
    const share = (own: number, other: number | undefined) => (other === undefined ? '' : (own / other).toFixed(2));
    return [
      ...[line.model, `${line.samples}, ${line.valid}`, `${line.bits}`, `${line.group}`, line.method],
      ...[line.kl.toFixed(6), share(line.kl, default_?.kl), line.perplexity.toFixed(3)],
      ...[line.processorSeconds.toFixed(0), share(line.processorSeconds, default_?.processorSeconds)],
    ];
  });
  const text = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const means = meanShares(lines);
  return [text(head), text(head.map(() => '---')), ...rows.map(text), '', ...means].join('\n');
}

/** Geometric means over all models and windows, one line for each method and number of bits. */
function meanShares(lines: readonly EndLossLine[]): readonly string[] {
  const shares = new Map<string, { kl: number[]; seconds: number[] }>();
  for (const line of lines) {
    const default_ = lines.find((other) => sameRun(other, { ...line, method: base }));
    if (!default_ || line.method === base) continue;
    const key = `${line.method}, ${line.bits} bits, groups of ${line.group}`;
    const own = shares.get(key) ?? { kl: [], seconds: [] };
    own.kl.push(line.kl / default_.kl);
    own.seconds.push(line.processorSeconds / default_.processorSeconds);
    shares.set(key, own);
  }
  const mean = (values: readonly number[]) =>
    Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
  return [...shares].map(
    ([key, { kl, seconds }]) =>
      `${key}: mean share of the default GPTQ's KL ${mean(kl).toFixed(3)} (worst ${Math.max(...kl).toFixed(3)}), of its time ${mean(seconds).toFixed(2)}, over ${kl.length} lines`,
  );
}
