/**
 * `pnpm figures:engines [rounds]` prints matrix products and training steps of the embedded model (batch 16 x 128, with
 * the optimizer) on wasm and on tfjs-node. The engines run in turns, so their ratio is valid on a busy machine.
 */
import { readFile } from 'node:fs/promises';
import { createRandom } from '@q/core';
import { createWasmKernels } from '@q/kernels-wasm';
import { describeModel } from '@q/models';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { initialize, train } from './train.js';

const rounds = Number(process.argv[2] ?? 3);
const config = JSON.parse(
  await readFile(new URL('../../../packages/cli/demo/model/config.json', import.meta.url), 'utf8'),
);
const model = describeModel(config);
const kernels = await createWasmKernels();
const engines = [await createEngine({ backend: 'wasm', kernels }), await createEngine({ backend: 'node' })];
const [batch, length, steps] = [16, 128, 4];
const stream = Int32Array.from({ length: 20_000 }, (_, i) => (i * 7919) % config.vocab_size);

/** Seconds of each step except the first. */
async function trainingSeconds(engine: TfjsEngine): Promise<number[]> {
  const parameters = initialize(model, createRandom('figures'));
  const times: number[] = [];
  let last = performance.now();
  const text = { stream, random: createRandom('windows') };
  await train(engine, model, parameters, text, {
    ...{ steps, batch, length, rate: 1e-3, warmUp: 1, clip: 1 },
    report(step) {
      const now = performance.now();
      if (step > 0) times.push((now - last) / 1000);
      last = now;
    },
  });
  return times;
}

/** Seconds of a product of n x n matrices, of which one row is read. */
function productSeconds({ ops }: TfjsEngine, n: number): number[] {
  const random = createRandom('products');
  const values = Float32Array.from({ length: n * n }, () => random.normal());
  const [x, weight] = [ops.fromF32(values, [n, n]), ops.fromF32(values, [n, n])];
  const times = Array.from({ length: 4 }, () => {
    const begun = performance.now();
    const row = ops.scope(() => ops.rows(ops.linear(x, weight), 0, 1));
    ops.dataSync(row);
    ops.dispose(row);
    return (performance.now() - begun) / 1000;
  });
  ops.dispose(x);
  ops.dispose(weight);
  return times.slice(1);
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] as number;
const kinds: Record<string, { unit: string; work: number; measure(engine: TfjsEngine): Promise<number[]> }> = {
  'product 512': { unit: 'GFLOP/s', work: 2 * 512 ** 3 * 1e-9, measure: async (engine) => productSeconds(engine, 512) },
  'product 1024': {
    unit: 'GFLOP/s',
    work: 2 * 1024 ** 3 * 1e-9,
    measure: async (engine) => productSeconds(engine, 1024),
  },
  'training step': { unit: 'tokens/s', work: batch * length, measure: trainingSeconds },
};
const rows: Record<string, Record<string, string | number>> = {};
for (const [name, { unit, work, measure }] of Object.entries(kinds)) {
  const times: number[][] = engines.map(() => []);
  for (let round = 0; round < rounds; round++)
    for (const [i, engine] of engines.entries()) (times[i] as number[]).push(...(await measure(engine)));
  const [wasm, native] = times.map((seconds) => work / median(seconds)) as [number, number];
  rows[name] = {
    unit,
    [(engines[0] as TfjsEngine).name]: wasm.toPrecision(3),
    [(engines[1] as TfjsEngine).name]: native.toPrecision(3),
    ratio: (native / wasm).toFixed(2),
  };
}
for (const engine of engines) console.log(`${engine.name}: ${engine.notes.join('; ')}`);
console.log(`kernels ${kernels.name}, Node ${process.version}`);
console.table(rows);
for (const engine of engines) await engine.dispose();
await kernels.dispose();
