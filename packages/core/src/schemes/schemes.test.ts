import { describe, expect, it } from 'vitest';
import type { Scheme } from '../contracts/scheme.js';
import { dequantize } from '../dequantize.js';
import { fitCodebook } from '../formats/codebook.js';
import { e4m3 } from '../formats/minifloat.js';
import { quantize } from '../quantize.js';
import { createRandom } from '../random.js';
import { tensor } from '../tensor.js';
import { doubleQuantizedScale, doubleScale, dynamicMap } from './double-quantized-scale.js';
import { perTensor } from './granularity.js';
import { schemes } from './presets.js';
import { absMax127Scale, unitScale } from './scale-storage.js';
import { bitsPerWeight, scheme } from './scheme.js';
import { schemeFromJSON } from './scheme-json.js';
import { e8m0Scale, sharedExponentScale } from './shared-exponent-scale.js';
import { e4m3Scale, twoLevelScale } from './two-level-scale.js';

const random = createRandom(2);
const gaussian = (...shape: number[]) =>
  tensor(
    'f32',
    shape,
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal()),
  );

const presets: readonly (readonly [string, Scheme, bits: number])[] = [
  // On a 4096 x 4096 weight, counted by hand: element bits + scale bits / elements of a scale.
  ['fp16', schemes.fp16, 16],
  ['bf16', schemes.bf16, 16],
  ['integer(2, g64)', schemes.integer(2, { groupSize: 64 }), 2 + 16 / 64],
  ['integer(4, g128, zero)', schemes.integer(4, { groupSize: 128, zeroPoint: 'integer' }), 4 + 20 / 128],
  ['integer(3, g64, float zero)', schemes.integer(3, { groupSize: 64, zeroPoint: 'float' }), 3 + 32 / 64],
  ['int8', schemes.int8, 8 + 16 / 4096],
  ['int8TensorWise', schemes.int8TensorWise, 8 + 32 / 2 ** 24],
  ['int4', schemes.int4, 4 + 16 / 128],
  ['fp8TensorWise', schemes.fp8TensorWise, 8 + 32 / 2 ** 24],
  ['fp8RowWise', schemes.fp8RowWise, 8 + 32 / 4096],
  ['fp8BlockWise', schemes.fp8BlockWise, 8 + 32 / 2 ** 14],
  ['fp8E5m2', schemes.fp8E5m2, 8 + 32 / 2 ** 24],
  ['mxfp8', schemes.mxfp8, 8.25],
  ['mxfp8E5m2', schemes.mxfp8E5m2, 8.25],
  ['mxfp6', schemes.mxfp6, 6.25],
  ['mxfp6E3m2', schemes.mxfp6E3m2, 6.25],
  ['mxfp4', schemes.mxfp4, 4.25],
  ['mxint8', schemes.mxint8, 8.25],
  ['nvfp4', schemes.nvfp4, 4.5 + 32 / 2 ** 24],
  ['nf4', schemes.nf4, 4.5],
  ['nf4DoubleQuantized', schemes.nf4DoubleQuantized, 4 + 8 / 64 + 32 / (64 * 256) + 32 / 2 ** 24],
  ['bnbFp4', schemes.bnbFp4, 4.5],
  ['powerOfTwo(4)', schemes.powerOfTwo(4), 4 + 16 / 4096],
  ['xnor', schemes.xnor, 1 + 32 / 4096],
  ['binary01', schemes.binary01, 1 + 32 / 4096],
  ['bitnet158', schemes.bitnet158, 2 + 32 / 2 ** 24],
  ['ternary', schemes.ternary, 2 + 32 / 4096],
];

