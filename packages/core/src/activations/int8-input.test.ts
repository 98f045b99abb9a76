import { describe, expect, it } from 'vitest';
import type { ActivationScheme } from '../contracts/activation-scheme.js';
import { int4, int8 } from '../formats/linear.js';
import { perTensor, perToken } from '../schemes/granularity.js';
import { f32Scale } from '../schemes/scale-storage.js';
import { scheme } from '../schemes/scheme.js';
import { quantizeInt8Input, refuseInt8Input } from './int8-input.js';

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

describe('refuseInt8Input', () => {
  it('takes an outlier threshold of 0 or more with dynamic scales per token, and no other', () => {
    for (const outlierThreshold of [0, 6])
      expect(refuseInt8Input({ ...input(perToken), outlierThreshold })).toBeUndefined();
    for (const outlierThreshold of [-1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(refuseInt8Input({ ...input(perToken), outlierThreshold })).toContain(`threshold of ${outlierThreshold}`);
    expect(refuseInt8Input({ ...input(perTensor), outlierThreshold: 6 })).toContain('per token');
    expect(refuseInt8Input({ ...input(perTensor, false, 1), outlierThreshold: 6 })).toContain('per token');
  });
});
