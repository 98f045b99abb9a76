import {
  createContext,
  createRandom,
  dequantize,
  minMax,
  perGroup,
  quantize,
  type Scheme,
  type Statistics,
  scheme,
  tensor,
  uint3,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { hqq } from './hqq.js';

const none: Statistics = { get: () => expect.fail('hqq is data-free'), has: () => false };
const float = scheme({ format: uint3, granularity: perGroup(32), zeroPoint: 'float' });
const integer: Scheme = { ...float, zeroPoint: 'integer' };
const random = createRandom('hqq');
/** Weights with heavy tails: what the norm below 1 is for. */
const weight = tensor(
  'f32',
  [32, 64],
  Float32Array.from({ length: 32 * 64 }, () => random.normal() * (random.uniform() < 0.05 ? 5 : 1)),
);

const quantized = async (of: Scheme) => (await hqq().quantize(weight, none, of, createContext())).quantized;

/** Mean magnitude of the error: what the iteration watches (docs/reference/papers.md#hqq). */
function meanError(values: Float32Array): number {
  return values.reduce((sum, value, i) => sum + Math.abs(value - weight.data[i]), 0) / values.length;
}

describe('hqq', () => {
  it('solves for zero points that lower the mean error below that of the range', async () => {
    const own = await quantized(float);
    const range = quantize(weight, float, { fit: minMax() });
    expect(meanError(dequantize(own).data)).toBeLessThan(meanError(dequantize(range).data));
    expect(own.scales).toEqual(range.scales);
    expect([...(own.zeroPoints as Float32Array)].some((zero) => !Number.isInteger(zero))).toBe(true);
  });

  it('does the step of the paper: zero point = mean(code - (w - shrunk error) / scale)', async () => {
    const row = tensor('f32', [1, 6], Float32Array.of(-1, -0.2, 0.1, 0.3, 0.35, 2.5));
    const one = scheme({ format: uint3, zeroPoint: 'float', scaleStorage: float.scaleStorage });
    const { quantized: own } = await hqq({ iterations: 2 }).quantize(row, none, one, createContext());
    const scale = 3.5 / 7;
    const start = 1 / scale;
    let sum = 0;
    for (const w of row.data) {
      // No value of this row is a tie.
      const code = Math.round(Math.min(7, Math.max(0, w / scale + start)));
      const error = w - (code - start) * scale;
      const shrunk = Math.sign(error) * Math.max(0, Math.abs(error) - Math.abs(error) ** -0.3 / 10);
      sum += code - (w - shrunk) / scale;
    }
    const [zero] = own.zeroPoints as Float32Array;
    // The second step is kept only when it lowers the mean error.
    expect([Math.fround(sum / 6), start]).toContainEqual(zero);
  });

  it('takes the mean error out of a group when no error reaches the threshold of the shrinkage, beta^(-1/(2-p)) = 0.17', async () => {
    const small = tensor(
      'f32',
      weight.shape,
      weight.data.map((value) => value / 50),
    );
    const range = quantize(small, float, { fit: minMax() });
    const start = dequantize(range).data;
    expect(Math.max(...start.map((value, i) => Math.abs(value - small.data[i])))).toBeLessThan(10 ** (-1 / 1.3));
    const { quantized: own } = await hqq({ iterations: 2 }).quantize(small, none, float, createContext());
    for (let group = 0; group < range.scales.length; group++) {
      let mean = 0;
      for (let i = 32 * group; i < 32 * (group + 1); i++) mean += (start[i] - small.data[i]) / 32;
      const shift = (own.zeroPoints as Float32Array)[group] - (range.zeroPoints as Float32Array)[group];
      // Scales are fitted in f32 and stored in f16. The second iterate is kept when its mean magnitude is smaller; else the range's own zero point stays.
      if (shift !== 0) expect(shift * range.scales[group]).toBeCloseTo(mean, 5);
      expect(Math.abs(mean)).toBeLessThan(0.5 * range.scales[group]);
    }
  });

  it('rounds them under a scheme with whole zero points', async () => {
    const zeros = (await quantized(integer)).zeroPoints as Float32Array;
    expect(zeros.every((zero) => Number.isInteger(zero) && zero >= 0 && zero <= 7)).toBe(true);
  });

  it('a linear of zeros and constant rows come through', async () => {
    for (const value of [0, 3, -3]) {
      const constant = tensor('f32', [2, 32], new Float32Array(64).fill(value));
      const { quantized: own } = await hqq().quantize(constant, none, float, createContext());
      for (const x of dequantize(own).data) expect(Math.abs(x - value)).toBeLessThan(0.01);
    }
  });

  it('refuses a symmetric scheme, and NaN', async () => {
    expect(hqq().refuse?.(scheme({ format: uint3 }), [2, 2])).toContain('solves for zero points');
    expect(hqq().refuse?.(float, [2, 2])).toBeUndefined();
    const bad = tensor('f32', [1, 32], new Float32Array(32).fill(1));
    bad.data[3] = Number.NaN;
    await expect(hqq().quantize(bad, none, float, createContext())).rejects.toThrow('NaN');
  });
});
