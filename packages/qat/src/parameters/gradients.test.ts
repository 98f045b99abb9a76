import {
  createRandom,
  dequantize,
  e2m1,
  e4m3,
  f16Scale,
  f32Scale,
  fitScales,
  int2,
  int3,
  int4,
  int8,
  minMax,
  nf4,
  perBlock,
  perChannel,
  perFlat,
  perGroup,
  perTensor,
  quantize,
  roundHalfEven,
  type Scheme,
  type SchemeOptions,
  scheme,
  tensor,
  ternary,
  tiling,
  uint2,
  uint4,
} from '@q/core';
import { describe, expect, it } from 'vitest';
import { differences, largestRelative, type SurrogateGrid, surrogate } from '../testing/surrogate.js';
import { frozenCodes } from './frozen-codes.js';
import { learnedStep } from './learned-step.js';
import { refitted } from './refitted.js';
import { signedRounding } from './signed-rounding.js';

const shape = [6, 14];
const normals = (label: string, count: number, size = 1) => {
  const random = createRandom(3).fork(label);
  return Float32Array.from({ length: count }, () => size * random.normal());
};
const weight = tensor('f32', shape, normals('weight', 84, 0.1));
const derivative = normals('derivative', 84);

const scaleIndex = (of: Scheme) => {
  const { columns, tileRows, tileColumns, scaleColumns } = tiling(of.granularity, shape);
  return (i: number) =>
    Math.floor(Math.floor(i / columns) / tileRows) * scaleColumns + Math.floor((i % columns) / tileColumns);
};

/** The nearest level by looking at all of them. */
function gridOf(of: Scheme, reach = 0): SurrogateGrid {
  const { format } = of;
  const levels = Array.from({ length: 2 ** format.bits }, (_, code) => format.decode(code)).filter(Number.isFinite);
  return {
    scaleOf: scaleIndex(of),
    nearest: (v) => levels.reduce((best, level) => (Math.abs(level - v) < Math.abs(best - v) ? level : best)),
    min: format.min,
    max: format.max,
    reach,
  };
}

const schemes: Record<string, SchemeOptions> = {
  'uint2 per channel': { format: uint2, zeroPoint: 'integer' },
  'uint4 per group, ragged': { format: uint4, granularity: perGroup(4), zeroPoint: 'integer' },
  'int4 per channel': { format: int4 },
  'int3 per tensor': { format: int3, granularity: perTensor },
  'int8 per block': { format: int8, granularity: perBlock(4, 5) },
  'int4 per 8 flat elements': { format: int4, granularity: perFlat(8) },
  'uint4 with float zeros': { format: uint4, zeroPoint: 'float', granularity: perGroup(7) },
  'nf4 in groups': { format: nf4, granularity: perGroup(7) },
  e2m1: { format: e2m1, granularity: perGroup(7) },
  e4m3: { format: e4m3 },
  ternary: { format: ternary },
};

