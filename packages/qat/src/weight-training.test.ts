import { createContext, type NumberFormat, scheme, ternary, uint2, uint3, uint4 } from '@q/core';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { qaft } from './qaft.js';
import { nearestInCells } from './start-weights.js';
import { memoryStore, tinyModel, tinySource, tinyStart, tinyWeights, tinyWindows } from './testing/tiny-model.js';
import { cellShare, type WeightTrainingOptions } from './weight-training.js';

let engine: TfjsEngine;
beforeAll(async () => {
  engine = await createEngine({ backend: 'cpu' });
});
afterAll(() => engine.dispose());

const module = 'model.layers.1.mlp.down_proj';

/** Largest change of a weight and of a scale by one step of AdamW, which is the learning rate. */
async function firstStep(format: NumberFormat, options: WeightTrainingOptions) {
  const start = tinyStart(scheme({ format, zeroPoint: 'integer' }));
  const store = memoryStore();
  const windows = tinyWindows(8);
  await qaft({ epochs: 1, batch: 8, ...options }).tune(
    { model: tinyModel, engine, source: tinySource, start, windows, store },
    createContext(),
  );
  const state = await store.load();
  const quantized = start.get(module);
  const original = tinyWeights.get(`${module}.weight`);
  if (!state || !quantized || !original) throw new Error('nothing was trained');
  const largest = (role: string, before: Float32Array) =>
    Math.max(
      ...(state.get(`parameters/${module}.weight#${role}`) as Float32Array).map((x, i) => Math.abs(x - before[i])),
    );
  return {
    weight: largest('weight', nearestInCells(original, quantized).data),
    scale: largest('scale', quantized.scales),
  };
}

describe('default rates', () => {
  it.each([
    ['uint2', uint2, 1],
    ['uint3', uint3, 3 / 7],
    ['uint4', uint4, 3 / 15],
  ] as const)('are for 2 bits and go with the distance of codes: %s', async (_name, format, share) => {
    const { weight, scale } = await firstStep(format, {});
    expect(weight / (6e-4 * share)).toBeCloseTo(1, 2);
    expect(scale / (2e-4 * share)).toBeCloseTo(1, 2);
  });

  it('give way to those that are given, role by role', async () => {
    const { weight, scale } = await firstStep(uint4, { rates: { weight: 1e-3 } });
    expect(weight / 1e-3).toBeCloseTo(1, 2);
    expect(scale / (2e-4 / 5)).toBeCloseTo(1, 2);
  });

  it('are higher where there are fewer codes', () => {
    expect(cellShare(ternary)).toBe(1.5);
  });
});
