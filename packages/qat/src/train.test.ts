import { createContext, type TrainingStore } from '@q/core';
import { expect, it } from 'vitest';
import { adamW } from './optimizers/adamw.js';
import type { Parameterization } from './parameters/parameterization.js';
import { readMemory, writeMemory } from './step-memory.js';
import { memoryStore } from './testing/tiny-model.js';
import { train } from './train.js';

/** A tensor that is its own parameter. */
function itself(values: Float32Array): Parameterization {
  return {
    shape: [values.length],
    parameters: { weight: values },
    value: () => values,
    backward: (derivative) => ({ weight: derivative }),
  };
}

it("moves each tensor by its own share of the rate: Adam's first step is the rate times the sign of the gradient", async () => {
  const [near, far] = [new Float32Array(3).fill(1), new Float32Array(3).fill(1)];
  const derivatives = new Map([
    ['near', Float32Array.of(1, -2, 0.5)],
    ['far', Float32Array.of(1, -2, 0.5)],
  ]);
  await train(
    {
      tensors: new Map([
        ['near', itself(near)],
        ['far', itself(far)],
      ]),
      objective: { windows: 1, evaluate: async () => ({ loss: 1, derivatives }) },
      optimizer: adamW(),
      schedule: () => 1,
      rates: { weight: 0.1 },
      rateFactor: (tensor, role) => (tensor === 'near' && role === 'weight' ? 0.2 : 1),
      ...{ steps: 1, batch: 1 },
    },
    createContext(),
  );
  [0.98, 1.02, 0.98].forEach((value, i) => {
    expect(near[i]).toBeCloseTo(value, 6);
  });
  [0.9, 1.1, 0.9].forEach((value, i) => {
    expect(far[i]).toBeCloseTo(value, 6);
  });
});

it('says the loss of an undisturbed training, wherever it was interrupted', async () => {
  let calls = 0;
  const learn = (store: TrainingStore, dieBefore = Number.POSITIVE_INFINITY) =>
    train(
      {
        tensors: new Map([['w', itself(new Float32Array(3).fill(1))]]),
        objective: {
          windows: 1,
          async evaluate(_values, _windows, step) {
            if (step === dieBefore) throw new Error('killed');
            calls++;
            return { loss: 1 / (step + 3), derivatives: new Map([['w', Float32Array.of(1, -2, 0.5)]]) };
          },
        },
        optimizer: adamW(),
        schedule: () => 1,
        rates: { weight: 0.1 },
        ...{ steps: 40, batch: 1, store, saveEvery: 1 },
      },
      createContext(),
    );
  const whole = await learn(memoryStore());
  // Steps 36 to 39 are the last tenth.
  const last = [39, 40, 41, 42].reduce((sum, n) => sum + 1 / n / 4, 0);
  expect(whole.loss).toBeCloseTo(last, 7);
  for (const dieBefore of [1, 35, 37, 38, 39]) {
    const store = memoryStore();
    await expect(learn(store, dieBefore)).rejects.toThrow('killed');
    expect((await learn(store)).loss, `killed before step ${dieBefore}`).toBe(whole.loss);
    calls = 0;
    expect((await learn(store)).loss).toBe(whole.loss);
    expect(calls).toBe(0);
  }
});

it('keeps counts of bytes beyond what f32 holds', () => {
  const memory = { parameters: 0, gradients: 2 ** 24 + 1, optimizer: 2 ** 40 + 12345, activations: -7, frozen: 123 };
  expect(readMemory(writeMemory(memory))).toEqual(memory);
});
