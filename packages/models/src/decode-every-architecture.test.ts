import { type BackendChoice, createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { createDecoder } from './decode.js';
import { architectures, describeModel, stacksOf } from './describe-model.js';
import { createRuntime } from './runtime.js';
import { goldenWeights } from './testing/golden-weights.js';
// By tooling/figures/reference/transformers_decoders.py, transformers 5.
import golden from './testing/transformers-decoders.json' with { type: 'json' };

const [backend] = (process.env['Q_TEST_BACKENDS'] ?? 'cpu').split(',') as BackendChoice[];

const cases = golden.cases.map((example) => {
  const names = 'names' in example ? new Set(example.names as string[]) : undefined;
  return { ...example, model: describeModel(example.config, architectures, names) };
});
/** Frequencies follow the longest sequence so far, and cached keys keep theirs, in transformers too: one pass is something else. */
const followLength = new Set(['phi3, partial rotary, LongRoPE, long', 'llama, dynamic']);

describe(`decoders token by token on ${backend} beside transformers`, async () => {
  const { ops } = await createEngine({ backend: backend! });

  it.each(cases.filter(({ name, model }) => model.head && !followLength.has(name)))(
    '$name',
    async ({ config, model, ids, kept, logits }) => {
      const weights = await goldenWeights(ops, model, stacksOf(config));
      const decoder = createDecoder(model, createRuntime(ops, weights), ids.length);
      const width = model.vocabularySize;
      const largest = Math.max(...logits.map(Math.abs));
      let compared = 0;
      for (let position = 0; position < ids[0]!.length; position++) {
        const handle = decoder.append(Int32Array.from(ids, (row) => row[position]!));
        const at = kept.indexOf(position);
        if (at >= 0) {
          const actual = await ops.data(handle);
          for (let row = 0; row < ids.length; row++)
            for (let i = 0; i < width; i++) {
              const expected = logits[(row * kept.length + at) * width + i]!;
              expect(Math.abs(actual[row * width + i]! - expected) / largest).toBeLessThan(2e-5);
            }
          compared++;
        }
        ops.dispose(handle);
      }
      expect(compared).toBeGreaterThan(0);
      decoder.dispose();
      for (const weight of new Set(weights.values())) ops.dispose(weight);
    },
  );
});
