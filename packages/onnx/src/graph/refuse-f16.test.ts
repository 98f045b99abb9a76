import { createRandom, NumericError, quantize, tensor } from '@q/core';
import { expect, it } from 'vitest';
import { q2f16, q4f16, q8 } from '../onnx-type.js';
import { refuseF16Scales, refuseF16Values } from './refuse-f16.js';

const matrix = (factor: number) => {
  const random = createRandom(3);
  return tensor(
    'f32',
    [8, 64],
    Float32Array.from({ length: 512 }, () => factor * random.normal()),
  );
};
const schemes = {
  q4f16: q4f16.scheme!,
  q2f16: q2f16.scheme!,
  q8: { ...q8.scheme!, scaleStorage: q4f16.scheme!.scaleStorage },
};

it.each(Object.entries(schemes))('%s: refuses a matrix whose scales f16 does not hold, and no other', (_, scheme) => {
  for (const factor of [1e-5, 1e-3, 1, 1e3]) {
    const values = matrix(factor);
    expect(() => refuseF16Scales('w', values.data, quantize(values, scheme))).not.toThrow();
  }
  for (const factor of [1e-9, 1e-12, 1e8, 1e30]) {
    const values = matrix(factor);
    expect(() => refuseF16Scales('w', values.data, quantize(values, scheme)), `${factor}`).toThrow(NumericError);
  }
  const zeros = tensor('f32', [8, 64], new Float32Array(512));
  expect(() => refuseF16Scales('w', zeros.data, quantize(zeros, scheme))).not.toThrow();
});

it('refuses values that become infinite, and a matrix whose values become zero', () => {
  expect(() => refuseF16Values('w', Float32Array.of(1, -65519), true)).not.toThrow();
  expect(() => refuseF16Values('w', Float32Array.of(1, -65520), false)).toThrow('w: its largest value is 6.552e+4');
  expect(() => refuseF16Values('w', Float32Array.of(0, 1e-7), true)).toThrow('f16 holds values from 2e-6 to 65504');
  expect(() => refuseF16Values('a bias', Float32Array.of(0, 1e-7), false)).not.toThrow();
  expect(() => refuseF16Values('w', new Float32Array(4), true)).not.toThrow();
});
