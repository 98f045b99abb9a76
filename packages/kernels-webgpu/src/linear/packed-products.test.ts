import { packedProductConformance } from '@q/conformance';
import { checkPackedWeight, type PackedWeight } from '@q/core';
import { afterAll, describe, it } from 'vitest';
import { openGpu } from '../device/gpu.js';
import { openDawn } from '../testing/dawn.js';
import { affineWeight } from './affine-weight.js';
import { createGpuLinear } from './gpu-linear.js';

const found = await openDawn();
afterAll(() => found?.close());

/** `[a, b]` to `[b, a]`. */
function turn<T extends Float32Array | Uint32Array>(x: T, a: number, b: number): T {
  const out = x.slice() as T;
  for (let i = 0; i < a; i++) for (let j = 0; j < b; j++) out[j * a + i] = x[i * b + j];
  return out;
}

describe.runIf(found)("core's products with packed weights", () => {
  if (!found) return;
  const gpu = openGpu(found);
  const load = async (weight: PackedWeight) => {
    const groups = checkPackedWeight(weight);
    const { outFeatures, inFeatures, bits } = weight;
    const words = turn(Uint32Array.from(weight.codes), (inFeatures * bits) / 32, outFeatures);
    const affine = await affineWeight(gpu, {
      ...{ outFeatures, inFeatures, bits, groupSize: groups.size, codes: new Uint8Array(words.buffer) },
      scales: turn(weight.scales, groups.count, outFeatures),
      zeros: turn(weight.zeros, groups.count, outFeatures),
    });
    return createGpuLinear(gpu, affine);
  };
  // Other groups and shapes differ in constants, and each compiles three pipelines: seconds on a software driver.
  const cases = packedProductConformance.filter(({ name }) => /groups of 128, 640|refuses/.test(name));
  it.each(cases)('$name', ({ run }) => run(load));
});
