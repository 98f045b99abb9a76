import { createRandom, dequantize, int3, perGroup, quantize, scheme, tensor, uint2 } from '@q/core';
import { describe, expect, it } from 'vitest';
import { softShifts } from './soft-shifts.js';

const random = createRandom('soft shifts');
const weight = tensor(
  'f32',
  [4, 16],
  Float32Array.from({ length: 64 }, () => random.normal()),
);
const asymmetric = scheme({ format: uint2, granularity: perGroup(8), zeroPoint: 'integer' });
const symmetric = scheme({ format: int3, granularity: perGroup(8) });

describe.each([
  ['2 bits with zero points', asymmetric],
  ['3 bits, symmetric', symmetric],
])('choices between neighbouring codes, %s', (_name, of) => {
  const start = quantize(weight, of);
  const make = (step: number, steps = 10, seed = 'noise') =>
    softShifts(start, { step: () => step, steps, random: createRandom(seed) });

  it('has the gradients of central differences under the noise of the step', () => {
    const soft = make(4);
    const g = Float32Array.from({ length: 64 }, () => random.normal());
    const loss = () => soft.value().reduce((sum, value, i) => sum + value * g[i], 0);
    loss();
    const gradients = soft.backward(g);
    const check = (values: Float32Array, expected: Float32Array, at: number, step: number) => {
      const before = values[at];
      values[at] = before + step;
      const [up, high] = [loss(), values[at]];
      values[at] = before - step;
      const [down, low] = [loss(), values[at]];
      values[at] = before;
      const slope = (up - down) / (high - low);
      expect(Math.abs(expected[at] - slope)).toBeLessThan(0.02 * Math.abs(slope) + 0.02);
    };
    for (const at of [0, 1, 2, 50, 97, 191]) check(soft.parameters.logits, gradients.logits, at, 1e-4);
    // Scales are rounded to f16: a step that is large beside the rounding.
    for (const at of [0, 5]) check(soft.parameters.scale, gradients.scale, at, 0.05);
  });

  it('starts at the codes, never leaves the range, and settles on what it is exported as', () => {
    const soft = make(0);
    expect(soft.quantized().codes).toEqual(start.codes);
    const { logits } = soft.parameters;
    // Everything wants to move up by one.
    for (let i = 0; i < 64; i++) logits[3 * i + 2] = 5;
    const largest = of.format.max - of.format.min;
    soft.quantized().codes.forEach((code, i) => {
      expect(code).toBe(Math.min(largest, start.codes[i] + 1));
    });
    soft.settle?.();
    expect(soft.value()).toEqual(dequantize(soft.quantized()).data);
    soft.restart?.();
    expect(soft.quantized().codes).toEqual(start.codes);
    expect(soft.quantized().scales).toEqual(start.scales);
  });

  it('keeps the start with probability 0.91 at first, and is decided at the end', () => {
    // The likeliest candidate under Gumbel noise is drawn from the softmax of kappa l.
    let kept = 0;
    for (let draw = 0; draw < 60; draw++) {
      const values = make(0, 10, `draw ${draw}`).value();
      const steps = values.map((value, i) => {
        const t = Math.floor(i / 8);
        return Math.abs(value - dequantize(start).data[i]) / Math.abs(start.scales[t]);
      });
      kept += steps.filter((step) => step < 0.5).length / 64 / 60;
    }
    expect(kept).toBeGreaterThan(0.85);
    const late = make(9).value();
    const off = late.filter((value, i) => {
      const exact = (value - dequantize(start).data[i]) / start.scales[Math.floor(i / 8)];
      return Math.abs(exact - Math.round(exact)) > 0.02;
    });
    expect(off.length).toBeLessThan(3);
  });

  it('draws the same noise from the same seed and step, and other noise at another step', () => {
    expect(make(3).value()).toEqual(make(3).value());
    expect(make(3).value()).not.toEqual(make(4).value());
  });
});
