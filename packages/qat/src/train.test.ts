import { createContext } from '@q/core';
import { expect, it } from 'vitest';
import { adamW } from './optimizers/adamw.js';
import type { Parameterization } from './parameters/parameterization.js';
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
