import { createRandom, edgeChannels, foldEdge, type Tensor, tensor, toF32 } from '@q/core';
import { createEngine } from '@q/tfjs';
import { describe, expect, it } from 'vitest';
import { architectures, describeModel, stacksOf } from './describe-model.js';
import { transpose, turnedWeights } from './load-weights.js';
import { forward } from './run.js';
import { createRuntime } from './runtime.js';
import { goldenTensor } from './testing/golden-weights.js';
import golden from './testing/transformers-decoders.json' with { type: 'json' };

interface Case {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly ids: readonly (readonly number[])[];
  readonly names?: readonly string[];
}

describe('edges of decoders', () => {
  it.each((golden.cases as readonly Case[]).filter(({ config }) => !config['architectures']))(
    '$name: a scale on each leaves the logits',
    async ({ config, ids, names }) => {
      const { ops, dispose } = await createEngine({ backend: 'cpu' });
      const model = describeModel(config, architectures, names && new Set(names));
      const turned = turnedWeights(model);
      const weights = new Map(
        [...model.expected].map(([name, shape]) => {
          const stored = values(goldenTensor(name, shape, stacksOf(config)));
          return [name, turned.has(name) ? transpose(stored) : stored];
        }),
      );
      const run = (): Float32Array => {
        const uploaded = new Map([...weights].map(([name, weight]) => [name, ops.fromTensor(weight)]));
        const runtime = createRuntime(ops, uploaded, { ties: model.ties });
        return ops.dataSync(forward(model, runtime, Int32Array.from(ids.flat()), ids.length, ids[0]!.length));
      };
      const before = run();
      const changed = new Set<string>();
      for (const { edges } of model.blocks) {
        for (const edge of edges) {
          const width = weights.get(`${edge.consumers[0]}.weight`)!.shape[1]!;
          const random = createRandom(1).fork(edge.id);
          const shared = Float32Array.from({ length: width }, () => Math.exp(0.5 * random.normal()));
          const scales = Float32Array.from(edgeChannels(edge, width), (channel) => shared[channel]!);
          for (const [name, weight] of foldEdge(edge, scales, weights).weights) {
            weights.set(name, weight);
            changed.add(name);
          }
        }
      }
      expect(changed.size).toBeGreaterThan(4);
      const after = run();
      const largest = Math.max(...before.map(Math.abs));
      expect(Math.max(...after.map((value, i) => Math.abs(value - before[i]!))) / largest).toBeLessThan(2e-5);
      await dispose();
    },
  );
});

const values = (stored: Tensor): Tensor<'f32'> => tensor('f32', stored.shape, toF32(stored));
