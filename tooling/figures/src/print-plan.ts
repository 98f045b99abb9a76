/**
 * `pnpm figures:plan [TENSORS ...]` prints time and memory of `q plan` for Llamas with these numbers of tensors
 * (default 10,000 and 400,000), whose files are a header and a hole. It prints wall time and processor time.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { llamaTensors, writeLlama } from './llama-shape.js';
import { measureCommand } from './measured-command.js';

const counts = process.argv.slice(2).map(Number);
const folder = await mkdtemp(join(tmpdir(), 'q-plan-'));
const small = { hidden: 64, intermediate: 128, heads: 4, keyValueHeads: 2, vocabulary: 256 };
const without = llamaTensors({ ...small, layers: 0 }).length;
const perLayer = llamaTensors({ ...small, layers: 1 }).length - without;
console.log('| tensors | command | s | s of processor time | peak MB |');
console.log('| --- | --- | --- | --- | --- |');
try {
  for (const count of counts.length > 0 ? counts : [10_000, 400_000]) {
    const layers = Math.ceil((count - without) / perLayer);
    const model = join(folder, `${count}`);
    await mkdir(model);
    await writeLlama(model, { ...small, layers }, 'sparse');
    for (const command of [
      ['plan', model, '--method', 'rtn', '--group', '32'],
      ['plan', model, '--method', 'rtn', '--group', '32', '--json'],
      ['inspect', model],
    ]) {
      const { seconds, processorSeconds, peakBytes } = await measureCommand(command);
      const said = command.filter((word) => word !== model).join(' ');
      console.log(
        `| ${without + perLayer * layers} | ${said} | ${seconds.toFixed(1)} | ${processorSeconds.toFixed(1)} | ${(peakBytes / 1e6).toFixed(0)} |`,
      );
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
