import { BlockWalk } from '@q/blockwise';
import { createCollector, type Windows } from '@q/calib';
import { openCheckpoint } from '@q/checkpoint';
import {
  absMaxStat,
  createContext,
  type ForwardEngine,
  hessian,
  inputShift,
  type ModelDescription,
  type Tensor,
  tensor,
} from '@q/core';
import { createForwardEngine } from '@q/kernels-wasm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { demoModel, demoWindows } from '../testing/demo-model.js';
import { workbench } from '../testing/workbench.js';
import { collect } from './collect.js';

const at = workbench();
let engine: ForwardEngine<any>;
let windows: Windows;
beforeAll(async () => {
  engine = await createForwardEngine({ threads: 1 });
  windows = await demoWindows(16, 13);
});
afterAll(() => engine.dispose());

/**
 * The demo model's first stage: a walk with changed embeddings, and one of the unquantized model on a share of the
 * batches.
 */
async function firstStage(shards: number, share: number) {
  const checkpoint = await openCheckpoint(demoModel, []);
  const model = checkpoint.model as ModelDescription;
  const open = () => new BlockWalk<any>({ model, engine, windows, batch: 2, shards });
  const [walk, original] = [open(), open()];
  const [block] = model.blocks;
  const changed = ({ shape, data }: Tensor<'f32'>) =>
    tensor(
      'f32',
      shape,
      data.map((value, i) => value * (1 + (i % 7) / 50)),
    );
  await original.load(model.embeddingTensors, (name) => checkpoint.weight(name));
  await walk.load(model.embeddingTensors, async (name) => changed(await checkpoint.weight(name)));
  await walk.embed();
  await original.embed(share);
  for (const each of [walk, original]) {
    await each.load(block.tensors, (name) => checkpoint.weight(name));
    await each.begin(block);
  }
  await checkpoint.close();
  const { width } = walk.input(0);
  const close = () => {
    for (const each of [walk, original]) each.clearWeights();
  };
  return { walk, original, stage: block.stages[0], width, close };
}

/** `a^T b` in f64, over rows of `width` values. */
function product(a: readonly Float32Array[], b: readonly Float32Array[], width: number): Float64Array {
  const out = new Float64Array(width * width);
  for (const [index, left] of a.entries())
    for (let row = 0; row < left.length; row += width)
      for (let i = 0; i < width; i++)
        for (let j = 0; j < width; j++) out[i * width + j] += left[row + i] * b[index][row + j];
  return out;
}

function difference(found: ArrayLike<number>, wanted: Float64Array): number {
  let [most, size] = [0, 0];
  for (let i = 0; i < wanted.length; i++) {
    most = Math.max(most, Math.abs(found[i] - wanted[i]));
    size = Math.max(size, Math.abs(wanted[i]));
  }
  return most / size;
}

// In some shards all batches go through the unquantized model, in some a part, in some none.
it.each([
  [1, 0.7],
  [2, 0.6],
  [5, 0.5],
  [13, 0.4],
])('sums of %d shards, with a share of %d paired, are those of all windows', async (shards, share) => {
  const { walk, original, stage, width, close } = await firstStage(shards, share);
  const context = createContext({ kernels: at.kernels });
  const kinds = [hessian, inputShift, absMaxStat];
  const partly = shards > 1 && share < 1;
  const { statistics, tokens } = await collect(() => createCollector(kinds, width, 'm'), walk, context, {
    original: { walk: original, stage, partly },
  });
  expect(tokens).toBe(13 * 16);
  const all = walk.windowBatches.map((_, batch) => walk.input(batch).x);
  const paired = all.flatMap((x, batch) => (original.has(batch) ? [{ x, there: original.input(batch).x }] : []));
  const shifts = paired.map(({ x, there }) => there.map((value, i) => value - x[i]));
  const own = paired.map(({ x }) => x);
  expect(paired).toHaveLength(Math.ceil(all.length * share));
  expect(difference(statistics.get(hessian).sum, product(all, all, width))).toBeLessThan(1e-6);
  const shift = statistics.get(inputShift);
  expect(shift.count).toBe(own.reduce((sum, x) => sum + x.length / width, 0));
  expect(difference(shift.sum, product(shifts, own, width))).toBeLessThan(1e-5);
  expect(difference(shift.inputs as Float64Array, product(own, own, width))).toBeLessThan(1e-6);
  const largest = all.reduce((most, x) => x.reduce((own, value) => Math.max(own, Math.abs(value)), most), 0);
  expect(Math.max(...statistics.get(absMaxStat).values)).toBe(largest);
  close();
});
