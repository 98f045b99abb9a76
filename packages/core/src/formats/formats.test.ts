import { describe, expect, it } from 'vitest';
import { roundHalfEven } from '../dtypes/round.js';
import { stressValues } from '../testing/random-floats.js';
import { builtinFormats } from './builtin.js';
import { e8m0 } from './e8m0.js';
import { levelEncoder } from './level-encoder.js';
import { int4, signedIntegers, uint3, unsignedIntegers } from './linear.js';
import { bf16, e2m1, e2m3, e3m2, e4m3, e5m2, fp16, type Minifloat, minifloats } from './minifloat.js';
import { mxint8 } from './scaled-integer.js';
import { binary, binary01, bnbFp4, nf4, normalFloatLevels, powerOfTwo, ternary } from './table.js';

/** Parameters as the specifications print them (docs/reference/file-formats.md#small-floats), not as the code has them. */
const published = [
  {
    format: e4m3,
    e: 4,
    m: 3,
    bias: 7,
    max: 448,
    maxCode: 0x7e,
    minNormal: 2 ** -6,
    minSubnormal: 2 ** -9,
    nan: [0x7f, 0xff],
  },
  {
    format: e5m2,
    e: 5,
    m: 2,
    bias: 15,
    max: 57344,
    maxCode: 0x7b,
    minNormal: 2 ** -14,
    minSubnormal: 2 ** -16,
    nan: [0x7d, 0x7e, 0x7f, 0xfd, 0xfe, 0xff],
  },
  { format: e2m1, e: 2, m: 1, bias: 1, max: 6, maxCode: 7, minNormal: 1, minSubnormal: 0.5, nan: [] },
  { format: e2m3, e: 2, m: 3, bias: 1, max: 7.5, maxCode: 31, minNormal: 1, minSubnormal: 0.125, nan: [] },
  { format: e3m2, e: 3, m: 2, bias: 3, max: 28, maxCode: 31, minNormal: 0.25, minSubnormal: 0.0625, nan: [] },
  {
    format: fp16,
    e: 5,
    m: 10,
    bias: 15,
    max: 65504,
    maxCode: 0x7bff,
    minNormal: 2 ** -14,
    minSubnormal: 2 ** -24,
    nan: undefined,
  },
  {
    format: bf16,
    e: 8,
    m: 7,
    bias: 127,
    max: 3.3895313892515355e38,
    maxCode: 0x7f7f,
    minNormal: 2 ** -126,
    minSubnormal: 2 ** -133,
    nan: undefined,
  },
] as const;

interface Level {
  readonly code: number;
  readonly value: number;
}

/** Finite magnitudes by definition `(1 + M/2^m) 2^(E-bias)`, ascending, up to the published largest. */
function magnitudes({ e, m, bias, max }: (typeof published)[number]): Level[] {
  const out: Level[] = [];
  for (let exponent = 0; exponent < 2 ** e; exponent++) {
    for (let mantissa = 0; mantissa < 2 ** m; mantissa++) {
      const fraction = mantissa / 2 ** m;
      const value = exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
      if (value <= max) out.push({ code: exponent * 2 ** m + mantissa, value });
    }
  }
  return out;
}

/** Nearest by comparing distances in f64, ties to the even code, saturating: an independent encoder. */
function nearest(levels: readonly Level[], x: number): number {
  let low = 0;
  let high = levels.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (levels[middle].value <= x) low = middle;
    else high = middle - 1;
  }
  if (low === levels.length - 1) return levels[low].code;
  const [below, above] = [x - levels[low].value, levels[low + 1].value - x];
  const up = below > above || (below === above && levels[low].code % 2 === 1);
  return levels[up ? low + 1 : low].code;
}

