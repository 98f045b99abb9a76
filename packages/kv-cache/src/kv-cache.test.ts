import {
  createRandom,
  FormatError,
  NumericError,
  QuantError,
  referenceKvAttention,
  SchemeError,
  ShapeError,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { cacheScheme, cacheSchemes } from './cache-scheme.js';
import { cacheBytes, KvCache } from './kv-cache.js';
import { parseCacheScheme } from './parse-cache-scheme.js';
import { rotateHeads } from './rotate-heads.js';

const [kvHeads, headDim] = [2, 32];
const width = kvHeads * headDim;
const random = createRandom('kv cache');
const normals = (tokens: number) => Float32Array.from({ length: tokens * width }, () => random.normal());
const make = (scheme = cacheScheme('int4'), capacity = 400) => new KvCache({ scheme, kvHeads, headDim, capacity });
const variants = [
  ...cacheSchemes,
  cacheScheme('int2', { window: 5, sinks: 3, rotate: true }),
  cacheScheme('kivi4', { window: 7, sinks: 2 }),
];

/** Arrays of bytes are compared as a whole: one by one takes seconds. */
const expectBytes = (found: Uint8Array, expected: Uint8Array) => expect(Buffer.compare(found, expected)).toBe(0);

function rms(a: Float32Array, b: Float32Array): number {
  return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]) ** 2, 0) / a.length);
}

describe.each(variants)('a cache of $name, window $window, sinks $sinks', (scheme) => {
  const tokens = 200;
  const [keys, values] = [normals(tokens), normals(tokens)];

  it('is the same to the bit, one by one, in parts and in bulk', () => {
    const bulk = make(scheme);
    bulk.append(keys, values);
    for (const part of [1, 37]) {
      const cache = make(scheme);
      for (let token = 0; token < tokens; token += part) {
        const slice = [token * width, Math.min(tokens, token + part) * width] as const;
        cache.append(keys.subarray(...slice), values.subarray(...slice), token);
      }
      expectBytes(cache.serialise(), bulk.serialise());
    }
    expect(bulk.length).toBe(tokens);
    expect(cacheBytes(scheme, { kvHeads, headDim }, tokens)).toBe(bulk.bytes);
  });

  it('keeps first and newest tokens as they are, and all others near', () => {
    const cache = make(scheme);
    cache.append(keys, values);
    const read = cache.read();
    const plain = scheme.rotate ? rotateHeads(read.keys, headDim) : read.keys;
    const kept = scheme.sinks * width;
    expect(read.values.slice(0, kept)).toEqual(values.slice(0, kept));
    const newest = values.length - scheme.window * width;
    expect(read.values.slice(newest)).toEqual(values.slice(newest));
    // The error of a uniform grid from -3 to 3, doubled, and for floats and tables that of 4 bits.
    const step = 6 / (2 ** Math.min(scheme.keys.format.bits, scheme.keys.format.family === 'linear' ? 8 : 4) - 1);
    expect(rms(plain, keys)).toBeLessThan(step / Math.sqrt(3));
    expect(rms(read.values, values)).toBeLessThan(step / Math.sqrt(3));
  });

  it('comes back from its bytes, and a fork goes its own way', () => {
    const cache = make(scheme);
    cache.append(keys, values);
    const bytes = cache.serialise();
    const back = KvCache.read(bytes, scheme);
    const fork = cache.fork();
    for (const each of [back, fork]) each.append(keys.subarray(0, width), values.subarray(0, width));
    expectBytes(back.serialise(), fork.serialise());
    expectBytes(cache.serialise(), bytes);
    expect(() => KvCache.read(bytes.slice(0, -1), scheme)).toThrow(FormatError);
  });
});

