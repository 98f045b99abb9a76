import { createEngine } from '@q/tfjs';
import { expect, it } from 'vitest';
import { describeModel } from './describe-model.js';
import { createRuntime } from './runtime.js';
import { goldenWeights } from './testing/golden-weights.js';
import decoders from './testing/transformers-decoders.json' with { type: 'json' };
import encoders from './testing/transformers-encoders.json' with { type: 'json' };
import headless from './testing/transformers-headless.json' with { type: 'json' };

const { ops } = await createEngine({ backend: 'cpu' });

const cases = [...decoders.cases, ...encoders.cases, ...headless.cases].map(({ name, config, ...example }) => ({
  name,
  model: describeModel(
    config,
    undefined,
    'names' in example
      ? new Set(example.names as string[])
      : 'tensors' in example
        ? new Set(Object.keys(example.tensors))
        : undefined,
  ),
}));

it.each(cases)('$name embeds the same from rows of some tokens as from the whole table', async ({ model }) => {
  const name = model.tokenTable as string;
  expect(model.embeddingTensors).toContain(name);
  expect(model.expected.get(name)?.[0]).toBe(model.vocabularySize);
  const weights = await goldenWeights(ops, model);
  const last = model.vocabularySize - 1;
  const whole = model.embed(createRuntime(ops, weights), Int32Array.of(last, 2, 5, 2, 5, last), 2, 3);
  const [, width] = model.expected.get(name) as readonly number[];
  const values = await ops.data(weights.get(name)!);
  const rows = [2, 5, last].flatMap((row) => [...values.subarray(row * width!, (row + 1) * width!)]);
  const some = new Map(weights).set(name, ops.fromF32(Float32Array.from(rows), [3, width!]));
  const compact = model.embed(createRuntime(ops, some), Int32Array.of(2, 0, 1, 0, 1, 2), 2, 3);
  expect(await ops.data(compact)).toEqual(await ops.data(whole));
});
