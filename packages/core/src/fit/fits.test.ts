import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NumberFormat } from '../contracts/number-format.js';
import type { FitPanel, ScaleFit } from '../contracts/scale-fit.js';
import type { Scheme } from '../contracts/scheme.js';
import type { Tensor } from '../contracts/tensor.js';
import { dequantize } from '../dequantize.js';
import { levelTable } from '../formats/level-table.js';
import { int2, int3, int4, int8, uint2, uint4 } from '../formats/linear.js';
import { e2m1, e4m3 } from '../formats/minifloat.js';
import { binary, nf4, ternary } from '../formats/table.js';
import { quantize } from '../quantize.js';
import { createRandom } from '../random.js';
import { perTensor } from '../schemes/granularity.js';
import { schemes } from '../schemes/presets.js';
import { f32Scale } from '../schemes/scale-storage.js';
import { scheme } from '../schemes/scheme.js';
import { tensor } from '../tensor.js';
import { absMax } from './abs-max.js';
import { halfQuadratic } from './half-quadratic.js';
import { leastSquaresSupport } from './least-squares-support.js';
import { meanAbsFit, ternaryThreshold } from './mean-abs.js';
import { minMax } from './min-max.js';
import { mseSearch } from './mse-search.js';
import { percentile } from './percentile.js';
import { createScaleSweep } from './scale-sweep.js';
import { sharedExponent } from './shared-exponent.js';
import { weightedSearch } from './weighted-search.js';

const random = createRandom(11);
const gaussian = (count: number) => Float32Array.from({ length: count }, () => random.normal());
const row = (values: Float32Array): Tensor<'f32'> => tensor('f32', [1, values.length], values);
const whole = (format: NumberFormat, zeroPoint: Scheme['zeroPoint'] = 'none') =>
  scheme({ format, granularity: perTensor, zeroPoint, scaleStorage: f32Scale });

/** Weighted squared error of what a fit leads to. */
function errorOf(values: Float32Array, of: Scheme, fit: ScaleFit, importance?: Float32Array): number {
  const back = dequantize(quantize(row(values), of, { fit, importance })).data;
  return values.reduce((sum, x, j) => sum + (importance?.[j] ?? 1) * (x - back[j]) ** 2, 0);
}

describe('the sweep over scales', () => {
  it.each([int2, int3, int4, int8, nf4, e2m1, e4m3, binary, ternary].map((format) => [format.name, format] as const))(
    '%s: the same gain as rounding anew for each candidate',
    (_name, format) => {
      const [points, low, high] = [60, 0.5, 1.1];
      const sweep = createScaleSweep({ points, low, high });
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(1e6), fc.boolean(), (count, seed, weighted) => {
          const own = createRandom(seed);
          const x = Float32Array.from({ length: count }, () => own.normal());
          const weights = weighted ? Float32Array.from({ length: count }, () => own.uniform()) : undefined;
          const start = (own.uniform() + 0.1) * (format.family === 'linear' && own.uniform() < 0.5 ? -1 : 1);
          const out = { scale: 0, gain: 0 };
          sweep(x, start, levelTable(format), weights, out);
          let best = 0;
          for (let i = 0; i < points; i++) {
            const candidate = start * (low + ((high - low) * i) / (points - 1));
            let [product, square] = [0, 0];
            for (const [j, value] of x.entries()) {
              const q = format.decode(format.encode(value / candidate));
              product += (weights?.[j] ?? 1) * value * q;
              square += (weights?.[j] ?? 1) * q * q;
            }
            if (square > 1e-12) best = Math.max(best, (product * product) / square);
          }
          expect(out.gain).toBeCloseTo(best, 8);
        }),
        { numRuns: 30 },
      );
    },
  );
});

