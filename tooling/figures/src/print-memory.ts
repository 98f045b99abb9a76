/**
 * `pnpm figures:memory [--models a,b] [--kinds a,b] [--samples N] [--only real]` prints time and peak memory of a plan
 * for a 7B shape, and of RTN on a checkpoint of 1 GB. With `QUANT_REAL` it also compares the forecasts of `q plan` for
 * runs on published models with the measured peaks, which must be within a factor of 1.3. Measure times on an idle
 * machine; on a busy one processor time divided by threads is closer to them.
 */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { llama7B, writeLlama } from './llama-shape.js';
import { measureCommand } from './measured-command.js';
import { type MeasuredForecast, measureForecast, realRuns } from './real-forecasts.js';

const { values: asked } = parseArgs({
  options: {
    models: { type: 'string' },
    kinds: { type: 'string' },
    samples: { type: 'string', default: '8' },
    only: { type: 'string' },
  },
});

const folder = await mkdtemp(join(tmpdir(), 'q-memory-'));
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
/** Forecast and peak of every kind of run on published models. */
async function printForecasts(real: string): Promise<void> {
  const [wanted, kinds] = [asked.models?.split(','), asked.kinds?.split(',')];
  const found: Record<string, MeasuredForecast> = {};
  for (const run of realRuns(asked.samples)) {
    if ((wanted && !wanted.includes(run.model)) || (kinds && !kinds.includes(run.name))) continue;
    const measured = await measureForecast(join(real, run.model), join(folder, 'real'), run.options);
    found[`${run.model}, ${run.name}`] = measured;
    console.error(`${run.model}, ${run.name}: ${JSON.stringify(measured)}`);
    if (!(measured.ratio <= 1.3 && measured.ratio >= 1 / 1.3)) process.exitCode = 1;
  }
  console.table(found);
}

const { QUANT_REAL: real } = process.env;
try {
  if (real !== undefined) await printForecasts(real);
  if (asked.only !== 'real') await printShapes();
} finally {
  await rm(folder, { recursive: true });
}

async function printShapes(): Promise<void> {
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
}
