import {
  absMax,
  createRandom,
  type DifferentiableOps,
  dequantize,
  int4,
  int8,
  nf4,
  perTensor,
  perToken,
  quantize,
  scheme,
  tensor,
  uint4,
} from '@q/core';
import { createRuntime, forward } from '@q/models';
import { createEngine, type TfjsEngine } from '@q/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyModel, tinyWeights, tinyWindows } from '../testing/tiny-model.js';
import { clippedQuantize, fakeQuantize } from './fake-quantize.js';
import { quantizedRuntime } from './quantized-runtime.js';

type Ops = TfjsEngine['ops'] extends DifferentiableOps<infer T> ? DifferentiableOps<T> : never;
let engine: TfjsEngine;
let ops: Ops;
beforeAll(async () => {
  engine = await createEngine({ backend: 'cpu' });
  ops = engine.ops;
});
afterAll(() => engine.dispose());

const random = createRandom('activations');
const values = Float32Array.from({ length: 60 }, () => random.normal());
const upstream = Float32Array.from({ length: 60 }, () => random.normal());

function run(
  f: (v: Record<string, ReturnType<Ops['fromF32']>>) => ReturnType<Ops['fromF32']>,
  variables: Record<string, [number[], Float32Array]>,
) {
  const handles = Object.fromEntries(
    Object.entries(variables).map(([name, [shape, data]]) => [name, ops.fromF32(data, shape)]),
  );
  const value = ops.dataSync(f(handles));
  const weights = ops.fromF32(upstream, [3, 4, 5]);
  const { gradients } = ops.valueAndGradients((v) => ops.sum(ops.mul(f(v), weights)), handles);
  return {
    value,
    gradients: Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, ops.dataSync(g)])),
  };
}

describe('fakeQuantize', () => {
  it('rounds each token as core does with the narrow range, and passes gradients straight through', () => {
    const of = scheme({ format: int4, granularity: perToken });
    const { value, gradients } = run(({ x }) => fakeQuantize(ops, x, of), { x: [[3, 4, 5], values] });
    const expected = dequantize(
      quantize(
        tensor('f32', [12, 5], values),
        { ...of, scaleStorage: { ...of.scaleStorage, store: (s) => ({ effective: s }) } },
        { fit: absMax({ range: 'narrow' }) },
      ),
    );
    value.forEach((x, i) => {
      expect(x).toBeCloseTo(expected.data[i], 4);
    });
    gradients.x.forEach((g, i) => {
      expect(g).toBeCloseTo(upstream[i], 6);
    });
  });

  it('asymmetric: at most 2^bits values a token, zero among them, within half a step', () => {
    const of = scheme({ format: uint4, granularity: perToken, zeroPoint: 'integer' });
    const wide = values.map((x, i) => (i % 5 === 0 ? 0 : x + 2));
    const { value } = run(({ x }) => fakeQuantize(ops, x, of), { x: [[3, 4, 5], wide] });
    for (let row = 0; row < 12; row++) {
      const own = wide.subarray(row * 5, row * 5 + 5);
      const step = (Math.max(0, ...own) - Math.min(0, ...own)) / 15;
      own.forEach((x, j) => {
        expect(Math.abs(value[row * 5 + j] - x)).toBeLessThan(0.51 * step);
      });
      expect(Math.abs(value[row * 5])).toBe(0);
    }
  });

  it('per tensor has one step; formats without a gradient are refused by name', () => {
    const of = scheme({ format: int8, granularity: perTensor });
    const { value } = run(({ x }) => fakeQuantize(ops, x, of), { x: [[3, 4, 5], values] });
    const step = Math.max(...values.map(Math.abs)) / 127;
    value.forEach((x) => {
      expect(Math.abs(x / step - Math.round(x / step))).toBeLessThan(1e-3);
    });
    expect(() =>
      fakeQuantize(ops, ops.fromF32(values, [12, 5]), scheme({ format: nf4, granularity: perToken })),
    ).toThrow(/nf4 have no gradient/);
    expect(() => fakeQuantize(ops, ops.fromF32(values, [12, 5]), scheme({ format: int8 }))).toThrow(
      /per token or per tensor, not per channel/,
    );
  });
});

describe('clippedQuantize (PACT)', () => {
  it.each([true, false])(
    'signed %s: the limit learns from what it clips, by finite differences of the clip',
    (signed) => {
      const limit = 0.8;
      const steps = 14;
      const { value, gradients } = run(({ x, a }) => clippedQuantize(ops, x, a, { steps, signed }), {
        x: [[3, 4, 5], values],
        a: [[], Float32Array.of(limit)],
      });
      const clip = (x: number, a: number) => Math.min(a, Math.max(signed ? -a : 0, x));
      const step = ((signed ? 2 : 1) * limit) / steps;
      value.forEach((y, i) => {
        expect(Math.abs(y - clip(values[i], limit))).toBeLessThanOrEqual(step / 2 + 1e-6);
      });
      const loss = (a: number) => values.reduce((sum, x, i) => sum + upstream[i] * clip(x, a), 0);
      expect(gradients.a[0]).toBeCloseTo((loss(limit + 1e-4) - loss(limit - 1e-4)) / 2e-4, 3);
      gradients.x.forEach((g, i) => {
        const inside = values[i] < limit && values[i] > (signed ? -limit : 0);
        expect(Math.abs(g - (inside ? upstream[i] : 0))).toBeLessThan(1e-6);
      });
    },
  );
});

describe('quantizedRuntime', () => {
  it('quantizes inputs of linears but the head, keys once before their rotation, and values', () => {
    const windows = tinyWindows(2);
    const weights = new Map([...tinyWeights].map(([name, each]) => [name, ops.fromTensor(each)]));
    const plain = createRuntime(ops, weights);
    const logits = (runtime: typeof plain) => ops.dataSync(forward(tinyModel, runtime, windows.ids, 2, windows.length));
    const exact = logits(plain);
    const difference = (bits: typeof int4) => {
      const of = scheme({ format: bits, granularity: perToken });
      const changed = logits(quantizedRuntime(plain, tinyModel, { activations: of, cache: of }));
      return Math.max(...changed.map((x, i) => Math.abs(x - exact[i])));
    };
    expect(logits(quantizedRuntime(plain, tinyModel, {}))).toEqual(exact);
    const [coarse, fine] = [difference(int4), difference(int8)];
    expect(fine).toBeGreaterThan(0);
    expect(coarse).toBeGreaterThan(4 * fine);
  });
});
