import {
  type ActivationScheme,
  absMax,
  createRandom,
  f32Scale,
  int4,
  int8,
  perChannel,
  perGroup,
  perTensor,
  perToken,
  quantize,
  quantizeInt8Input,
  referenceKernels,
  type SyncKernels,
  scheme,
  tensor,
  uint8,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { int8Linear } from './int8-linear.js';
import { int8Weight } from './int8-weight.js';

const random = createRandom('int8');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const sync = referenceKernels.sync as SyncKernels;
const input = (granularity: typeof perToken, dynamic = true, scale?: number): ActivationScheme => ({
  scheme: scheme({ format: int8, granularity, scaleStorage: f32Scale, dynamic }),
  ...(scale === undefined ? {} : { scale }),
});

describe('int8Linear', () => {
  const [tokens, width, out] = [7, 33, 5];
  const x = normals(tokens * width);
  const bias = normals(out);

  it.each([
    ['per channel, per token', perChannel, input(perToken)],
    ['per tensor, per token', perTensor, input(perToken)],
    ['per tensor, per tensor', perTensor, input(perTensor)],
    ['per tensor, static', perTensor, input(perTensor, false, 0.02)],
  ] as const)('equals the product of the rounded values in f64: %s', (_, granularity, activation) => {
    const weight = quantize(
      tensor('f32', [out, width], normals(out * width)),
      scheme({ format: int8, granularity, scaleStorage: f32Scale }),
      { fit: absMax({ range: 'narrow' }) },
    );
    const rounded = quantizeInt8Input(x, width, activation);
    const y = int8Linear(rounded, int8Weight(weight), bias, sync);
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < out; o++) {
        let sum = 0;
        for (let j = 0; j < width; j++) {
          const input = rounded.codes[t * width + j] * rounded.scales[rounded.scales.length === 1 ? 0 : t];
          sum += input * (weight.codes[o * width + j] - 128) * weight.scales[weight.scales.length === 1 ? 0 : o];
        }
        expect(Math.abs(y[t * out + o] - (sum + bias[o]))).toBeLessThan(1e-6 * (1 + Math.abs(sum)));
      }
    }
  });

  it('refuses widths that do not fit', () => {
    const weight = int8Weight(quantize(tensor('f32', [2, 3], normals(6)), scheme({ format: int8 })));
    expect(() => int8Linear(quantizeInt8Input(normals(8), 4, input(perToken)), weight, undefined, sync)).toThrow(
      '4 features',
    );
    expect(() => int8Linear(quantizeInt8Input(normals(6), 3, input(perToken)), weight, normals(3), sync)).toThrow(
      'bias',
    );
  });
});

describe('int8Weight', () => {
  it('refuses what an integer product cannot read', () => {
    const weight = tensor('f32', [2, 4], normals(8));
    for (const other of [
      scheme({ format: int8, granularity: perGroup(2) }),
      scheme({ format: uint8, zeroPoint: 'integer' }),
      scheme({ format: int4 }),
    ])
      expect(() => int8Weight(quantize(weight, other))).toThrow('symmetric int8');
  });
});
