import { ShapeError } from '@q/core';
import { type BackendChoice, createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { createDecoder } from './decode.js';
import { describeModel } from './describe-model.js';
import { createRuntime } from './runtime.js';
import { goldenWeights } from './testing/golden-weights.js';
// By tooling/figures/reference/transformers_logits.py, transformers 5.
import golden from './testing/transformers-logits.json' with { type: 'json' };

const backends = (process.env['Q_TEST_BACKENDS'] ?? 'wasm,cpu').split(',') as BackendChoice[];

describe.each(backends)('decoding with a cache on %s', (backend) => {
  it.each(golden.cases)('$name gives the logits of transformers token by token', async ({ config, ids, logits }) => {
    const { ops, memory } = await createEngine({ backend });
    const model = describeModel(config);
    const weights = await goldenWeights(ops, model);
    const [batch, length, width] = [ids.length, ids[0]!.length, model.vocabularySize];
    const decode = async () => {
      const decoder = createDecoder(model, createRuntime(ops, weights), batch);
      // Three tokens at once, then the others one by one.
      let start = 0;
      for (const count of [3, ...Array<number>(length - 3).fill(1)]) {
        const handle = decoder.append(Int32Array.from(ids.flatMap((row) => row.slice(start, start + count))));
        start += count;
        const actual = await ops.data(handle);
        ops.dispose(handle);
        for (let row = 0; row < batch; row++) {
          const at = (row * length + start - 1) * width;
          for (let i = 0; i < width; i++)
            expect(Math.abs(actual[row * width + i]! - logits[at + i]!)).toBeLessThan(5e-6);
        }
      }
      expect(decoder.length).toBe(length);
      expect(() => decoder.append(new Int32Array(batch + 1))).toThrow(ShapeError);
      decoder.dispose();
    };
    await decode();
    const held = memory().tensors;
    await decode();
    expect(memory().tensors).toBe(held);
    for (const handle of new Set(weights.values())) ops.dispose(handle);
  });
});
