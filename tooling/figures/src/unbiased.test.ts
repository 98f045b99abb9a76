import { createRandom, dequantize, perGroup, quantize, scheme, tensor, uint2, weightedSearch } from '@q/core';
import { expect, it } from 'vitest';
import { withoutShrinkage } from './unbiased.js';

it('a searched grid of 2 bits shrinks its weights by a tenth; the corrected one does not', () => {
  const random = createRandom('unbiased');
  const weight = tensor(
    'f32',
    [16, 96],
    Float32Array.from({ length: 16 * 96 }, () => random.normal()),
  );
  const target = scheme({ format: uint2, granularity: perGroup(64), zeroPoint: 'integer' });
  const gain = (values: Float32Array) =>
    values.reduce((sum, value, i) => sum + value * weight.data[i], 0) / weight.data.reduce((sum, w) => sum + w * w, 0);
  const searched = quantize(weight, target, { fit: weightedSearch() });
  expect(gain(dequantize(searched).data)).toBeLessThan(0.92);
  const corrected = withoutShrinkage(weight, searched);
  expect(corrected.codes).toBe(searched.codes);
  // Scales are stored in f16.
  expect(Math.abs(gain(dequantize(corrected).data) - 1)).toBeLessThan(1e-3);
});