describe.each(published.map((row) => [row.format.name, row] as const))('%s', (_name, row) => {
  const { format, max, maxCode, minNormal, minSubnormal, nan } = row;
  const levels = magnitudes(row);
  const sign = 2 ** (format.bits - 1);

  it('has the published range', () => {
    expect([format.max, format.min]).toEqual([max, -max]);
    expect(format.encode(max)).toBe(maxCode);
    expect(format.decode(1)).toBe(minSubnormal);
    expect(format.decode(2 ** row.m)).toBe(minNormal);
    expect(format.bits).toBe(1 + row.e + row.m);
  });

  it('decodes every code as the definition says, and encodes it back', () => {
    const finite = new Map(levels.map(({ code, value }) => [code, value]));
    let wrong = 0;
    for (let code = 0; code < sign; code++) {
      for (const [full, expected] of [
        [code, finite.get(code)],
        [code + sign, finite.has(code) ? -finite.get(code)! : undefined],
      ] as const) {
        if (expected === undefined) {
          if (Number.isFinite(format.decode(full))) wrong++;
        } else if (!Object.is(format.decode(full), expected) || format.encode(expected) !== full) wrong++;
      }
    }
    expect(wrong).toBe(0);
    if (nan) {
      const found = Array.from({ length: 2 * sign }, (_, code) => code).filter((code) =>
        Number.isNaN(format.decode(code)),
      );
      expect(found).toEqual(nan);
    }
  });

  it('encodes as an f64 search for the nearest value, ties to even, on a million values', () => {
    let wrong = 0;
    for (const x of stressValues(
      1_000_000 / published.length + 1,
      levels.map(({ value }) => value),
    )) {
      if (Number.isNaN(x)) continue;
      const expected = nearest(levels, Math.abs(x)) + (x < 0 || Object.is(x, -0) ? sign : 0);
      if (format.encode(x) !== expected) wrong++;
    }
    expect(wrong).toBe(0);
  });

  it('gives its NaN for NaN, or refuses where it has none', () => {
    if (nan && nan.length === 0) expect(() => format.encode(Number.NaN)).toThrow('no code for NaN');
    else expect(format.decode(format.encode(Number.NaN))).toBeNaN();
  });
});

describe('golden codes of the specifications', () => {
  it('E4M3FN', () => {
    const values = [1, -1, 448, 2 ** -9, 2 ** -10, 1.0625, 1.1875, 0, 449, Number.POSITIVE_INFINITY, -0];
    expect(values.map(e4m3.encode)).toEqual([0x38, 0xb8, 0x7e, 1, 0, 0x38, 0x3a, 0, 0x7e, 0x7e, 0x80]);
  });

  it('E4M3FN without saturation: 464 rounds to 448, above it is NaN', () => {
    expect([464, -464, 464.0001, 1e9, Number.POSITIVE_INFINITY].map(e4m3.convert)).toEqual([
      0x7e, 0xfe, 0x7f, 0x7f, 0x7f,
    ]);
  });

  it('E5M2, with and without saturation', () => {
    expect([1, 1.125, 57344, 61440, Number.POSITIVE_INFINITY].map(e5m2.encode)).toEqual([0x3c, 0x3c, 0x7b, 0x7b, 0x7b]);
    expect([61439, 61440, -61440, Number.NEGATIVE_INFINITY].map(e5m2.convert)).toEqual([0x7b, 0x7c, 0xfc, 0xfc]);
  });

  it('E2M1: the thresholds of the specification', () => {
    const inside = [0.25, 0.26, 0.74, 0.75, 1.25, 1.26, 1.74, 1.75, 2.5, 2.51, 3.49, 3.5, 5, 5.01, 100];
    expect(inside.map((x) => e2m1.decode(e2m1.encode(x)))).toEqual([
      0, 0.5, 0.5, 1, 1, 1.5, 1.5, 2, 2, 3, 3, 4, 4, 6, 6,
    ]);
    expect([-0, -0.1, -6, Number.NEGATIVE_INFINITY].map(e2m1.encode)).toEqual([8, 8, 15, 15]);
  });

  it('E8M0: powers of two without a zero, NaN at 0xff', () => {
    expect([1, 2 ** -127, 2 ** 127, 0, 1e39].map(e8m0.encode)).toEqual([127, 0, 254, 0, 254]);
    for (let code = 0; code < 255; code++) expect(e8m0.encode(e8m0.decode(code))).toBe(code);
    expect(e8m0.decode(255)).toBeNaN();
    expect(e8m0.encode(Number.NaN)).toBe(255);
    expect(() => e8m0.encode(-1)).toThrow('unsigned');
  });

  it("MXINT8: two's complement with a scale of 2^-6", () => {
    expect([mxint8.decode(0x80), mxint8.decode(0x7f), mxint8.decode(0xff)]).toEqual([-2, 1.984375, -1 / 64]);
    expect([-2, 3, 1 / 128, 3 / 128].map(mxint8.encode)).toEqual([0x81, 0x7f, 0, 2]);
  });
});

describe('integers', () => {
  it.each([...signedIntegers, ...unsignedIntegers].map((format) => [format.name, format] as const))(
    '%s round half to even and saturate; codes are offset binary',
    (_name, format) => {
      for (let code = 0; code < 2 ** format.bits; code++) expect(format.encode(format.decode(code))).toBe(code);
      for (const x of stressValues(4_000, [format.min, 0, format.max])) {
        if (Number.isNaN(x)) continue;
        const value = Math.min(format.max, Math.max(format.min, roundHalfEven(x)));
        expect(format.decode(format.encode(x))).toBe(value + 0);
      }
    },
  );

  it("have the ranges of two's complement", () => {
    expect([int4.min, int4.max, uint3.min, uint3.max]).toEqual([-8, 7, 0, 7]);
    expect([2.5, 3.5, -0.5, -1.5, 100, -100].map((x) => int4.decode(int4.encode(x)))).toEqual([2, 4, 0, -2, 7, -8]);
    expect(() => int4.encode(Number.NaN)).toThrow('no code for NaN');
  });
});

