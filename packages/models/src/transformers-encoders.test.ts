import { type BackendChoice, createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { describeModel } from './describe-model.js';
import { encode } from './run.js';
import { createRuntime } from './runtime.js';
import { goldenWeights } from './testing/golden-weights.js';
// By tooling/figures/reference/transformers_encoders.py, transformers 5.
import golden from './testing/transformers-encoders.json' with { type: 'json' };
// By the same script, for decoders that were published without their head.
import headless from './testing/transformers-headless.json' with { type: 'json' };

const backends = (process.env['Q_TEST_BACKENDS'] ?? 'wasm,cpu').split(',') as BackendChoice[];

describe.each(backends)('encoders on %s beside transformers', (backend) => {
  it.each(golden.cases)('$name', async ({ config, tensors, ids, hidden, ...outputs }) => {
    const { ops } = await createEngine({ backend });
    const model = describeModel(config, undefined, new Set(Object.keys(tensors)));
    for (const [name, shape] of model.expected)
      expect([name, tensors[name as keyof typeof tensors]]).toEqual([name, shape]);
    const weights = await goldenWeights(ops, model);
    const runtime = createRuntime(ops, weights);
    const states = encode(model, runtime, Int32Array.from(ids.flat()), ids.length, ids[0]!.length);
    expectClose(await ops.data(states), hidden);
    const { pooled, classes, tokenClasses } = outputs as Partial<
      Record<'pooled' | 'classes' | 'tokenClasses', number[]>
    >;
    expect(model.classifier !== undefined).toBe(classes !== undefined);
    expect(model.tokenClassifier !== undefined).toBe(tokenClasses !== undefined);
    if (pooled) expectClose(await ops.data(model.pooler!.run(runtime, states)), pooled);
    if (classes) expectClose(await ops.data(model.classifier!.run(runtime, states)), classes);
    if (tokenClasses) expectClose(await ops.data(model.tokenClassifier!.run(runtime, states)), tokenClasses);
    expect(model.head).toBeUndefined();
  });
});

describe.each(backends)('decoders without their head on %s beside transformers', (backend) => {
  it.each(headless.cases)('$name', async ({ config, tensors, ids, hidden }) => {
    const { ops } = await createEngine({ backend });
    const model = describeModel(config, undefined, new Set(Object.keys(tensors)));
    expect(new Map(model.expected)).toEqual(new Map(Object.entries(tensors)));
    expect(model.headless).toBe(true);
    const runtime = createRuntime(ops, await goldenWeights(ops, model));
    const states = encode(model, runtime, Int32Array.from(ids.flat()), ids.length, ids[0]!.length);
    expectClose(await ops.data(states), hidden);
    // A tied table is a head, whatever was published.
    expect(model.head !== undefined).toBe(config.tie_word_embeddings);
  });
});

/** Within 1e-5 of the largest value. */
function expectClose(actual: Float32Array, expected: readonly number[]): void {
  expect(actual.length).toBe(expected.length);
  const scale = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const largest = actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0);
  expect(largest / scale).toBeLessThan(1e-5);
}
