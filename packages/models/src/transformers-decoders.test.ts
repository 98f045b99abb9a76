import { type BackendChoice, createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { architectures, describeModel, stacksOf } from './describe-model.js';
import { encode, forward } from './run.js';
import { createRuntime } from './runtime.js';
import { goldenWeights } from './testing/golden-weights.js';
// By tooling/figures/reference/transformers_decoders.py, transformers 5.
import golden from './testing/transformers-decoders.json' with { type: 'json' };

/** `names` says where the language model's tensors are in a folder of a larger model. */
interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly ids: readonly (readonly number[])[];
  /** Positions whose logits are kept, row by row. */
  readonly kept: readonly number[];
  readonly logits: readonly number[];
  readonly names?: readonly string[];
}

const [backend] = (process.env['Q_TEST_BACKENDS'] ?? 'cpu').split(',') as BackendChoice[];

describe(`decoders on ${backend} beside transformers`, () => {
  it.each(golden.cases as readonly Case[])('$name', async ({ config, ids, kept, logits, names }) => {
    const { ops, memory } = await createEngine({ backend: backend! });
    const model = describeModel(config, architectures, names && new Set(names));
    const weights = await goldenWeights(ops, model, stacksOf(config));
    const length = ids[0]!.length;
    const run = () => {
      const runtime = createRuntime(ops, weights);
      const tokens = Int32Array.from(ids.flat());
      const handle = model.classifier
        ? ops.scope(() => model.classifier!.run(runtime, encode(model, runtime, tokens, ids.length, length)))
        : forward(model, runtime, tokens, ids.length, length);
      const values = ops.dataSync(handle);
      ops.dispose(handle);
      return values;
    };
    const values = run();
    const held = memory().tensors;
    run();
    expect(memory().tensors).toBe(held);
    for (const weight of new Set(weights.values())) ops.dispose(weight);
    const width = model.vocabularySize;
    const actual = model.classifier
      ? [...values]
      : ids.flatMap((_, row) =>
          kept.flatMap((at) => [...values.subarray((row * length + at) * width, (row * length + at + 1) * width)]),
        );
    expect(actual).toHaveLength(logits.length);
    const largest = Math.max(...logits.map(Math.abs));
    const difference = Math.max(...actual.map((value, i) => Math.abs(value - logits[i]!)));
    expect(difference / largest).toBeLessThan(2e-5);
  });
});
