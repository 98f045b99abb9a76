import { describe, expect, it } from 'vitest';
import type { ActivationScheme } from '../contracts/activation-scheme.js';
import { absMax } from '../fit/abs-max.js';
import { int4, int8, uint8 } from '../formats/linear.js';
import { referenceKernels } from '../kernels/reference.js';
import { quantize } from '../quantize.js';
import { createRandom } from '../random.js';
import { perChannel, perGroup, perTensor, perToken } from '../schemes/granularity.js';
import { absMax127Scale, f32Scale } from '../schemes/scale-storage.js';
import { scheme } from '../schemes/scheme.js';
import { tensor } from '../tensor.js';
import { quantizeInt8Input } from './int8-input.js';
import { int8Linear } from './int8-linear.js';
import { int8Weight } from './int8-weight.js';

const random = createRandom('int8');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const sync = referenceKernels.sync as NonNullable<typeof referenceKernels.sync>;
const input = (granularity: typeof perToken, dynamic = true, scale?: number): ActivationScheme => ({
  scheme: scheme({ format: int8, granularity, scaleStorage: f32Scale, dynamic }),
  ...(scale === undefined ? {} : { scale }),
});

describe('quantizeInt8Input', () => {
  it('gives the largest magnitude of each token code 127, and rounds half to even', () => {
    const x = Float32Array.of(127, 0.5, 1.5, -2.5, -254, 1, 3, 5);
    const { codes, scales, tokens } = quantizeInt8Input(x, 4, input(perToken));
    expect(tokens).toBe(2);
    expect([...scales]).toEqual([1, 2]);
    expect([...codes]).toEqual([127, 0, 2, -2, -127, 0, 2, 2]);
  });

  it('shares one scale per tensor, and saturates beyond a static one', () => {
    expect([...quantizeInt8Input(Float32Array.of(1, -254, 3, 2), 2, input(perTensor)).codes]).toEqual([0, -127, 2, 1]);
    const fixed = quantizeInt8Input(Float32Array.of(1000, -1000, 0.5, 1.5), 2, input(perTensor, false, 1));
    expect([...fixed.codes]).toEqual([127, -127, 0, 2]);
    expect([...fixed.scales]).toEqual([1]);
  });

  it('gives zeros scale 1, and survives denormals and no tokens at all', () => {
    expect(quantizeInt8Input(new Float32Array(6), 3, input(perToken))).toMatchObject({
      codes: new Int8Array(6),
      scales: Float32Array.of(1, 1),
    });
    const tiny = quantizeInt8Input(Float32Array.of(2 ** -149, 0), 2, input(perToken));
    expect([tiny.codes[0] * tiny.scales[0], tiny.codes[1]]).toEqual([2 ** -149, 0]);
    expect(quantizeInt8Input(new Float32Array(0), 3, input(perTensor)).tokens).toBe(0);
  });

  it('refuses NaN, infinity, schemes that are not int8, and static scales that were not calibrated', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const activation of [input(perToken), input(perTensor), input(perTensor, false, 1)])
        expect(() => quantizeInt8Input(Float32Array.of(1, 2, bad, 4), 2, activation)).toThrow('at element 2');
    }
    expect(() => quantizeInt8Input(new Float32Array(4), 2, { scheme: scheme({ format: int4 }) })).toThrow('int4');
    expect(() => quantizeInt8Input(new Float32Array(4), 2, input(perToken, false, 1))).toThrow('dynamic');
    expect(() => quantizeInt8Input(new Float32Array(4), 2, input(perTensor, false))).toThrow('calibrate');
    expect(() => quantizeInt8Input(new Float32Array(4), 2, input(perTensor, false, 0))).toThrow('static scale of 0');
    expect(() => quantizeInt8Input(new Float32Array(5), 2, input(perToken))).toThrow('rows of 2');
  });
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

describe('absMax127Scale', () => {
  it('keeps scales that survive being multiplied and divided by 127 in f32', () => {
    const { effective } = absMax127Scale.store(normals(4000).map((x) => Math.abs(x) / 500));
    for (const scale of effective) expect(Math.fround(Math.fround(scale * 127) / 127)).toBe(scale);
  });
});
