import { createRandom, FormatError, QuantError, SchemeError } from '@q/core';
import { describe, expect, it } from 'vitest';
import { fp8Blocks, int8Blocks } from './blocks.js';
import type { GradientCodec } from './gradient-compressor.js';
import { qsgd } from './qsgd.js';
import { scaledSign } from './scaled-sign.js';
import { ternGrad } from './tern-grad.js';
import { topK } from './top-k.js';

const random = createRandom('codecs');
const normals = (length: number, scale = 1) => Float32Array.from({ length }, () => scale * random.normal());
const squared = (values: Iterable<number>) => [...values].reduce((sum, value) => sum + value * value, 0);
const roundTrip = (codec: GradientCodec, g: Float32Array, draws = random) =>
  codec.decompress(codec.compress(g, draws), g.length);

/** The largest |z| of the mean of `draws` decompressed messages against the gradient, by the draws' own variance. */
function largestZ(codec: GradientCodec, g: Float32Array, draws: number): number {
  const sum = new Float64Array(g.length);
  const squares = new Float64Array(g.length);
  const generator = createRandom('draws');
  for (let draw = 0; draw < draws; draw++)
    roundTrip(codec, g, generator).forEach((value, i) => {
      sum[i] += value - g[i];
      squares[i] += (value - g[i]) ** 2;
    });
  return Math.max(
    ...Array.from(sum, (total, i) => {
      const mean = total / draws;
      // f32 products of scale and code differ from the gradient by up to 1e-7 of it where there is no noise.
      const error = Math.sqrt(Math.max(squares[i] / draws - mean * mean, 0) / draws) + 1e-7 * Math.abs(g[i]);
      return Math.abs(mean) / (error + Number.MIN_VALUE);
    }),
  );
}

describe('unbiased codecs', () => {
  const few = Float32Array.of(0.9, -0.31, 0.004, 0, 1.7, -1.7, 2.4e-5, -0.05);
  for (const codec of [qsgd(), qsgd({ levels: 1, norm: 'l2' }), ternGrad({ clip: 0 }), int8Blocks(), fp8Blocks()]) {
    it(`${codec.name} ${JSON.stringify(codec.options)}: the mean of 1e5 draws is the gradient (z-test)`, () => {
      expect(codec.unbiased).toBe(true);
      // 8 elements: |z| beyond 4.5 has a probability of 5e-5.
      expect(largestZ(codec, few, 1e5)).toBeLessThan(4.5);
    });
  }

  it('qsgd keeps the bound of Alistarh et al. on the variance, and its Lemma 3.1 on the number of nonzeros', () => {
    for (const levels of [1, 4, 16, 23]) {
      const g = normals(512);
      const codec = qsgd({ levels, norm: 'l2' });
      let error = 0;
      let nonzeros = 0;
      for (let draw = 0; draw < 200; draw++) {
        const q = roundTrip(codec, g);
        error += squared(q.map((value, i) => value - g[i])) / 200;
        nonzeros += q.filter((value) => value !== 0).length / 200;
      }
      expect(error).toBeLessThan(Math.min(512 / levels ** 2, Math.sqrt(512) / levels) * squared(g));
      expect(nonzeros).toBeLessThanOrEqual(levels * (levels + Math.sqrt(512)));
    }
  });

  it('ternGrad has the variance of its definition: the sum of |g| (s - |g|)', () => {
    const g = normals(300);
    const s = Math.max(...g.map(Math.abs));
    const expected = g.reduce((sum, value) => sum + Math.abs(value) * (s - Math.abs(value)), 0);
    let error = 0;
    for (let draw = 0; draw < 400; draw++)
      error += squared(roundTrip(ternGrad({ clip: 0 }), g).map((value, i) => value - g[i])) / 400;
    expect(error / expected).toBeGreaterThan(0.97);
    expect(error / expected).toBeLessThan(1.03);
  });

  it('int8 errs by less than one step of 1/127 of its block, fp8 by less than a quarter of the value', () => {
    const g = normals(1000);
    roundTrip(int8Blocks({ block: 100 }), g).forEach((value, i) => {
      const block = g.subarray(100 * Math.floor(i / 100), 100 * Math.floor(i / 100) + 100);
      expect(Math.abs(value - g[i])).toBeLessThan(Math.max(...block.map(Math.abs)) / 127 + 1e-6);
    });
    roundTrip(fp8Blocks(), g).forEach((value, i) => {
      expect(Math.abs(value - g[i])).toBeLessThanOrEqual(0.25 * Math.abs(g[i]) + 1e-7);
    });
  });
});