describe('learned steps', () => {
  describe.each(Object.entries(schemes))('%s', (_name, options) => {
    // The range is cut, so that some weights are beyond it; f32 scales, whose rounding is the identity.
    const of = scheme({ ...options, scaleStorage: f32Scale });
    const fitted = fitScales(weight, of, minMax());
    const start = { scales: fitted.scales.map((s) => s * 0.7), zeroPoints: fitted.zeroPoints };
    it.each([
      ['clipped', 0],
      ['plain', Number.POSITIVE_INFINITY],
    ] as const)('%s gradients are those of the surrogate', (estimator, reach) => {
      const trained = learnedStep(weight, of, start, { estimator });
      const value = trained.value();
      const gradients = trained.backward(derivative);
      const grid = gridOf(of, reach);
      const origin = {
        weight: [...weight.data],
        scale: [...start.scales],
        zero: [...(start.zeroPoints ?? start.scales.map(() => 0))],
      };
      const at = (change: Partial<typeof origin>) => surrogate(grid, origin, { ...origin, ...change });
      expect(largestRelative(value, at({}))).toBeLessThan(1e-5);
      expect(
        largestRelative(
          gradients.weight,
          differences((x) => at({ weight: [...x] }), origin.weight, derivative),
        ),
      ).toBeLessThan(1e-5);
      expect(
        largestRelative(
          gradients.scale,
          differences((x) => at({ scale: [...x] }), origin.scale, derivative),
        ),
      ).toBeLessThan(1e-5);
      if (of.zeroPoint === 'none') expect(gradients.zero).toBeUndefined();
      else
        expect(
          largestRelative(
            gradients.zero,
            differences((x) => at({ zero: [...x] }), origin.zero, derivative),
          ),
        ).toBeLessThan(1e-5);
    });
  });

  it('what the forward pass saw is what is exported, to the bit', () => {
    for (const options of Object.values(schemes)) {
      const of = scheme({ ...options, scaleStorage: f16Scale });
      const trained = learnedStep(weight, of, fitScales(weight, of, minMax()));
      trained.value();
      const gradients = trained.backward(derivative);
      for (const [role, values] of Object.entries(trained.parameters))
        for (let i = 0; i < values.length; i++) values[i] -= 0.01 * gradients[role][i];
      const seen = trained.value();
      const exported = trained.quantized();
      expect(dequantize(exported).data).toEqual(seen);
      expect(f16Scale.store(exported.scales).effective).toEqual(exported.scales);
      if (of.zeroPoint === 'integer') expect(exported.zeroPoints?.every(Number.isInteger)).toBe(true);
    }
  });

  it('the stretched estimator is SEQ: four balanced levels without zero, gradient within 0.99 of the range', () => {
    // a (round(clip(w / a, -.99, .99) 2 - .5) + .5) / 2, docs/reference/papers.md#learned-steps.
    const a = 0.2;
    const of = scheme({ format: int2, zeroPoint: 'float', granularity: perTensor, scaleStorage: f32Scale });
    const start = { scales: Float32Array.of(a / 2), zeroPoints: Float32Array.of(-0.5) };
    const trained = learnedStep(weight, of, start, { estimator: 'stretched', zeros: false });
    const expected = [...weight.data].map((w) => {
      const c = Math.min(0.99, Math.max(-0.99, w / Math.fround(a)));
      return (a * (roundHalfEven(c * 2 - 0.5) + 0.5)) / 2;
    });
    expect(largestRelative(trained.value(), expected)).toBeLessThan(1e-6);
    const gradients = trained.backward(derivative);
    weight.data.forEach((w, i) => {
      expect(gradients.weight[i]).toBe(Math.abs(w / a) <= 0.99 ? derivative[i] : 0);
    });
    expect(Object.keys(trained.parameters)).toEqual(['weight', 'scale']);
  });

  it("LSQ's gradient scale multiplies the steps' derivatives alone", () => {
    const of = scheme({ format: int4, scaleStorage: f32Scale });
    const start = fitScales(weight, of, minMax());
    const [plain, balanced] = [false, true].map((scaleGradient) => {
      const trained = learnedStep(weight, of, start, { scaleGradient });
      trained.value();
      return trained.backward(derivative);
    });
    expect(balanced.weight).toEqual(plain.weight);
    balanced.scale.forEach((g, i) => {
      expect(g).toBeCloseTo(plain.scale[i] / Math.sqrt(14 * 8), 6);
    });
  });

  it('refuses storages whose scales depend on each other, and turns no grid over', () => {
    const double = { ...f16Scale, name: 'double', toJSON: () => 'double' };
    expect(() =>
      learnedStep(weight, scheme({ format: nf4, scaleStorage: double }), { scales: new Float32Array(6) }),
    ).toThrow(/double depend on each other and have no gradient/);
    const trained = learnedStep(weight, scheme({ format: int4, scaleStorage: f32Scale }), {
      scales: new Float32Array(6).fill(0.02),
    });
    trained.parameters.scale.fill(-1);
    expect(trained.value().every(Number.isFinite)).toBe(true);
    expect(trained.parameters.scale.every((s) => s > 0)).toBe(true);
  });
});

describe('refitted grids', () => {
  it('passes the gradient straight through, and zeroes it beyond the clip value when asked', () => {
    const of = scheme({ format: int4 });
    const plain = refitted(weight, of);
    expect(plain.value()).toEqual(dequantize(quantize(weight, of)).data);
    expect(plain.backward(derivative).weight).toEqual(derivative);
    const clipped = refitted(weight, of, { clipValue: 0.1 });
    clipped.backward(derivative).weight.forEach((g, i) => {
      expect(g).toBe(Math.abs(weight.data[i]) < 0.1 ? derivative[i] : 0);
    });
  });
});

describe('frozen codes (PEQA)', () => {
  it.each(['uint4 per group, ragged', 'int8 per block', 'nf4 in groups'])('%s: the gradient is exact', (name) => {
    const of = scheme({ ...schemes[name], scaleStorage: f32Scale });
    const quantized = quantize(weight, of);
    const trained = frozenCodes(quantized);
    expect(trained.value()).toEqual(dequantize(quantized).data);
    const f = (scales: readonly number[]) => [...dequantizeExact(quantized, scales, scaleIndex(of))];
    const gradients = trained.backward(derivative);
    expect(largestRelative(gradients.scale, differences(f, [...quantized.scales], derivative))).toBeLessThan(1e-5);
    trained.parameters.scale[0] *= 1.5;
    expect(trained.quantized().codes).toBe(quantized.codes);
  });

  it('follows a group index', () => {
    const of = scheme({ format: uint4, granularity: perGroup(7), zeroPoint: 'integer', scaleStorage: f32Scale });
    const groupIndex = Int32Array.from({ length: 14 }, (_, j) => j % 2);
    const quantized = { ...quantize(weight, of), groupIndex };
    const index = (i: number) => Math.floor(i / 14) * 2 + (i % 2);
    const f = (scales: readonly number[]) => [...dequantizeExact(quantized, scales, index)];
    const { scale } = frozenCodes(quantized).backward(derivative);
    expect(largestRelative(scale, differences(f, [...quantized.scales], derivative))).toBeLessThan(1e-5);
  });
});

