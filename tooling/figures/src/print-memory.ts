/** `pnpm figures:memory`: time and peak memory of a plan for a 7B shape, and of RTN on a checkpoint of 1 GB. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { llama7B, writeLlama } from './llama-shape.js';
import { measureCommand } from './measured-command.js';

const folder = await mkdtemp(join(tmpdir(), 'q-memory-'));
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
try {
  const [large, small, out] = ['7b', '1gb', 'out'].map((name) => join(folder, name));
  await mkdir(large);
  await mkdir(small);
  const largeBytes = await writeLlama(large, llama7B, 'sparse');
  const plan = await measureCommand(['plan', large, '--method', 'gptq', '--bits', '4', '--group', '128']);
  const smallBytes = await writeLlama(
    small,
    { hidden: 2048, intermediate: 5632, layers: 8, heads: 16, keyValueHeads: 16, vocabulary: 24000 },
    'random',
  );
  const rtn = await measureCommand(['quantize', small, out, '--method', 'rtn', '--bits', '4', '--group', '128']);
  console.table({
    'plan, 7B shape, GPTQ 4 bits g128': {
      checkpoint: megabytes(largeBytes),
      seconds: plan.seconds.toFixed(2),
      'limit, s': 2,
      peak: megabytes(plan.peakBytes),
      limit: '300 MB',
    },
    'RTN 4 bits g128, disk to disk': {
      checkpoint: megabytes(smallBytes),
      seconds: rtn.seconds.toFixed(2),
      'limit, s': '',
      peak: megabytes(rtn.peakBytes),
      limit: '500 MB',
    },
  });
  if (!(plan.seconds < 2 && plan.peakBytes < 300e6 && rtn.peakBytes < 500e6)) process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true });
}
