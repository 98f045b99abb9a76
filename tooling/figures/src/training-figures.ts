import { readFile, writeFile } from 'node:fs/promises';
import { peerKl } from './peers.js';

/** A trained (or compared) model. Its first five values identify a line: measuring it again replaces it. */
export interface TrainingLine {
  readonly model: string;
  readonly bits: number;
  /** -1: one scale per output channel. */
  readonly group: number;
  readonly method: string;
  /** Passes over the windows; 0 for methods without passes. */
  readonly epochs: number;
  readonly perplexity: number;
  /** KL divergence to the unquantized model, in nats per token. */
  readonly kl: number;
  /**
   * Processor seconds of the whole run on all threads together: the first quantizer, training, and writing the folder.
   */
  readonly processorSeconds: number;
  readonly trainedParameters: number;
  /**
   * Mean loss of the last tenth of the steps on their own windows, in nats per token, against the labels or the
   * teacher.
   */
  readonly loss?: number;
  readonly engine: string;
}

const file = new URL('../reference/training.json', import.meta.url);

export async function readTrainingLines(): Promise<TrainingLine[]> {
  return JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as TrainingLine[];
}

/** Replaces a line, or adds it. The file is read again, because several runs may add to it. */
export async function mergeTrainingLine(line: TrainingLine): Promise<void> {
  const others = (await readTrainingLines()).filter((other) => identity(other) !== identity(line));
  const all = [...others, line].sort(byModelBitsAndKl);
  await writeFile(file, `${JSON.stringify(all, null, 2)}\n`);
}

const identity = ({ model, bits, group, method, epochs }: TrainingLine): string =>
  [model, bits, group, method, epochs].join(' ');

const byModelBitsAndKl = (a: TrainingLine, b: TrainingLine): number =>
  a.model.localeCompare(b.model) || b.bits - a.bits || a.group - b.group || b.kl - a.kl;

/** A table in Markdown: every line next to the act-order reference of GPTQ and AutoRound at the same bits. */
export function trainingTable(lines: readonly TrainingLine[]): string {
  const head = [
    ...['model', 'bits', 'group', 'method', 'epochs', 'perplexity', 'KL', 'of act-order', 'of AutoRound'],
    ...['processor seconds', 'trained parameters', 'loss of training', 'engine'],
  ];
  const rows = lines.map((line) => {
    const { model, bits, group, method, epochs, perplexity, kl, processorSeconds, trainedParameters, loss, engine } =
      line;
    const share = (peer: string): string => {
      const other = peerKl(peer, model, bits, group);
      return other === undefined ? '' : (kl / other).toFixed(3);
    };
    return [
      ...[model, `${bits}`, `${group}`, method, epochs > 0 ? `${epochs}` : '', perplexity.toFixed(4), kl.toFixed(6)],
      ...[
        share('gptq-act-order'),
        share('autoround'),
        processorSeconds.toFixed(0),
        `${trainedParameters}`,
        loss?.toFixed(6) ?? '',
        engine,
      ],
    ];
  });
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}
