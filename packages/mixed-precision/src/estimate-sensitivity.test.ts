import { cutWindows } from '@q/calib';
import { createContext, createRandom, scheme, type Tensor, tensor, uint2, uint3, uint4, uint8 } from '@q/core';
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

/** Gives the tables of a model rows of different size, as trained ones have. */
function modelOf(tied: boolean) {
  const own = describeModel({
    ...{ model_type: 'gemma', hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2, head_dim: 8 },
    ...{ num_attention_heads: 2, num_key_value_heads: 1, vocab_size: 60, tie_word_embeddings: tied },
  });
  const drawn = createRandom(7);
  const values = new Map<string, Tensor<'f32'>>();
  for (const [name, shape] of own.expected)
    values.set(
      name,
      tensor(
        'f32',
        shape,
        Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () =>
          shape.length === 1 ? 0 : 0.25 * drawn.normal(),
        ),
      ),
    );
  const ids = Int32Array.from({ length: 40 * 12 }, () => Math.floor(50 * drawn.uniform() ** 2));
  return {
    model: own,
    windows: cutWindows(ids, 12),
    weight: async (name: string) => values.get(name) ?? (values.get(own.ties.get(name) as string) as Tensor<'f32'>),
  };
}

it.each([
  [true, ['model.embed_tokens']],
  [false, ['model.embed_tokens', 'lm_head']],
])('estimates what a rounded table of tokens and head give, tied: %s', async (tied, modules) => {
  const ends = modules.map((module) => ({
    name: module,
    modules: [module],
    candidates: [uint2, uint3, uint4, uint8].map((format) => scheme({ format, zeroPoint: 'integer' })),
  }));
  const engine = await createEngine({ backend: 'wasm' });
  const options = { ...modelOf(tied), engine, context: createContext(), units: ends };
  const measured = await measureSensitivity(options);
  const estimated = await estimateSensitivity(options);
  expect(await estimateSensitivity(options)).toEqual(estimated);
  await engine.dispose();
  for (const { name } of ends) {
    const [estimate, exact] = [estimated.get(name), measured.get(name)] as number[][];
    for (const [i, kl] of exact.entries()) {
      expect(estimate[i] / kl, `${name} ${i}: ${estimate} ${exact}`).toBeGreaterThan(0.5);
      expect(estimate[i] / kl, `${name} ${i}: ${estimate} ${exact}`).toBeLessThan(2);
    }
    expect([...estimate].sort((a, b) => b - a)).toEqual(estimate);
  }
});
