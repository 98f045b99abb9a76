import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ForwardEngine, Tensor } from '@q/core';
import { createForwardEngine } from '@q/kernels-wasm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BlockWalk } from './block-walk.js';
import { diskStates } from './disk-states.js';
import { memoryStates } from './state-store.js';
import { stageStep } from './steps.js';
import { model, read, windows } from './testing/small-model.js';
import { embedWindows, walkBlocks } from './walk-blocks.js';

let folder = '';
let engine: ForwardEngine<unknown>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'q-blockwise-'));
  engine = (await createForwardEngine({ threads: 1 })) as ForwardEngine<unknown>;
});
afterAll(async () => {
  await engine.dispose();
  await rm(folder, { recursive: true, force: true });
});

let opened = 0;
const openWalk = (where: 'memory' | 'disk' = 'memory') =>
  new BlockWalk({
    ...{ model, engine, windows, batch: 2 },
    store: where === 'disk' ? diskStates(join(folder, `states-${opened++}`)) : memoryStates(),
  });
const residuals = (walk: BlockWalk<unknown>) =>
  walk.windowBatches.map((_, batch) => Float32Array.from(walk.residual(batch)));

describe('advance', () => {
  it.each(['memory', 'disk'] as const)(
    'gives the product of its input, and the states of run, in %s',
    async (where) => {
      const [plain, ahead] = [openWalk(where), openWalk(where)];
      await embedWindows([plain, ahead], read);
      const [block] = model.blocks;
      for (const walk of [plain, ahead]) await walk.load(block.tensors, read);
      for (const walk of [plain, ahead]) await walk.begin(block);
      let compared = 0;
      for (const stage of block.stages) {
        const [module, ...others] = stage.linears;
        // Every other batch: the rest goes with `run`.
        if (stage.addsToResidual && others.length === 0) {
          compared++;
          const weight = await read(`${module}.weight`);
          for (const batch of [0, 2]) {
            const expected = product(ahead.input(batch), weight);
            const { output, release } = await ahead.advance(batch, stage, module);
            release();
            expect(output.length).toBe(expected.length);
            for (let i = 0; i < output.length; i++) expect(output[i]).toBeCloseTo(expected[i], 4);
          }
        }
        for (const walk of [plain, ahead]) await walk.run(stage);
        for (let batch = 0; batch < plain.batches; batch++) {
          expect(ahead.residual(batch)).toEqual(plain.residual(batch));
          expect(ahead.input(batch).x).toEqual(plain.input(batch).x);
        }
      }
      expect(compared).toBe(2);
      for (const walk of [plain, ahead]) {
        walk.clearWeights();
        walk.dispose();
      }
      if (where === 'disk') expect(await readdir(folder)).toEqual([]);
    },
  );
});

describe('states', () => {
  it('are the same block by block and stage by stage', async () => {
    const [whole, staged] = [openWalk(), openWalk('disk')];
    await embedWindows([whole, staged], read);
    for (const block of model.blocks) {
      await whole.load(block.tensors, read);
      staged.borrowWeights(whole);
      await whole.runBlock(block);
      await staged.begin(block);
      for (const stage of block.stages) await staged.run(stage);
      staged.clearWeights();
      whole.clearWeights();
    }
    expect(residuals(staged)).toEqual(residuals(whole));
    staged.dispose();
  });

  it('are gathered by the numbers of windows, and placed', async () => {
    const walk = openWalk();
    await embedWindows([walk], read);
    const row = 12 * model.hiddenSize;
    const all = Float32Array.from(residuals(walk).flatMap((values) => [...values]));
    const chosen = walk.gather(Int32Array.of(4, 0, 3));
    for (const [i, window] of [4, 0, 3].entries())
      expect(chosen.subarray(i * row, (i + 1) * row)).toEqual(all.subarray(window * row, (window + 1) * row));
    walk.place(all.map((value) => 2 * value));
    expect(walk.gather(Int32Array.of(2))).toEqual(all.subarray(2 * row, 3 * row).map((value) => 2 * value));
  });

  it('go on in a fork, from a snapshot with a weight replaced, and stay in the walk', async () => {
    const walk = openWalk();
    await embedWindows([walk], read);
    const [block, next] = model.blocks;
    const [name] = block.linears.map(({ module }) => `${module}.weight`);
    const { shape, data } = await read(name);
    const zeros: Tensor<'f32'> = { ...(await read(name)), shape, data: new Float32Array(data.length) };
    const changed = openWalk();
    await embedWindows([changed], read);
    await changed.load(block.tensors, read);
    changed.setWeight(name, zeros);
    await changed.runBlock(block);
    changed.clearWeights();
    await walk.load(block.tensors, read);
    await walk.begin(block);
    const states = walk.snapshot();
    for (const stage of block.stages) await walk.run(stage);
    const fork = walk.fork(await walk.compute(states, block.stages.map(stageStep), new Map([[name, zeros]])));
    walk.drop(states);
    walk.clearWeights();
    expect(residuals(fork)).toEqual(residuals(changed));
    const before = residuals(walk);
    expect(before).not.toEqual(residuals(fork));
    await walkBlocks([fork], { read, blocks: [next] });
    await walkBlocks([changed], { read, blocks: [next] });
    expect(residuals(fork)).toEqual(residuals(changed));
    expect(residuals(walk)).toEqual(before);
  });
});

function product({ x, tokens, width }: { x: Float32Array; tokens: number; width: number }, weight: Tensor<'f32'>) {
  const [rows] = weight.shape;
  const out = new Float64Array(tokens * rows);
  for (let t = 0; t < tokens; t++)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < width; j++) out[t * rows + i] += x[t * width + j] * weight.data[i * width + j];
  return out;
}
