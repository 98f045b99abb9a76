import { cutWindows } from '@q/calib';
import { createContext, createRandom, scheme, type Tensor, tensor, uint2, uint4, uint8 } from '@q/core';
import { describeModel } from '@q/models';
import { createEngine } from '@q/tfjs';
import { expect, it } from 'vitest';
import { estimateSensitivity } from './estimate-sensitivity.js';
import { measureSensitivity } from './measure-sensitivity.js';

const model = describeModel({
  ...{ model_type: 'llama', hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2 },
  ...{ num_attention_heads: 2, vocab_size: 40, tie_word_embeddings: true },
});
const candidates = [uint2, uint4, uint8].map((format) => scheme({ format, zeroPoint: 'integer' }));
const units = [0, 1].flatMap((layer) => [
  {
    name: `qkv ${layer}`,
    modules: ['q', 'k', 'v'].map((part) => `model.layers.${layer}.self_attn.${part}_proj`),
    candidates,
  },
  { name: `down ${layer}`, modules: [`model.layers.${layer}.mlp.down_proj`], candidates },
]);
const random = createRandom(5);
const windows = cutWindows(
  Int32Array.from({ length: 40 * 12 }, () => Math.floor(40 * random.uniform())),
  12,
);
const tensors = new Map<string, Tensor<'f32'>>();
for (const [name, shape] of model.expected)
  tensors.set(
    name,
    tensor(
      'f32',
      shape,
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () =>
        shape.length === 1 ? 1 : 0.25 * random.normal(),
      ),
    ),
  );
const weight = async (name: string) =>
  tensors.get(name) ?? (tensors.get(model.ties.get(name) as string) as Tensor<'f32'>);

it('estimates what running the model with each unit quantized measures', async () => {
  const engine = await createEngine({ backend: 'wasm' });
  const options = { model, engine, context: createContext(), weight, windows, units };
  const measured = await measureSensitivity(options);
  const estimated = await estimateSensitivity(options);
  const order: string[] = [];
  const [first] = units;
  await estimateSensitivity({
    ...options,
    finished: new Map([[first.name, [1, 2, 3]]]),
    onMeasured: async (unit) => void order.push(unit),
  });
  await engine.dispose();
  expect(order).toEqual(units.slice(1).map(({ name }) => name));
  for (const { name } of units)
    candidates.forEach((_, i) => {
      const ratio = (estimated.get(name) as readonly number[])[i] / (measured.get(name) as readonly number[])[i];
      expect(ratio, `${name} ${i}: ${ratio}`).toBeGreaterThan(0.4);
      expect(ratio, `${name} ${i}: ${ratio}`).toBeLessThan(2.5);
    });
});