describe('biased codecs', () => {
  it('the scaled sign leaves 1 - |g|_1^2 / (n |g|_2^2) of the energy', () => {
    const g = normals(2000);
    const one = g.reduce((sum, value) => sum + Math.abs(value), 0);
    const share = squared(roundTrip(scaledSign({ block: 2000 }), g).map((value, i) => value - g[i])) / squared(g);
    expect(share).toBeCloseTo(1 - one ** 2 / (2000 * squared(g)), 5);
  });

  it('the scaled sign gives nothing to blocks without a gradient', () => {
    const g = Float32Array.from({ length: 700 }, (_, i) => (i >= 256 && i < 512 ? 0 : (-1) ** i * (i < 256 ? 3 : 5)));
    expect(roundTrip(scaledSign({ block: 256 }), g)).toEqual(g);
  });

  it('top-k sends the largest magnitudes as they are, the first ones of equal', () => {
    const g = Float32Array.of(1, -5, 2, 5, 2, 0, -2, 3);
    expect([...roundTrip(topK({ share: 0.5 }), g)]).toEqual([0, -5, 2, 5, 0, 0, 0, 3]);
    const large = normals(5000);
    const sorted = [...large].sort((a, b) => Math.abs(b) - Math.abs(a)).slice(0, 50);
    const sent = [...roundTrip(topK({ share: 0.01 }), large)].filter((value) => value !== 0);
    expect(sent.sort((a, b) => Math.abs(b) - Math.abs(a))).toEqual(sorted);
  });
});

describe('all codecs', () => {
  const codecs = [qsgd(), ternGrad(), scaledSign(), topK(), int8Blocks(), fp8Blocks()];
  it('send few bytes', () => {
    const g = normals(65536);
    const ratio = (codec: GradientCodec) => (4 * g.length) / codec.compress(g, random).length;
    expect(codecs.map(ratio).map((value) => Math.round(10 * value) / 10)).toEqual([7.9, 16, 28.4, 50, 3.9, 3.9]);
  });

  it('give zeros for zeros, and finite values for tiny, huge and single ones', () => {
    for (const codec of codecs) {
      expect([...roundTrip(codec, new Float32Array(600))].every((value) => value === 0)).toBe(true);
      for (const scale of [1e-42, 1e-30, 1e30])
        expect(roundTrip(codec, normals(600, scale)).every(Number.isFinite)).toBe(true);
      expect(roundTrip(codec, Float32Array.of(-2))[0]).toBeCloseTo(-2, 0);
    }
  });

  it('draw the same bytes from the same seed', () => {
    const g = normals(1000);
    for (const codec of codecs) expect(codec.compress(g, createRandom(1))).toEqual(codec.compress(g, createRandom(1)));
  });

  it('refuse payloads of another length and values that are not finite by name', () => {
    const g = normals(1000);
    for (const codec of codecs) {
      const payload = codec.compress(g, random);
      expect(() => codec.decompress(payload.subarray(1), 1000)).toThrow(FormatError);
      expect(() => codec.decompress(payload, 3000)).toThrow(/bytes, expected/);
    }
    const payload = scaledSign().compress(g, random);
    new DataView(payload.buffer).setFloat32(0, Number.NaN, true);
    expect(() => scaledSign().decompress(payload, 1000)).toThrow(/NaN at place 0/);
    const wrong = topK().compress(g, random);
    new DataView(wrong.buffer).setUint32(0, 5000, true);
    expect(() => topK().decompress(wrong, 1000)).toThrow(/index 5000/);
  });

  it('refuse options out of range', () => {
    for (const make of [
      () => qsgd({ levels: 0 }),
      () => qsgd({ bucket: 1.5 }),
      () => qsgd({ norm: 'l1' as 'l2' }),
      () => ternGrad({ clip: -1 }),
      () => topK({ share: 0 }),
      () => int8Blocks({ block: 0 }),
    ])
      expect(make).toThrow(SchemeError);
    expect(() => qsgd({ levels: 200 })).toThrow(QuantError);
  });
});