describe('weightedSearch', () => {
  it('is near the least error of a fine brute force over scale and zero point', () => {
    for (const format of [uint2, uint4]) {
      const x = gaussian(32).map((v) => v + 0.3);
      let best = Number.POSITIVE_INFINITY;
      for (let zero = 0; zero <= format.max; zero++) {
        for (let i = 1; i <= 2000; i++) {
          const scale = (i / 2000) * 4;
          let sum = 0;
          for (const v of x) sum += (v - (format.decode(format.encode(v / scale + zero)) - zero) * scale) ** 2;
          best = Math.min(best, sum);
        }
      }
      expect(errorOf(x, whole(format, 'integer'), weightedSearch())).toBeLessThan(1.02 * best);
    }
  });

  it('is never worse than the range, on any kind of scheme, and better on normal values', () => {
    const kinds = [
      whole(int2),
      whole(int4),
      whole(uint2, 'integer'),
      whole(uint4, 'integer'),
      whole(uint2, 'float'),
      whole(uint4, 'float'),
      whole(nf4),
      whole(e2m1),
      whole(e4m3),
    ];
    for (const of of kinds) {
      let [searched, plain] = [0, 0];
      for (let i = 0; i < 20; i++) {
        const x = gaussian(64);
        const own = errorOf(x, of, weightedSearch());
        const range = errorOf(x, of, minMax());
        // Codes are made anew for the refined scale: the error can differ from the search's own by a hair.
        expect(own).toBeLessThanOrEqual(1.001 * range);
        searched += own;
        plain += range;
      }
      expect(searched).toBeLessThan(plain);
    }
  });

  it('serves the columns that matter', () => {
    const x = gaussian(64);
    const importance = Float32Array.from({ length: 64 }, (_, j) => (j < 8 ? 100 : 1));
    expect(errorOf(x, whole(int3), weightedSearch(), importance)).toBeLessThan(
      errorOf(
        x,
        whole(int3),
        { ...weightedSearch(), fit: (panel) => weightedSearch().fit({ ...panel, importance: undefined }) },
        importance,
      ),
    );
  });

  it('keeps scales positive where the storage has no sign', () => {
    const x = Float32Array.of(4, -1, -1, 0.5);
    const scale = (of: Scheme) => quantize(row(x), of, { fit: weightedSearch() }).scales[0];
    expect(Math.abs(scale(whole(int2)))).toBeGreaterThan(0);
    expect(scale({ ...whole(int2), scaleStorage: { ...f32Scale, unsigned: true } })).toBeGreaterThan(0);
  });

  it('takes the best of three exponents for shared ones, never worse than the rule of the specification', () => {
    let [searched, rule] = [0, 0];
    for (let i = 0; i < 50; i++) {
      const x = gaussian(32);
      const own = errorOf(x, schemes.mxfp4, weightedSearch());
      expect(own).toBeLessThanOrEqual(errorOf(x, schemes.mxfp4, sharedExponent()) * (1 + 1e-6));
      searched += own;
      rule += errorOf(x, schemes.mxfp4, sharedExponent());
    }
    expect(searched).toBeLessThan(rule);
  });

  it('refuses options that make no sense', () => {
    expect(() => weightedSearch({ points: 1 })).toThrow('points must be a whole number of at least 2, got 1');
    expect(() => weightedSearch({ low: 2 })).toThrow('low must be smaller than high, got low 2, high 1.1');
  });
});

