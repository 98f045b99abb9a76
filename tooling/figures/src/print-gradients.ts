/**
 * `pnpm figures:gradients MODEL TEXT [--schemes none,int8,...] [--workers 1,2,4] [--seeds 0,1,2] [--samples 64] [--length 32] [--epochs
 * 20]` runs QAFT on the text's labels at 2 bits by several processes, one thread each, with each compression of
 * gradients and without compression. It prints loss, bytes sent, and time of the command. Each finished line is merged
 * into `tooling/figures/reference/gradients.json`, and the whole table is printed. `--table` prints only the table,
 * `--plot FILE` writes the curves.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  type GradientLine,
  gradientPlot,
  gradientTable,
  mergeGradientLine,
  readGradientLines,
} from './gradient-figures.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    schemes: { type: 'string', default: 'none,int8,fp8,qsgd,terngrad,sign,1bit-adam,topk,powersgd' },
    workers: { type: 'string', default: '1,2,4' },
    seeds: { type: 'string', default: '0' },
    samples: { type: 'string', default: '64' },
    length: { type: 'string', default: '32' },
    epochs: { type: 'string', default: '20' },
    group: { type: 'string', default: '64' },
    name: { type: 'string' },
    table: { type: 'boolean' },
    plot: { type: 'string' },
  },
});
const bin = fileURLToPath(new URL('../../../packages/cli/src/bin.ts', import.meta.url));

/** Measures a run that is started as a user starts it. */
async function measure(
  model: string,
  text: string,
  run: Pick<GradientLine, 'compress' | 'workers' | 'seed'>,
): Promise<GradientLine> {
  const { compress, workers, seed } = run;
  const folder = await mkdtemp(join(tmpdir(), 'q-gradients-'));
  const out = join(folder, 'out');
  const started = performance.now();
  try {
    const child = spawn(
      process.execPath,
      [
        ...['--conditions=@q/source', '--import', 'tsx', bin, 'quantize', model, out],
        ...['--method', 'qaft', '--loss', 'labels', '--bits', '2', '--group', values.group, '--layout', 'plain'],
        ...['--batch', '8', '--epochs', values.epochs, '--samples', values.samples, '--length', values.length],
        ...['--calib', text, '--no-eval', '--refine-rounds', '0', '--threads', `${workers}`, '--seed', `${seed}`],
        ...(workers > 1 ? ['--workers', `${workers}`, '--compress', compress] : []),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr.on('data', (data) => {
      said += data;
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    if (code !== 0) throw new Error(`${compress}, ${workers} workers: exit code ${code}\n${said}`);
    const { layers } = JSON.parse(await readFile(join(out, 'q-report.json'), 'utf8'));
    const { loss, steps, sentBytes = 0, exactGradientBytes = 0 } = layers[0].figures;
    const curve = [...said.matchAll(/(\d+)\/\d+ steps loss ([\d.e+-]+)/g)].map(
      ([, step, value]) => [Number(step), Number(value)] as const,
    );
    const seconds = (performance.now() - started) / 1000;
    const name = values.name ?? basename(model);
    return { model: name, ...run, steps, loss, sentBytes, exactBytes: exactGradientBytes, seconds, curve };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const [model, text] = positionals;
if (!values.table) {
  if (!model || !text) throw new Error('a model folder and a text file are needed');
  for (const workers of values.workers.split(',').map(Number))
    for (const seed of values.seeds.split(',').map(Number))
      for (const compress of workers === 1 ? ['none'] : values.schemes.split(',')) {
        const line = await measure(model, text, { compress, workers, seed });
        await mergeGradientLine(line);
        console.error(
          `${compress}, ${workers} workers, seed ${seed}: ${line.loss.toFixed(5)} in ${line.seconds.toFixed(0)} s`,
        );
      }
}
const lines = await readGradientLines();
console.log(gradientTable(lines));
if (values.plot) await writeFile(values.plot, gradientPlot(lines));
