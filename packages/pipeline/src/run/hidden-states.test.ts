import type { BlockWalk } from '@q/blockwise';
import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { perChannel, scheme, uint4 } from '@q/core';
import { gptq, paperOptions } from '@q/gptq';
import { signRound } from '@q/qat';
import { expect, it } from 'vitest';
import { planRun } from '../plan/plan.js';
import { demoModel } from '../testing/demo-model.js';
import { createHiddenStates, hiddenStateBytes } from './hidden-states.js';

/** Two batches of which the second one is shorter, filled with the number of the block. */
const stream = (block: number) =>
  ({
    batches: 2,
    residual: (batch: number) => new Float32Array(batch === 0 ? 6 : 3).fill(10 * block + batch),
  }) as unknown as BlockWalk<unknown>;

it('keeps all batches of a block in their order, and blocks as long as there is room', () => {
  const { keep, kept } = createHiddenStates(4 * 9 * 2 + 35);
  for (const block of [0, 1, 2]) keep(block, stream(block));
  expect([...kept]).toEqual([
    [0, Float32Array.of(0, 0, 0, 0, 0, 0, 1, 1, 1)],
    [1, Float32Array.of(10, 10, 10, 10, 10, 10, 11, 11, 11)],
  ]);
});

it('foretells whole blocks within 256 MB', () => {
  expect(hiddenStateBytes(4, 32768, 256)).toBe(4 * 33554432);
  expect(hiddenStateBytes(32, 32768, 256)).toBe(7 * 33554432);
  expect(hiddenStateBytes(32, 131072, 4096)).toBe(0);
});

it('are in the forecast where a tuner reads them and they are kept', async () => {
  const layout = gptqLayout();
  const source = await openCheckpoint(demoModel, [layout]);
  const target = scheme({ format: uint4, granularity: perChannel, zeroPoint: 'integer' });
  const foretold = (paired: boolean, memory?: number) => {
    const quantizer = gptq(paired ? {} : paperOptions);
    const rules = [{ match: /layers/, quantizer, scheme: target }];
    const plan = planRun(source, { layout, rules, tuner: signRound(), seed: 0 }, { count: 64, length: 64, memory });
    return { kept: plan.forecast.memory.hiddenStates, onDisk: plan.forecast.disk !== undefined, model: plan.model };
  };
  const { kept, model } = foretold(true);
  expect(kept).toBe(hiddenStateBytes(model?.blocks.length ?? 0, 64 * 64, model?.hiddenSize ?? 0));
  expect(foretold(false).kept).toBeUndefined();
  expect(foretold(true, 1)).toMatchObject({ kept: undefined, onDisk: true });
  await source.close();
});