describe('other rules', () => {
  const grid = (of: Scheme, fit: ScaleFit, ...values: number[]) => {
    const { scales, zeroPoints } = quantize(row(Float32Array.from(values)), of, { fit });
    return [scales[0], zeroPoints?.[0]];
  };

  it('absMax: the three symmetric ranges, and their zero point on unsigned codes', () => {
    expect(grid(whole(int4), absMax(), 7.5, -3)).toEqual([1, undefined]);
    expect(grid(whole(int4), absMax({ range: 'narrow' }), 7, -3)).toEqual([1, undefined]);
    expect(grid(whole(int4), absMax({ range: 'full' }), 8, -3)).toEqual([-1, undefined]);
    expect(grid(whole(uint4, 'integer'), absMax(), 7.5, -3)).toEqual([1, 8]);
    expect(grid(whole(uint4, 'integer'), absMax({ range: 'full' }), -8, 3)).toEqual([1, 8]);
    expect(grid(whole(e4m3), absMax(), 448, -3)).toEqual([1, undefined]);
  });

  it('absMax: what is beyond the bound saturates', () => {
    expect(grid(whole(e4m3), absMax({ bound: 1200 }), 1e6, 3)).toEqual([Math.fround(1200 / 448), undefined]);
    expect(grid(whole(e4m3), absMax({ bound: 1200 }), 600, 3)).toEqual([Math.fround(600 / 448), undefined]);
    expect(() => absMax({ bound: 0 })).toThrow('bound must be a number above 0, got 0');
  });

  it('percentile clips the tail', () => {
    const x = Float32Array.from({ length: 1001 }, (_, i) => i - 500);
    x[1000] = 1e6;
    const { scales } = quantize(row(x), whole(int8), { fit: percentile({ p: 0.99 }) });
    expect(scales[0] * 127.5).toBeGreaterThan(490);
    expect(scales[0] * 127.5).toBeLessThan(500);
    expect(() => percentile({ p: 0.2 })).toThrow('p must be a number above 0.5 and of at most 1, got 0.2');
  });

  it('mseSearch shrinks the range by the best of its factors', () => {
    const x = gaussian(256);
    x[0] = 12;
    const factor =
      quantize(row(x), whole(int3), { fit: mseSearch({ norm: 2 }) }).scales[0] /
      quantize(row(x), whole(int3)).scales[0];
    const errorAt = (share: number) => {
      const scale = Math.fround((24 / 7) * share);
      return x.reduce((sum, v) => sum + (v - int3.decode(int3.encode(v / scale)) * scale) ** 2, 0);
    };
    const best = Array.from({ length: 80 }, (_, i) => 1 - i / 100).reduce((a, b) => (errorAt(b) < errorAt(a) ? b : a));
    expect(factor).toBeCloseTo(best, 6);
    expect(errorOf(x, whole(nf4), mseSearch())).toBeLessThan(errorOf(x, whole(nf4), minMax()));
  });

  it('halfQuadratic lowers the p-norm of the error', () => {
    const x = gaussian(64).map((v) => v ** 3);
    const of = whole(uint4, 'float');
    const norm = (fit: ScaleFit) => {
      const back = dequantize(quantize(row(x), of, { fit })).data;
      return x.reduce((sum, v, j) => sum + Math.abs(v - back[j]) ** 0.7, 0);
    };
    expect(norm(halfQuadratic())).toBeLessThanOrEqual(norm(minMax()));
  });

  it('XNOR-Net: the mean magnitude is the least-squares scale of signs', () => {
    const x = gaussian(33);
    const scale = quantize(row(x), whole(binary)).scales[0];
    expect(scale).toBeCloseTo(x.reduce((sum, v) => sum + Math.abs(v), 0) / 33, 6);
    for (const other of [0.9, 1.1]) {
      const fit = {
        ...meanAbsFit(),
        fit(panel: FitPanel) {
          meanAbsFit().fit(panel);
          panel.scale[0] *= other;
        },
      };
      expect(errorOf(x, whole(binary), fit)).toBeGreaterThan(errorOf(x, whole(binary), meanAbsFit()));
    }
  });

  it('BitNet b1.58: round(w / mean|w|) clipped to -1..1', () => {
    const x = Float32Array.of(0.1, -0.2, 0.9, -1.6);
    const mean = Math.fround(0.7);
    const { codes, scales } = quantize(row(x), schemes.bitnet158);
    expect(scales[0]).toBeCloseTo(mean, 6);
    expect([...codes].map((code) => code - 1)).toEqual(
      [...x].map((v) => Math.max(-1, Math.min(1, Math.round(v / mean))) + 0),
    );
  });

  it('TWN: mean magnitude of what is beyond 0.7 of the mean', () => {
    const x = Float32Array.of(0.1, -0.2, 1, -2);
    // Threshold 0.7 * 0.825 = 0.5775: 1 and 2 count.
    expect(grid(whole(ternary), ternaryThreshold(), ...x)).toEqual([1.5, undefined]);
  });

  it('least-squares support is the best over every subset', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: 1, maxLength: 8 }), (raw) => {
        const x = Float32Array.from(raw);
        let best = x.reduce((sum, v) => sum + v * v, 0);
        for (let subset = 1; subset < 2 ** x.length; subset++) {
          const own = [...x].filter((_, i) => subset & (1 << i)).map(Math.abs);
          const s = own.reduce((a, b) => a + b, 0) / own.length;
          const error = [...x].reduce((sum, v, i) => sum + (subset & (1 << i) ? (Math.abs(v) - s) ** 2 : v * v), 0);
          best = Math.min(best, error);
        }
        expect(errorOf(x, whole(ternary), leastSquaresSupport())).toBeLessThanOrEqual(best * (1 + 1e-5) + 1e-6);
      }),
    );
  });

  it('shared exponents: the four rules on amax 1.8 * 2^3 and 6 * 2^1', () => {
    const exponent = (rule: 'floor' | 'even' | 'ceil' | 'rceil', amax: number) =>
      Math.log2(quantize(row(Float32Array.of(amax, 0)), schemes.mxfp4, { fit: sharedExponent({ rule }) }).scales[0]);
    expect((['floor', 'even', 'ceil', 'rceil'] as const).map((rule) => exponent(rule, 1.8 * 8))).toEqual([1, 2, 2, 2]);
    expect((['floor', 'even', 'ceil', 'rceil'] as const).map((rule) => exponent(rule, 12))).toEqual([1, 1, 2, 1]);
    // Exact just below a power of two, where a logarithm rounds up.
    expect(exponent('floor', Math.fround(8 - 2 ** -21))).toBe(0);
  });
});

