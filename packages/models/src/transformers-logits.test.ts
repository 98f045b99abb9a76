import { type BackendChoice, createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { describeModel } from './describe-model.js';
import { forward } from './run.js';
import { createRuntime } from './runtime.js';
import { goldenWeights } from './testing/golden-weights.js';
// By tooling/figures/reference/transformers_logits.py, transformers 5.
import golden from './testing/transformers-logits.json' with { type: 'json' };

/** `Q_TEST_BACKENDS` names others; the checks of the native engine ask for node. */
const backends = (process.env['Q_TEST_BACKENDS'] ?? 'wasm,cpu').split(',') as BackendChoice[];

describe.each(backends)('forward passes on %s beside transformers', (backend) => {
  it.each(golden.cases)('$name', async ({ config, ids, logits }) => {
    const { ops, memory } = await createEngine({ backend });
    const model = describeModel(config);
    const weights = await goldenWeights(ops, model);
    const runtime = createRuntime(ops, weights);
    const run = async () => {
      const handle = forward(model, runtime, Int32Array.from(ids.flat()), ids.length, ids[0]!.length);
      const values = await ops.data(handle);
      ops.dispose(handle);
      return values;
    };
    const actual = await run();
    const held = memory().tensors;
    await run();
    expect(memory().tensors).toBe(held);
    for (const handle of new Set(weights.values())) ops.dispose(handle);
    expect(actual.length).toBe(logits.length);
    const largest = actual.reduce((most, value, i) => Math.max(most, Math.abs(value - logits[i]!)), 0);
    expect(largest).toBeLessThan(5e-6);
  });
});
