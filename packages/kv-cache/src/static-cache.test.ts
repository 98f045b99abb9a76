import { NumericError, QuantError, ShapeError, staticCacheSchemes } from '@q/core';
import { expect, it } from 'vitest';
import { StaticCache } from './static-cache.js';

const sizes = { kvHeads: 2, headDim: 2, capacity: 100 };
const { fp8, int8 } = staticCacheSchemes;
const scales = { key: 0.5, value: 2 };

it('keeps multiples of the scale, rounds what lies between, and clips what lies beyond', () => {
  const cache = new StaticCache({ ...sizes, scheme: int8, scales });
  cache.append(Float32Array.of(0.5, -3, 63.5, 100), Float32Array.of(0.9, 1.1, -256, 300));
  const read = cache.read();
  expect([...read.keys]).toEqual([0.5, -3, 63.5, 63.5]);
  expect([...read.values]).toEqual([0, 2, -256, 254]);
  const float = new StaticCache({ ...sizes, scheme: fp8, scales });
  // 17 lies between 16 and 18, which E4M3 has: the even mantissa wins.
  float.append(Float32Array.of(224, -224, 8.5, 1e9), Float32Array.of(896, 2, 0, -1e9));
  expect([...float.read().keys]).toEqual([224, -224, 8, 224]);
  expect([...float.read().values]).toEqual([896, 2, 0, -896]);
});

it('is the same one by one and in bulk, and counts a byte a value', () => {
  const values = Float32Array.from({ length: 4 * 90 }, (_, i) => 10 * Math.sin(i));
  const [bulk, single] = [fp8, fp8].map((scheme) => new StaticCache({ ...sizes, scheme, scales }));
  bulk.append(values, values);
  for (let token = 0; token < 90; token++) {
    const part = values.subarray(4 * token, 4 * token + 4);
    single.append(part, part, token);
  }
  expect(single.read()).toEqual(bulk.read());
  expect([bulk.length, bulk.bytes]).toEqual([90, 2 * 90 * 4]);
  expect(bulk.queries(values)).toBe(values);
});

it('refuses what would give a wrong result, and stays as it was', () => {
  const cache = new StaticCache({ ...sizes, capacity: 2, scheme: int8, scales });
  const token = new Float32Array(4);
  cache.append(token, token);
  expect(() => cache.append(new Float32Array(8), new Float32Array(8))).toThrow(/overflows: it holds 1 of 2 tokens/);
  expect(() => cache.append(token, token, 0)).toThrow(/out of order: position 1 is next/);
  expect(() => cache.append(token, new Float32Array(8))).toThrow(ShapeError);
  const bad = Float32Array.of(0, 0, Number.NaN, 0);
  expect(() => cache.append(token, bad)).toThrow(NumericError);
  expect(() => cache.append(token, bad)).toThrow(/the value at position 1 holds NaN at feature 2/);
  expect(cache.length).toBe(1);
  cache.dispose();
  expect(() => cache.read()).toThrow(QuantError);
});