describe('values that fits must survive', () => {
  const rules: readonly ScaleFit[] = [
    minMax(),
    absMax(),
    absMax({ range: 'narrow' }),
    absMax({ range: 'full' }),
    percentile(),
    mseSearch({ steps: 10 }),
    weightedSearch(),
    halfQuadratic(),
  ];
  const kinds = [
    schemes.integer(4, { groupSize: 4 }),
    schemes.integer(2, { groupSize: 4, zeroPoint: 'integer' }),
    schemes.integer(3, { groupSize: 4, zeroPoint: 'float' }),
    schemes.int8,
    schemes.fp8TensorWise,
    schemes.fp8RowWise,
    schemes.fp8BlockWise,
    schemes.mxfp8,
    schemes.mxfp6,
    schemes.mxfp4,
    schemes.mxint8,
    schemes.nvfp4,
    schemes.nf4,
    schemes.nf4DoubleQuantized,
    schemes.bnbFp4,
    schemes.xnor,
    schemes.binary01,
    schemes.bitnet158,
    schemes.ternary,
    schemes.powerOfTwo(4),
    schemes.fp16,
    schemes.bf16,
  ];
  const hard: readonly (readonly [string, readonly number[], readonly number[]])[] = [
    ['empty', [0, 8], []],
    ['empty rows', [3, 0], []],
    ['0-d', [], [3]],
    ['0-d zero', [], [0]],
    ['zeros', [2, 7], new Array(14).fill(0)],
    ['a zero group beside others', [1, 8], [0, 0, 0, 0, 1, -2, 3, -4]],
    ['constant', [2, 7], new Array(14).fill(-1.5)],
    ['one huge outlier', [1, 9], [1, -1, 0.5, 3e38, 0, 1, 2, 3, -0]],
    ['denormals', [2, 5], [1e-45, -1e-45, 3e-45, 0, 1e-40, 1e-45, 1e-45, 1e-45, 1e-45, 1e-45]],
    ['the largest f32', [1, 4], [3.4028234663852886e38, -3.4028234663852886e38, 1, 0]],
  ];

  it.each(hard)('%s: finite results on every scheme and rule, zeros stay zero', (_name, shape, values) => {
    for (const of of kinds) {
      for (const fit of [undefined, ...rules]) {
        const weight = tensor('f32', shape, Float32Array.from(values));
        const back = dequantize(quantize(weight, of, { fit })).data;
        const label = `${of.format.name} ${fit?.name ?? 'own rule'}`;
        expect(back.length, label).toBe(values.length);
        expect(back.every(Number.isFinite), `${label}: ${back}`).toBe(true);
        if (values.every((x) => x === 0) && of.format.name !== 'binary')
          expect(
            back.every((x) => x === 0),
            `${label}: ${back}`,
          ).toBe(true);
      }
    }
  });
});
