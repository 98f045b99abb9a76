import { fromF32 } from '@q/core';
import { type BackendChoice, createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { describeModel } from './describe-model.js';
import { loadWeights } from './load-weights.js';
import { forward } from './run.js';
import { createRuntime } from './runtime.js';
// By tooling/figures/reference/transformers_logits.py, transformers 5.
import golden from './testing/transformers-logits.json' with { type: 'json' };

/** `Q_TEST_BACKENDS` names others; the checks of the native engine ask for node. */
const backends = (process.env['Q_TEST_BACKENDS'] ?? 'wasm,cpu').split(',') as BackendChoice[];

/** The script's weights: uniform in +-0.3 from the name and the index, around 1 for the gains of norms. */
function weightValues(name: string, count: number): Float32Array {
  let seed = 2166136261;
  for (const byte of new TextEncoder().encode(name)) seed = Math.imul(seed ^ byte, 16777619) >>> 0;
  const [module, kind] = name.split('.').slice(-2) as [string, string];
  const centre = kind === 'weight' && (module.includes('norm') || module.startsWith('ln_')) ? 1 : 0;
  return Float32Array.from({ length: count }, (_, i) => {
    let bits = (seed + Math.imul(i, 0x9e3779b9)) >>> 0;
    bits ^= bits >>> 16;
    bits = Math.imul(bits, 0x85ebca6b) >>> 0;
    bits = (bits ^ (bits >>> 13)) >>> 0;
    return (bits / 2 ** 32 - 0.5) * 0.6 + centre;
  });
}

describe.each(backends)('forward passes on %s beside transformers', (backend) => {
  it.each(golden.cases)('$name', async ({ config, ids, logits }) => {
    const { ops, memory } = await createEngine({ backend });
    const model = describeModel(config);
    const weights = await loadWeights(ops, model, async (name) => {
      const shape = model.expected.get(name)!;
      return fromF32(
        'f32',
        shape,
        weightValues(
          name,
          shape.reduce((product, size) => product * size, 1),
        ),
      );
    });
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
