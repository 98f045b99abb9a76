import { f32Scale, int4, int8, type NumberFormat, perGroup, quantize, scheme, tensor } from '@q/core';
import { expect, it } from 'vitest';
import { refuseLostScales, ScaleRangeError } from './held-scales.js';

const values = (factor: number) => Float32Array.from({ length: 64 }, (_, i) => factor * Math.sin(i * i));
const of = (data: Float32Array, format: NumberFormat = int4, scaleStorage?: typeof f32Scale) =>
  quantize(
    tensor('f32', [2, 32], data),
    scheme({ format: format as typeof int4, granularity: perGroup(16), scaleStorage }),
  );

it.each([
  ['1e-9', values(1e-9), /not above/],
  ['1e7', values(1e7), /larger than 65504/],
  ['one of 1e30', values(1).fill(1e30, 5, 6), /larger than 65504/],
])('refuses values around %s in f16 scales, by the name of the linear', (_, data, message) => {
  expect(() => refuseLostScales('m.q', of(data))).toThrow(ScaleRangeError);
  expect(() => refuseLostScales('m.q', of(data))).toThrow(message);
  expect(() => refuseLostScales('m.q', of(data, int4, f32Scale))).not.toThrow();
});

it('lets pass what f16 holds, small groups beside larger ones among it', () => {
  for (const format of [int4, int8])
    for (const factor of [0.01, 1, 1000]) refuseLostScales('m', of(values(factor), format));
  refuseLostScales('m', of(values(1).fill(1e-9, 0, 16)));
  refuseLostScales('m', of(new Float32Array(64)));
});