describe('a cache', () => {
  it('counts codes, f16 scales and f32 tokens', () => {
    const int4 = make();
    int4.append(normals(64), normals(64));
    // 4 bits a value, and 2 + 2 bytes for each of 2 heads of each token, keys and values.
    expect(int4.bytes).toBe(2 * 64 * (width / 2 + 4 * kvHeads));
    const kivi = make(cacheScheme('kivi2'));
    kivi.append(normals(164), normals(164));
    expect(kivi.packed).toBe(32);
    expect(kivi.bytes).toBe(132 * width * 8 + (2 * (32 * width)) / 4 + 4 * width + 4 * 32 * kvHeads);
  });

  it('drops the oldest packed tokens, in whole groups, and keeps the first ones', () => {
    const scheme = cacheScheme('kivi4', { window: 4, sinks: 2 });
    const cache = make(scheme);
    cache.append(normals(110), normals(110));
    const before = cache.read().keys;
    cache.evict(32);
    expect(cache.read().keys).toEqual(Float32Array.from([...before.slice(0, 2 * width), ...before.slice(34 * width)]));
    expect([cache.length, cache.position]).toEqual([78, 110]);
    expect(() => cache.evict(16)).toThrow(ShapeError);
    expect(() => cache.evict(96)).toThrow(/cannot be evicted/);
  });

  it('per channel keeps a channel of large keys, per token a large token', () => {
    const large = normals(64).map((value, i) => (i % width === 5 ? 50 * value : value));
    const token = normals(64).map((value, i) => (Math.floor(i / width) === 9 ? 50 * value : value));
    const error = (name: string, keys: Float32Array, outlier: (i: number) => boolean) => {
      const cache = make(cacheScheme(name, { window: 0 }));
      cache.append(keys, keys);
      const read = cache.read().keys;
      const plain = [...keys.keys()].filter((i) => !outlier(i));
      return rms(
        Float32Array.from(plain, (i) => read[i]),
        Float32Array.from(plain, (i) => keys[i]),
      );
    };
    const inChannel = (i: number) => i % width === 5;
    const inToken = (i: number) => Math.floor(i / width) === 9;
    expect(error('kivi4', large, inChannel)).toBeLessThan(0.5 * error('int4', large, inChannel));
    expect(error('int4', token, inToken)).toBeLessThan(0.5 * error('kivi4', token, inToken));
  });

  it('gives attention on codes what attention over its values gives', async () => {
    const heads = 4;
    for (const scheme of [
      cacheScheme('int8'),
      cacheScheme('int3'),
      cacheScheme('int2'),
      cacheScheme('kivi4', { window: 20 }),
      cacheScheme('kivi2', { window: 20, sinks: 4 }),
    ]) {
      const cache = make(scheme);
      cache.append(normals(100), normals(100));
      const queries = Float32Array.from({ length: heads * headDim }, () => random.normal());
      const found = await referenceKvAttention({ ...cache.attentionArgs(), queries, tokens: 1, heads });
      const { keys, values } = cache.read();
      for (let head = 0; head < heads; head++) {
        const kv = Math.floor(head / 2) * headDim;
        const scores = Array.from({ length: 100 }, (_, t) => {
          let sum = 0;
          for (let c = 0; c < headDim; c++) sum += queries[head * headDim + c] * keys[t * width + kv + c];
          return Math.exp(sum / Math.sqrt(headDim));
        });
        const total = scores.reduce((a, b) => a + b);
        for (let c = 0; c < headDim; c++) {
          const mixed = scores.reduce((sum, score, t) => sum + score * values[t * width + kv + c], 0) / total;
          expect(found[head * headDim + c]).toBeCloseTo(mixed, 4);
        }
      }
    }
    for (const scheme of [cacheScheme('nf4'), cacheScheme('fp8')])
      expect(() => make(scheme).attentionArgs()).toThrow(SchemeError);
  });

  it('has a scheme of a text: a name, and what is replaced of it', () => {
    expect(parseCacheScheme('int4')).toEqual(cacheSchemes.find(({ name }) => name === 'int4'));
    const made = parseCacheScheme('kivi4, rotate,window=64,sinks=2,keys=128,values=head');
    expect(made).toMatchObject({ name: 'kivi4,rotate,window=64,sinks=2,keys=128,values=head', rotate: true });
    expect([made.window, made.sinks, made.keys.size, made.values.size]).toEqual([64, 2, 128, 'head']);
    for (const text of ['int4,window', 'int4,window=-1', 'kivi2,keys=head', 'int4,rotated', 'int4,'])
      expect(() => parseCacheScheme(text)).toThrow(/rotate, window=N/);
    expect(() => parseCacheScheme('int5,rotate')).toThrow(/int8, int4/);
  });

  it('rotates without a change of scores', () => {
    const [q, k] = [normals(1), normals(1)];
    const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i], 0);
    expect(dot(rotateHeads(q, headDim), rotateHeads(k, headDim))).toBeCloseTo(dot(q, k), 5);
  });

  it('refuses what would give a wrong result, and stays as it was', () => {
    const cache = make(cacheScheme('int4'), 4);
    cache.append(normals(3), normals(3));
    const before = cache.serialise();
    expect(() => cache.append(normals(2), normals(2))).toThrow(/overflows: it holds 3 of 4/);
    expect(() => cache.append(normals(1), normals(1), 2)).toThrow(/out of order: position 3 is next/);
    expect(() => cache.append(normals(1), normals(2))).toThrow(ShapeError);
    const bad = normals(1);
    bad[7] = Number.NaN;
    expect(() => cache.append(bad, normals(1))).toThrow(NumericError);
    expect(() => cache.append(bad, normals(1))).toThrow(/position 3 holds NaN at feature 7/);
    expectBytes(cache.serialise(), before);
    cache.dispose();
    for (const use of [() => cache.fork(), () => cache.read(), () => cache.append(normals(1), normals(1))])
      expect(use).toThrow(QuantError);
    expect(() => cacheScheme('int5')).toThrow(/int8, int4/);
    expect(
      () => new KvCache({ scheme: cacheScheme('int4', { rotate: true }), kvHeads, headDim: 24, capacity: 1 }),
    ).toThrow(/power of 2/);
    expect(() => KvCache.read(new Uint8Array(8), cacheScheme('int4'))).toThrow(FormatError);
    expect(() => KvCache.read(before, cacheScheme('int8'))).toThrow(/scheme int4/);
  });

  it('keeps groups of one value and of zeros', () => {
    const cache = make();
    const constant = new Float32Array(width).fill(0.3);
    cache.append(constant, new Float32Array(width));
    expect(rms(cache.read().keys, constant)).toBeLessThan(2e-4);
    expect(cache.read().values.every((value) => value === 0)).toBe(true);
  });
});
