import { expect, it } from 'vitest';
import { referenceKernels } from '../kernels/reference.js';
import { outputMoments, outputMomentsMatrix } from './output-moments.js';

const batches = [Float32Array.of(1, 2, 3, -1, 0, 4), Float32Array.of(0.5, -2, 1)];

async function momentsOf(...each: Float32Array[]) {
  const state = outputMoments.create(3);
  for (const x of each) await outputMoments.update(state, { x, tokens: x.length / 3, width: 3 }, referenceKernels);
  return state;
}

it('keeps the triangle of the sum of outer products, and gives both triangles back', async () => {
  const state = await momentsOf(...batches);
  expect(state.count).toBe(3);
  expect(outputMomentsMatrix(state, 2)).toEqual(Float32Array.of(4.5, 2, -1, 2, 16, 8, -1, 8, 52));
  const merged = await momentsOf(batches[0]);
  outputMoments.merge(merged, await momentsOf(batches[1]));
  expect(merged).toEqual(state);
  expect(outputMoments.deserialize(outputMoments.serialize(state))).toEqual(state);
});

it('tells a gradient that is not finite', async () => {
  expect(outputMoments.finite?.(await momentsOf(...batches))).toBe(true);
  expect(outputMoments.finite?.(await momentsOf(Float32Array.of(0, 0, Number.POSITIVE_INFINITY)))).toBe(false);
});