describe('named schemes', () => {
  it.each(presets)('%s: its bits per weight, by hand', (_name, of, bits) => {
    expect(bitsPerWeight(of, [4096, 4096])).toBeCloseTo(bits, 9);
  });

  it('NF4 with double quantization has the 4.127 bits of the paper', () => {
    expect(bitsPerWeight(schemes.nf4DoubleQuantized, [4096, 4096])).toBeCloseTo(4.127, 3);
  });

  it.each(presets)('%s: quantizes a ragged tensor, and comes back from JSON as it was', (_name, of) => {
    const weight = gaussian(5, 37);
    const quantized = quantize(weight, of);
    const again = schemeFromJSON(JSON.stringify(of));
    expect(JSON.stringify(again)).toBe(JSON.stringify(of));
    expect(quantize(weight, again).codes).toEqual(quantized.codes);
    const back = dequantize(quantized).data;
    const noise = weight.data.reduce((sum, x, i) => sum + (x - back[i]) ** 2, 0);
    const signal = weight.data.reduce((sum, x) => sum + x * x, 0);
    expect(noise).toBeLessThan(0.75 * signal);
  });

  it('integers of other widths are refused', () => {
    expect(() => schemes.integer(9)).toThrow('2 to 8 bits');
  });
});

describe('schemeFromJSON', () => {
  const json = JSON.parse(JSON.stringify(schemes.nvfp4));

  it('names the key that is wrong and what it may be', () => {
    expect(() => schemeFromJSON('{')).toThrow('not valid JSON');
    expect(() => schemeFromJSON(null)).toThrow('is an object');
    expect(() => schemeFromJSON({ ...json, format: 'int9' })).toThrow('scheme.format int9: is not known');
    expect(() => schemeFromJSON({ ...json, granularity: { kind: 'row' } })).toThrow('kind must be one of tensor');
    expect(() => schemeFromJSON({ ...json, granularity: { kind: 'group', size: 0 } })).toThrow('groupSize');
    expect(() => schemeFromJSON({ ...json, zeroPoint: 'some' })).toThrow('none, integer or float');
    expect(() => schemeFromJSON({ ...json, scaleStorage: 'f8' })).toThrow('is not one of f32');
    expect(() => schemeFromJSON({ ...json, dynamic: 'yes' })).toThrow('true or false');
  });

  it('keeps the options of storages, and takes formats of its caller', () => {
    const codebook = fitCodebook(gaussian(64).data, 3);
    const of = scheme({ format: codebook, granularity: perTensor, scaleStorage: twoLevelScale({ global: 0.5 }) });
    const again = schemeFromJSON(JSON.stringify(of), { formats: [codebook] });
    expect(again.format).toBe(codebook);
    expect(again.scaleStorage.toJSON()).toEqual({ name: 'e4m3', global: 0.5 });
    for (const storage of [doubleQuantizedScale({ blockSize: 128 }), sharedExponentScale({ rule: 'even' })]) {
      expect(
        JSON.stringify(schemeFromJSON(JSON.stringify({ ...schemes.mxfp4, scaleStorage: storage })).scaleStorage),
      ).toBe(JSON.stringify(storage));
    }
  });
});

describe('two levels (NVFP4)', () => {
  it('the global is amax / 2688, a block has the E4M3 value nearest to amax / 6 / global', () => {
    const weight = gaussian(4, 32);
    const { scales, storedScales } = quantize(weight, schemes.nvfp4);
    const amax = weight.data.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const { global, codes } = storedScales!.parts as { global: Float32Array; codes: Uint8Array };
    expect(global[0] / (amax / 2688)).toBeCloseTo(1, 6);
    for (let block = 0; block < 8; block++) {
      const own = weight.data.slice(16 * block, 16 * (block + 1)).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      // Half a step of three bits of mantissa.
      expect(Math.abs((e4m3.decode(codes[block]) * global[0]) / (own / 6) - 1)).toBeLessThan(1 / 16 + 1e-6);
      expect(scales[block]).toBe(Math.fround(e4m3.decode(codes[block]) * global[0]));
    }
  });

  it('takes a global of its caller, and refuses what is none', () => {
    const { parts, effective } = twoLevelScale({ global: 0.25 }).store(Float32Array.of(1, 1e9, 1e-9, 0));
    expect([...(parts!.global as Float32Array)]).toEqual([0.25]);
    expect([...effective]).toEqual([1, 112, 2 ** -11, 2 ** -11]);
    for (const global of [0, -1, Number.NaN, 1e-60]) expect(() => twoLevelScale({ global })).toThrow('positive f32');
  });

  it('zeros only, and nothing at all', () => {
    expect([...e4m3Scale.store(new Float32Array(2)).effective]).toEqual([2 ** -9, 2 ** -9]);
    expect(e4m3Scale.store(new Float32Array(0)).effective).toHaveLength(0);
  });
});

