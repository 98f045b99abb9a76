import { gptqLayout, openCheckpoint } from '@q/checkpoint';
import { f16Scale, perGroup, type Quantizer, scheme, uint4 } from '@q/core';
import { gptq } from '@q/gptq';
import { rtn } from '@q/rtn';
import { expect, it } from 'vitest';
import { recipeJSON } from '../recipe/recipe.js';
import { demoModel } from '../testing/demo-model.js';
import { planRun } from './plan.js';

const layout = gptqLayout();
const target = scheme({ format: uint4, granularity: perGroup(32), zeroPoint: 'integer', scaleStorage: f16Scale });
const recipe = (quantizer: Quantizer, windowShards?: number) => ({
  ...{ layout, rules: [{ match: '*', quantizer, scheme: target }], seed: 0 },
  ...(windowShards === undefined ? {} : { windowShards }),
});

it('a plan says that its windows have shards, and refuses more than windows or than a method reads', async () => {
  const checkpoint = await openCheckpoint(demoModel, [layout]);
  const shape = { count: 8, length: 16 };
  const { notes } = planRun(checkpoint, recipe(gptq(), 8), shape);
  expect(notes.join()).toMatch(/cut into 8 shards, whose statistics are added in order/);
  expect(planRun(checkpoint, recipe(gptq()), shape).notes.join()).not.toMatch(/shards/);
  expect(() => planRun(checkpoint, recipe(gptq(), 9), shape)).toThrow(
    '--window-shards 9: there are only 8 calibration windows: use at most as many shards',
  );
  expect(() => planRun(checkpoint, recipe(rtn(), 2), shape)).toThrow(
    '--window-shards 2: no method of the recipe collects statistics of calibration windows: leave it out',
  );
  await checkpoint.close();
});

it('the number of shards is a part of the identity of a recipe, and one shard is the usual run', () => {
  expect(recipeJSON(recipe(gptq(), 2))).toMatchObject({ windowShards: 2 });
  expect(recipeJSON(recipe(gptq()))).not.toHaveProperty('windowShards');
});
