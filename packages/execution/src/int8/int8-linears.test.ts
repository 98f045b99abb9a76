import {
  type ActivationScheme,
  absMax,
  createRandom,
  f32Scale,
  int8,
  type Ops,
  perChannel,
  perTensor,
  perToken,
  quantize,
  quantizeInt8Input,
  type Runtime,
  referenceKernels,
  type SyncKernels,
  scheme,
  tensor,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { int8Linears } from './int8-linears.js';
import { int8Weight } from './int8-weight.js';
import { mixedProduct } from './mixed-product.js';

interface Handle {
  readonly data: Float32Array;
  readonly shape: readonly number[];
}

const random = createRandom('int8 linears');
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
let downloads = 0;
const ops = {
  fromF32: (data: Float32Array, shape: readonly number[]) => ({ data, shape }),
  shape: (x: Handle) => x.shape,
  dataSync(x: Handle) {
    downloads++;
    return x.data;
  },
} as Partial<Ops<Handle>> as Ops<Handle>;
const bias = { data: normals(5), shape: [5] };
const runtime = { ops, has: (name: string) => name.startsWith('biased'), weight: () => bias } as Partial<
  Runtime<Handle>
> as Runtime<Handle>;
const unchanged = (_: string, x: Handle) => x;

const activation = (granularity: typeof perToken, dynamic: boolean, scale?: number): ActivationScheme => ({
  scheme: scheme({ format: int8, granularity, scaleStorage: f32Scale, dynamic }),
  ...(scale === undefined ? {} : { scale }),
});
const stored = quantize(
  tensor('f32', [5, 16], normals(80)),
  scheme({ format: int8, granularity: perChannel, scaleStorage: f32Scale }),
  { fit: absMax({ range: 'narrow' }) },
);
const weight = int8Weight(stored);

describe('int8Linears', () => {
  it.each([
    ['per token', activation(perToken, true)],
    ['per tensor', activation(perTensor, true)],
    ['static', activation(perTensor, false, 0.015)],
  ] as const)('equals the simulated linear on fake-quantized values, bias included: %s', (_, of) => {
    const x = { data: normals(2 * 3 * 16), shape: [2, 3, 16] };
    const wrapper = int8Linears<Handle>(new Map([['biased', { weight, activation: of }]]), referenceKernels);
    const y = wrapper.linear?.('biased', x, unchanged, runtime) as Handle;
    expect(y.shape).toEqual([2, 3, 5]);
    const { codes, scales } = quantizeInt8Input(x.data, 16, of);
    for (let t = 0; t < 6; t++) {
      for (let o = 0; o < 5; o++) {
        let sum = 0;
        for (let j = 0; j < 16; j++) {
          const fake = Math.fround(codes[t * 16 + j] * scales[scales.length === 1 ? 0 : t]);
          sum += fake * Math.fround((stored.codes[o * 16 + j] - 128) * stored.scales[o]);
        }
        expect(Math.abs(y.data[t * 5 + o] - (sum + bias.data[o]))).toBeLessThan(2e-6 * (1 + Math.abs(sum)));
      }
    }
  });

  it('rounds an input that linears share once, and leaves other linears alone', () => {
    const of = activation(perToken, true);
    const modules = new Map(['q', 'k', 'v'].map((name) => [name, { weight, activation: of }]));
    const wrapper = int8Linears<Handle>(modules, referenceKernels);
    const x = { data: normals(32), shape: [1, 2, 16] };
    downloads = 0;
    for (const module of modules.keys()) wrapper.linear?.(module, x, unchanged, runtime);
    expect(downloads).toBe(1);
    expect(wrapper.linear?.('other', x, unchanged, runtime)).toBe(x);
    const next = { data: normals(32), shape: [1, 2, 16] };
    expect(wrapper.linear?.('q', next, unchanged, runtime)).not.toEqual(wrapper.linear?.('q', x, unchanged, runtime));
  });

  it('refuses static schemes without a scale, schemes per channel, and asynchronous kernels', () => {
    const wrap = (of: ActivationScheme) => int8Linears(new Map([['m', { weight, activation: of }]]), referenceKernels);
    expect(() => wrap(activation(perTensor, false))).toThrow('m: its static scale is not known');
    expect(() => wrap(activation(perChannel, true))).toThrow(/^m: .*per token or per tensor/);
    expect(() => int8Linears(new Map(), { name: 'gpu', sync: undefined })).toThrow('gpu');
  });

  it('names the module whose input is not finite', () => {
    const wrapper = int8Linears<Handle>(
      new Map([['m', { weight, activation: activation(perToken, true) }]]),
      referenceKernels,
    );
    const x = { data: normals(16).fill(Number.POSITIVE_INFINITY, 3, 4), shape: [1, 1, 16] };
    expect(() => wrapper.linear?.('m', x, unchanged, runtime)).toThrow(/^m: .*Infinity at element 3/);
  });
});

describe('int8Linears with an outlier threshold', () => {
  const mixed = { weight, activation: { ...activation(perToken, true), outlierThreshold: 6 } };

  it('keeps the shape, adds the bias, and tells the outliers; other linears stay as they are', () => {
    const seen: [string, number, number[]][] = [];
    const wrapper = int8Linears<Handle>(new Map([['biased', mixed]]), referenceKernels, {
      onOutliers: (module, columns, outliers) => seen.push([module, columns, [...outliers]]),
    });
    const x = { data: normals(2 * 3 * 16), shape: [2, 3, 16] };
    x.data[18] = 50;
    expect(wrapper.linear?.('other', x, unchanged, runtime)).toBe(x);
    const y = wrapper.linear?.('biased', x, unchanged, runtime);
    expect(y?.shape).toEqual([2, 3, 5]);
    expect(y?.data).toEqual(mixedProduct(x.data, weight, bias.data, 6, referenceKernels.sync as SyncKernels).y);
    expect(seen).toEqual([['biased', 16, [2]]]);
  });

  it('names the module whose input is not finite, or whose threshold is negative', () => {
    const x = { data: normals(16).fill(Number.NaN, 3, 4), shape: [1, 1, 16] };
    const wrapper = int8Linears<Handle>(new Map([['m', mixed]]), referenceKernels);
    expect(() => wrapper.linear?.('m', x, unchanged, runtime)).toThrow(/^m: .*NaN/);
    const negative = { weight, activation: { ...mixed.activation, outlierThreshold: -1 } };
    expect(() => int8Linears(new Map([['m', negative]]), referenceKernels)).toThrow(/^m: .*threshold of -1/);
  });
});
