/**
 * `pnpm figures:conversions MODEL` prints time and peak memory of `q convert`, without data, of a model folder to each
 * usual type; the median of three runs. It fails above 5 seconds or 600 MB.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type MeasuredCommand, measureCommand } from './measured-command.js';

const [model, rounds = '3'] = process.argv.slice(2);
const kinds = [
  ['onnx', 'q4'],
  ['onnx', 'q8'],
  ['gguf', 'q4_k_m'],
  ['gguf', 'q8_0'],
] as const;
const limits = { seconds: 5, bytes: 600e6 };
const folder = await mkdtemp(join(tmpdir(), 'q-conversions-'));
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[values.length >> 1];
const table: Record<string, Record<string, string>> = {};
try {
  for (const [to, type] of kinds) {
    const runs: MeasuredCommand[] = [];
    for (let round = 0; round < Number(rounds); round++) {
      const out = join(folder, `${to}-${type}-${round}${to === 'gguf' ? '.gguf' : ''}`);
      runs.push(await measureCommand(['convert', model, out, '--to', to, '--type', type]));
      await rm(out, { recursive: true });
    }
    const seconds = median(runs.map((run) => run.seconds));
    const bytes = median(runs.map(({ peakBytes }) => peakBytes));
    const processor = median(runs.map(({ processorSeconds }) => processorSeconds));
    table[`${to}, ${type}`] = {
      seconds: seconds.toFixed(1),
      'processor, s': processor.toFixed(1),
      'peak, MB': (bytes / 1e6).toFixed(0),
    };
    if (!(seconds <= limits.seconds && bytes <= limits.bytes)) process.exitCode = 1;
  }
} finally {
  await rm(folder, { recursive: true });
}
console.table(table);