describe('tables', () => {
  it('NF4: the generator gives the 16 published floats to 1e-6', () => {
    const levels = normalFloatLevels();
    expect(levels).toHaveLength(16);
    for (const [i, level] of levels.entries()) expect(Math.abs(level - nf4.levels[i])).toBeLessThan(1e-6);
  });

  it('NF4 decides at the published thresholds, strictly above moves up', () => {
    const thresholds = [
      -0.8480964004993439, -0.6106329262256622, -0.4599952697753906, -0.33967943489551544, -0.23460740596055984,
      -0.13791173323988914, -0.045525018125772476, 0.03979014977812767, 0.1202552504837513, 0.2035212516784668,
      0.2920137718319893, 0.3893125355243683, 0.5016634166240692, 0.6427869200706482, 0.8614784181118011,
    ];
    for (const [i, threshold] of thresholds.entries()) {
      // The published ones are f32: the middle itself may lie an ulp beside.
      expect(nf4.encode(threshold - 1e-7)).toBe(i);
      expect(nf4.encode(threshold + 1e-7)).toBe(i + 1);
    }
  });

  it('bitsandbytes FP4 has its own order of magnitudes', () => {
    const twelfths = [0, 0.0625, 8, 12, 4, 6, 2, 3];
    for (let code = 0; code < 16; code++) {
      const magnitude = Math.fround(twelfths[code % 8] / 12);
      expect(bnbFp4.decode(code) + 0).toBe((code < 8 ? magnitude : -magnitude) + 0);
    }
    // Upper ends of codes 0, 1, 6, 7, 4, 5, 2.
    const ends = [0.00260417, 0.0859375, 0.20833333, 0.29166667, 0.4166667, 0.583333, 0.8333333];
    expect(ends.map((end) => bnbFp4.encode(end - 1e-6))).toEqual([0, 1, 6, 7, 4, 5, 2]);
    expect(ends.map((end) => bnbFp4.encode(end + 1e-6))).toEqual([1, 6, 7, 4, 5, 2, 3]);
  });

  it('powers of two are symmetric with a zero', () => {
    expect([...powerOfTwo(3).levels]).toEqual([-1, -0.5, -0.25, 0, 0.25, 0.5, 1]);
    expect(powerOfTwo(4).bits).toBe(4);
    expect(() => powerOfTwo(9)).toThrow('2 to 8 bits');
  });

  it('binary and ternary', () => {
    expect([0, -0, 1e-9, -1e-9].map((x) => binary.decode(binary.encode(x)))).toEqual([1, 1, 1, -1]);
    expect([0.5, 0.51, 3, -1].map((x) => binary01.decode(binary01.encode(x)))).toEqual([0, 1, 1, 0]);
    expect([0.5, 0.51, -0.5, -7, 1].map((x) => ternary.decode(ternary.encode(x)) + 0)).toEqual([0, 1, 0, -1, 1]);
    expect([binary.bits, binary01.bits, ternary.bits]).toEqual([1, 1, 2]);
  });
});

describe('the loop over many values', () => {
  const narrow = builtinFormats.filter(({ bits, min }) => bits <= 8 && min < 0);

  it.each(narrow.map((format) => [format.name, format] as const))('%s gives what encode gives', (_name, format) => {
    const levels = Array.from({ length: 2 ** format.bits }, (_, code) => format.decode(code))
      .filter(Number.isFinite)
      .sort((a, b) => a - b);
    const values = Float32Array.from([...stressValues(4_000, levels)].filter(Number.isFinite).map(Math.fround));
    const finite = values.filter(Number.isFinite);
    for (const scale of [1, 0.37, 3e-5]) {
      const codes = new Uint8Array(finite.length);
      levelEncoder(format)(finite, codes, 0, finite.length, scale);
      const wrong = [...finite].filter((x, i) => codes[i] !== format.encode(x / scale));
      expect(wrong).toEqual([]);
    }
  });
});

describe('names', () => {
  it('are unique, and are what JSON has', () => {
    expect(new Set(builtinFormats.map(({ name }) => name)).size).toBe(builtinFormats.length);
    expect(JSON.stringify({ format: e4m3 })).toBe('{"format":"e4m3"}');
    expect(minifloats.every((format: Minifloat) => format.bits === 1 + format.exponentBits + format.mantissaBits)).toBe(
      true,
    );
  });
});
