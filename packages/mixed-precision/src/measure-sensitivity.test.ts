import { cutWindows } from '@q/calib';
import {
  createContext,
  createRandom,
  dequantize,
  quantize,
  scheme,
  type Tensor,
  tensor,
  uint2,
  uint8,
  weightedSearch,
} from '@q/core';
import { evaluate, runWindows } from '@q/eval';
import { describeModel } from '@q/models';
import { createEngine } from '@q/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { measureSensitivity } from './measure-sensitivity.js';

const config = {
  model_type: 'llama',
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  vocab_size: 40,
  tie_word_embeddings: true,
};
const model = describeModel(config);
const candidates = [uint2, uint8].map((format) => scheme({ format, zeroPoint: 'integer' }));
const units = [1, 0, 2].map((layer) => ({
  name: `mlp ${layer}`,
  modules: ['gate', 'up'].map((part) => `model.layers.${layer}.mlp.${part}_proj`),
  candidates,
}));
const windows = cutWindows(
  Int32Array.from({ length: 5 * 12 }, (_, i) => (i * i + 7 * i) % 40),
  12,
);
const tensors = new Map<string, Tensor<'f32'>>();
beforeAll(() => {
  const random = createRandom(5);
  for (const [name, shape] of model.expected) {
    const count = shape.reduce((a, b) => a * b);
    tensors.set(
      name,
      tensor(
        'f32',
        shape,
        Float32Array.from({ length: count }, () => (shape.length === 1 ? 1 : 0) + 0.3 * random.normal()),
      ),
    );
  }
});
const weight = async (name: string) =>
  tensors.get(name) ?? (tensors.get(model.ties.get(name) as string) as Tensor<'f32'>);

describe('measureSensitivity', () => {
  it('is the KL that evaluating the model with the one unit replaced gives', async () => {
    const engine = await createEngine({ backend: 'wasm' });
    const context = createContext();
    const measured = await measureSensitivity({ model, engine, context, weight, windows, units, batch: 2 });
    const original = await runWindows(model, engine, weight, windows);
    for (const { name, modules } of units) {
      for (const [i, candidate] of candidates.entries()) {
        const changed = await runWindows(
          model,
          engine,
          async (tensorName) => {
            const plain = await weight(tensorName);
            return modules.some((module) => tensorName === `${module}.weight`)
              ? dequantize(quantize(plain, candidate, { fit: weightedSearch() }))
              : plain;
          },
          windows,
        );
        const { kl } = await evaluate(changed, windows, { against: original });
        expect(
          Math.abs((measured.get(name) as readonly number[])[i] / (kl as number) - 1),
          `${name} ${i}`,
        ).toBeLessThan(1e-3);
      }
    }
    await engine.dispose();
  });

  it('goes on where it stopped, with the same numbers, and frees what it uploads', async () => {
    const engine = await createEngine({ backend: 'wasm' });
    const options = { model, engine, context: createContext(), weight, windows, units };
    const order: string[] = [];
    const whole = await measureSensitivity({
      ...options,
      onMeasured: async (unit) => {
        order.push(unit);
      },
    });
    expect(order).toEqual(['mlp 0', 'mlp 1', 'mlp 2']);
    const held = engine.memory().tensors;
    const again: string[] = [];
    const resumed = await measureSensitivity({
      ...options,
      finished: new Map([['mlp 0', whole.get('mlp 0') as readonly number[]]]),
      onMeasured: async (unit) => {
        again.push(unit);
      },
    });
    expect(again).toEqual(['mlp 1', 'mlp 2']);
    expect([...resumed].sort()).toEqual([...whole].sort());
    expect(engine.memory().tensors).toBe(held);
    await engine.dispose();
  });

  it('names the unit whose logits are not finite', async () => {
    const engine = await createEngine({ backend: 'wasm' });
    const broken = async (name: string) => {
      const plain = await weight(name);
      return name.includes('layers.1.mlp')
        ? tensor(
            'f32',
            plain.shape,
            plain.data.map((x) => x * 1e30),
          )
        : plain;
    };
    await expect(
      measureSensitivity({ model, engine, context: createContext(), weight: broken, windows, units }),
    ).rejects.toThrow('mlp 0: the logits are not finite');
    await engine.dispose();
  });
});