function dequantizeExact(
  { scheme: of, codes, zeroPoints }: ReturnType<typeof quantize>,
  scales: readonly number[],
  index: (i: number) => number,
): number[] {
  return Array.from(codes, (code, i) => (of.format.decode(code) - (zeroPoints?.[index(i)] ?? 0)) * scales[index(i)]);
}

describe('signed rounding', () => {
  it.each([
    ['asymmetric', scheme({ format: uint4, granularity: perGroup(7), zeroPoint: 'integer', scaleStorage: f32Scale })],
    ['symmetric', scheme({ format: int3, granularity: perChannel, scaleStorage: f32Scale })],
  ] as const)('%s: gradients by offsets and both ends of the range', (_name, of) => {
    const trained = signedRounding(weight, of);
    trained.parameters.rounding.set(normals('offsets', 84, 0.15).map((v) => Math.min(0.4, Math.max(-0.4, v))));
    trained.parameters.lowFactor.fill(0.8);
    trained.parameters.highFactor.fill(0.7);
    const value = trained.value();
    const gradients = trained.backward(derivative);
    const grid = gridOf(of, 0.5);
    const symmetric = of.zeroPoint === 'none';
    const steps = of.format.max - of.format.min;
    const tiles = gradients.lowFactor.length;
    const own = (t: number) => [...weight.data].filter((_, i) => grid.scaleOf(i) === t);
    const low = Array.from({ length: tiles }, (_, t) => Math.min(0, ...own(t)));
    const high = Array.from({ length: tiles }, (_, t) => Math.max(0, ...own(t)));
    const scaleAt = (alpha: readonly number[], beta: readonly number[]) =>
      low.map((l, t) =>
        symmetric
          ? (2 * Math.max(-l * alpha[t], high[t] * beta[t])) / steps
          : (high[t] * beta[t] - l * alpha[t]) / steps,
      );
    const alpha = [...trained.parameters.lowFactor];
    const beta = [...trained.parameters.highFactor];
    const scale0 = scaleAt(alpha, beta);
    const exactZero = (a: readonly number[], s: readonly number[]) => s.map((step, t) => -(low[t] * a[t]) / step);
    const zero0 = symmetric ? low.map(() => 0) : exactZero(alpha, scale0).map(roundHalfEven);
    const origin = { weight: [...weight.data], offset: [...trained.parameters.rounding], scale: scale0, zero: zero0 };
    const at = (offset: readonly number[], a: readonly number[], b: readonly number[]) => {
      const scale = scaleAt(a, b);
      // Rounding of the zero point is the addition of a constant as well.
      const zero = symmetric ? zero0 : exactZero(a, scale).map((z, t) => z + zero0[t] - exactZero(alpha, scale0)[t]);
      return surrogate(grid, origin, { weight: origin.weight, offset, scale, zero });
    };
    expect(largestRelative(value, at(origin.offset, alpha, beta))).toBeLessThan(1e-5);
    expect(
      largestRelative(
        gradients.rounding,
        differences((x) => at(x, alpha, beta), origin.offset, derivative),
      ),
    ).toBeLessThan(2e-5);
    expect(
      largestRelative(
        gradients.lowFactor,
        differences((x) => at(origin.offset, x, beta), alpha, derivative),
      ),
    ).toBeLessThan(2e-5);
    expect(
      largestRelative(
        gradients.highFactor,
        differences((x) => at(origin.offset, alpha, x), beta, derivative),
      ),
    ).toBeLessThan(2e-5);
  });

  it('starts at round-to-nearest, keeps offsets within half a step, and moves no code further than one', () => {
    const of = scheme({ format: uint4, granularity: perGroup(7), zeroPoint: 'integer' });
    const nearest = quantize(weight, of);
    const trained = signedRounding(weight, of);
    trained.value();
    expect(trained.quantized().codes).toEqual(nearest.codes);
    expect(signedRounding(weight, of, nearest).quantized().codes).toEqual(nearest.codes);
    trained.parameters.rounding.set(normals('wild', 84, 3));
    trained.value();
    expect(trained.parameters.rounding.every((v) => Math.abs(v) <= 0.5)).toBe(true);
    trained.quantized().codes.forEach((code, i) => {
      expect(Math.abs(code - nearest.codes[i])).toBeLessThanOrEqual(1);
    });
  });

  it('refuses formats that are not integers', () => {
    expect(() => signedRounding(weight, scheme({ format: nf4 }))).toThrow(/rounding offsets are for integers; nf4/);
  });
});
