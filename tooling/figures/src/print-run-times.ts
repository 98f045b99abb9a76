/**
 * `pnpm figures:run-times OTHER [--rounds 3] [--threads 1] [--only REGEXP]`: processor time of `q quantize` on llama-5m
 * in this checkout and in OTHER, the folder of another checkout that is built, by method. Both run in turn, and the
 * smallest time of each counts. The model and its windows are in the folder that `QUANT_SHARED` names.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureCommand } from './measured-command.js';

const { positionals, values: asked } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1' },
    only: { type: 'string', default: '' },
  },
});
const [other] = positionals;
const shared = process.env.QUANT_SHARED;
if (!other || !shared) throw new Error('the folder of another checkout is needed, and QUANT_SHARED has to be set');

const model = join(shared, 'models/llama-5m');
const calibration = ['--calib', join(model, 'calib-128x256.u16')];
const methods: Readonly<Record<string, readonly string[]>> = {
  rtn: ['--method', 'rtn'],
  hqq: ['--method', 'hqq'],
  awq: ['--method', 'awq', ...calibration],
  'gptq-paper': ['--method', 'gptq-paper', ...calibration],
  'rtn, budget of 3 bits, 16 windows': ['--method', 'rtn', '--budget', '3.0', '--samples', '16', ...calibration],
};
const bins = { other: join(other, 'packages/cli/dist/bin.js'), own: undefined };

const work = await mkdtemp(join(tmpdir(), 'q-run-times-'));
try {
  console.log('| method | other, s | here, s | here / other |');
  console.log('| --- | --- | --- | --- |');
  for (const [name, options] of Object.entries(methods)) {
    if (!new RegExp(asked.only).test(name)) continue;
    const least = { other: Number.POSITIVE_INFINITY, own: Number.POSITIVE_INFINITY };
    for (let round = 0; round < Number(asked.rounds); round++)
      for (const side of ['other', 'own'] as const) {
        const out = join(work, 'out');
        const run = ['quantize', model, out, '--no-eval', '--engine', 'wasm', '--threads', asked.threads, ...options];
        const { processorSeconds } = await measureCommand(run, bins[side]);
        least[side] = Math.min(least[side], processorSeconds);
        await rm(out, { recursive: true });
      }
    const cells = [name, least.other.toFixed(1), least.own.toFixed(1), (least.own / least.other).toFixed(2)];
    console.log(`| ${cells.join(' | ')} |`);
  }
} finally {
  await rm(work, { recursive: true });
}
