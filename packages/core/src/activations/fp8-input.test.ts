import { describe, expect, it } from 'vitest';
import type { ActivationScheme } from '../contracts/activation-scheme.js';

import { dequantize } from '../dequantize.js';
import { createRandom } from '../random.js';
import { perChannel } from '../schemes/granularity.js';
import { schemes } from '../schemes/presets.js';
import { tensor } from '../tensor.js';
import { refuseFp8Input, roundFp8Input } from './fp8-input.js';
import { llama3Bound, quantizeActivations } from './quantize-activations.js';

const { fp8RowWise, fp8TensorWise, fp8Static, int8PerToken } = schemes.activations;
const random = createRandom('fp8 inputs');

describe('FP8 inputs', () => {
  it('round to the values of E4M3: three bits of mantissa, steps of 2^-9 below 2^-6, ties to even', () => {
    // The largest value is 448, so the scale is 1.
    const x = Float32Array.of(448, 1, 1.0625, 1.1875, 17, 19, -23, 2 ** -9, 1.5 * 2 ** -9, 2 ** -10, 3 * 2 ** -11);
    expect([...roundFp8Input(x, x.length, { scheme: fp8RowWise })]).toEqual([
      448,
      1,
      1,
      1.25,
      16,
      20,
      -24,
      2 ** -9,
      2 ** -8,
      0,
      2 ** -9,
    ]);
  });

  it.each([
    ['per token', { scheme: fp8RowWise }],
    ['per tensor', { scheme: fp8TensorWise }],
    ['with the bound of the Llama 3 report', { scheme: fp8RowWise, bound: llama3Bound }],
  ] as const)('are those of the codes of the scheme, %s', (_, activation: ActivationScheme) => {
    for (let exponent = -30; exponent <= 30; exponent += 3) {
      const values = Float32Array.from({ length: 400 }, () => random.normal() ** 3 * 2 ** exponent);
      const x = tensor('f32', [8, 50], values);
      const codes = quantizeActivations(x, activation.scheme, activation);
      // E4M3 has a negative zero, which products do not see.
      const zeroless = (data: Float32Array) => data.map((value) => value + 0);
      expect(zeroless(roundFp8Input(values, 50, activation))).toEqual(zeroless(dequantize(codes).data));
    }
  });

  it('saturate beyond a static scale, and beyond the bound', () => {
    expect([...roundFp8Input(Float32Array.of(1000, -448, 3), 3, { scheme: fp8Static, scale: 1 })]).toEqual([
      448, -448, 3,
    ]);
    const [first, second] = roundFp8Input(Float32Array.of(1e6, 2), 2, { scheme: fp8RowWise, bound: 448 });
    expect([first, second]).toEqual([448, 2]);
  });

  it('keep zeros, and magnitudes whose scale underflows', () => {
    expect([...roundFp8Input(new Float32Array(6), 3, { scheme: fp8RowWise })]).toEqual([0, 0, 0, 0, 0, 0]);
    expect(roundFp8Input(Float32Array.of(2 ** -149), 1, { scheme: fp8RowWise })[0]).toBe(2 ** -149);
    expect(roundFp8Input(new Float32Array(0), 3, { scheme: fp8TensorWise })).toHaveLength(0);
  });

  it('refuse values that are not finite, shapes, and schemes of another kind', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => roundFp8Input(Float32Array.of(1, bad), 2, { scheme: fp8RowWise })).toThrow(`${bad} at element 1`);
    expect(() => roundFp8Input(new Float32Array(5), 2, { scheme: fp8RowWise })).toThrow('not rows of 2');
    expect(() => roundFp8Input(new Float32Array(2), 2, { scheme: fp8Static })).toThrow('no scale yet');
    expect(() => roundFp8Input(new Float32Array(2), 2, { scheme: int8PerToken })).toThrow('FP8 inputs are E4M3');
    expect(refuseFp8Input({ scheme: { ...fp8RowWise, granularity: perChannel } })).toContain('per token or per tensor');
    expect(refuseFp8Input({ scheme: { ...fp8RowWise, dynamic: false } })).toContain('must be dynamic');
    expect(refuseFp8Input({ scheme: fp8Static, scale: 0 })).toContain('static scale of 0');
    expect(refuseFp8Input({ scheme: fp8Static, bound: 5 })).toContain('limits dynamic scales');
    expect(refuseFp8Input({ scheme: fp8RowWise, bound: -1 })).toContain('bound of -1');
    expect(refuseFp8Input({ scheme: fp8RowWise, outlierThreshold: 6 })).toContain('int8');
  });
});
