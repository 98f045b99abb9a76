import { CalibrationError, NumericError, staticCacheSchemes } from '@q/core';
import { expect, it } from 'vitest';
import { CacheRanges } from './cache-ranges.js';

const site = (kind: 'key' | 'value') => ({ block: 3, kind, stage: 'afterRope' }) as const;
const { fp8, int8 } = staticCacheSchemes;

it('divides the largest magnitude of all batches by the largest code', () => {
  const ranges = new CacheRanges('block.attn');
  ranges.see(site('key'), Float32Array.of(1, -896, 3));
  ranges.see(site('value'), Float32Array.of(-127));
  ranges.see(site('key'), Float32Array.of(7));
  expect(ranges.scales(fp8)).toEqual({ key: 2, value: Math.fround(127 / 448) });
  expect(ranges.scales(int8)).toEqual({ key: Math.fround(896 / 127), value: 1 });
});

it('has scale 1 where all are 0, and names what it cannot use', () => {
  const ranges = new CacheRanges('block.attn');
  ranges.see(site('key'), new Float32Array(4));
  expect(() => ranges.scales(fp8)).toThrow(CalibrationError);
  ranges.see(site('value'), new Float32Array(4));
  expect(ranges.scales(fp8)).toEqual({ key: 1, value: 1 });
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
    expect(() => ranges.see(site('value'), Float32Array.of(0, bad))).toThrow(NumericError);
  expect(() => ranges.see(site('value'), Float32Array.of(Number.NaN))).toThrow(/block.attn: a value is NaN/);
});