describe('shared exponents', () => {
  it('are stored as exponent + 127, the even one on a tie, and clamped to what E8M0 has', () => {
    const { effective, parts } = e8m0Scale.store(Float32Array.of(1, 0.25, 0, 3, 2 ** -149));
    expect([...(parts!.codes as Uint8Array)]).toEqual([127, 125, 0, 128, 0]);
    expect([...effective]).toEqual([1, 0.25, 2 ** -127, 2, 2 ** -127]);
  });
});

describe('double quantization', () => {
  it('the dynamic map has 256 values from -0.99297 to 1, zero among them', () => {
    const levels = [...dynamicMap.levels].sort((a, b) => a - b);
    expect(new Set(levels).size).toBe(256);
    expect(levels[0]).toBeCloseTo(-0.9929688, 6);
    expect(levels[255]).toBe(1);
    expect(levels).toContain(0);
    // The finest decade has one value, at 0.55 of 1e-6.
    expect(Math.min(...levels.filter((x) => x > 0))).toBeCloseTo(0.55e-6, 10);
  });

  it('keeps the mean, and each scale to the precision of the map', () => {
    const scales = Float32Array.from({ length: 600 }, () => 0.1 + 0.02 * random.uniform());
    const { effective, parts } = doubleScale.store(scales);
    const mean = scales.reduce((a, b) => a + b, 0) / 600;
    expect((parts!.offset as Float32Array)[0]).toBeCloseTo(mean, 6);
    expect(parts!.absMax).toHaveLength(3);
    for (let i = 0; i < 600; i++) {
      const reader = dynamicMap.levels[(parts!.codes as Uint8Array)[i]] * (parts!.absMax as Float32Array)[i >> 8];
      expect(effective[i]).toBe(Math.fround(reader + (parts!.offset as Float32Array)[0]));
      // The widest gap of the map is 0.9 / 64, of values up to 0.01.
      expect(Math.abs(effective[i] - scales[i])).toBeLessThan((0.011 * 0.9) / 64 / 2 + 1e-7);
    }
  });

  it('never gives a scale that is not above zero', () => {
    const { effective } = doubleScale.store(Float32Array.of(0, 1e-6, 1, 1, 5));
    expect(effective.every((scale) => scale > 0)).toBe(true);
    expect(() => doubleQuantizedScale({ blockSize: 0 })).toThrow('at least 1');
  });
});

describe('codebooks', () => {
  it('k-means levels have a lower error than any evenly spaced grid of as many', () => {
    const weight = gaussian(40, 50);
    const of = scheme({ format: fitCodebook(weight.data, 3), granularity: perTensor, scaleStorage: unitScale });
    const error = (values: Float32Array) => weight.data.reduce((sum, x, i) => sum + (x - values[i]) ** 2, 0);
    const own = error(dequantize(quantize(weight, of)).data);
    for (let i = 1; i < 60; i++) {
      const step = i / 20;
      const uniform = weight.data.map((x) => (Math.min(3, Math.max(-4, Math.floor(x / step))) + 0.5) * step);
      expect(own).toBeLessThan(error(uniform));
    }
    // Lloyd's optimum for a normal distribution and 8 levels (Max 1960): mean squared error 0.03454.
    expect(own / 2000).toBeGreaterThan(0.028);
    expect(own / 2000).toBeLessThan(0.04);
  });

  it('weights pull levels towards what matters', () => {
    const values = Float32Array.of(0, 1, 10, 11);
    expect([
      ...(fitCodebook(values, 1, Float32Array.of(3, 1, 1, 1)) as unknown as { levels: Float32Array }).levels,
    ]).toEqual([0.25, 10.5]);
    expect(() => fitCodebook(values, 9)).toThrow('1 to 8 bits');
  });
});

describe('absMax127Scale', () => {
  it('keeps scales that survive being multiplied and divided by 127 in f32', () => {
    const { effective } = absMax127Scale.store(gaussian(4000).data.map((x) => Math.abs(x) / 500));
    for (const scale of effective) expect(Math.fround(Math.fround(scale * 127) / 127)).toBe(scale);
  });
});
