import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bf16ToF32, decodeBf16, decodeF16, encodeBf16, encodeF16, f16ToF32, f32ToBf16, f32ToF16 } from './half.js';

/** Every finite value of a 16-bit float, computed from the definition, beside its bits. */
function finiteValues(exponentBits: number, mantissaBits: number): { bits: number; value: number }[] {
  const bias = 2 ** (exponentBits - 1) - 1;
  const out: { bits: number; value: number }[] = [];
  for (let exponent = 0; exponent < 2 ** exponentBits - 1; exponent++) {
    for (let mantissa = 0; mantissa < 2 ** mantissaBits; mantissa++) {
      const fraction = mantissa / 2 ** mantissaBits;
      const value = exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
      out.push({ bits: exponent * 2 ** mantissaBits + mantissa, value });
    }
  }
  return out;
}

/** Nearest by binary search over all values in f64, ties to the even code; above the last midpoint infinity. */
function nearestBits(values: { bits: number; value: number }[], x: number, infinity: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  const last = values[values.length - 1].value;
  const gap = last - values[values.length - 2].value;
  if (magnitude >= last + gap / 2) return sign | infinity;
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (values[middle].value <= magnitude) low = middle;
    else high = middle - 1;
  }
  if (low === values.length - 1) return sign | values[low].bits;
  const below = magnitude - values[low].value;
  const above = values[low + 1].value - magnitude;
  const up = below > above || (below === above && values[low].bits % 2 === 1);
  return sign | values[up ? low + 1 : low].bits;
}

describe.each([
  {
    name: 'f16',
    exponentBits: 5,
    mantissaBits: 10,
    encode: f32ToF16,
    decode: f16ToF32,
    encodeAll: encodeF16,
    decodeAll: decodeF16,
    infinity: 0x7c00,
  },
  {
    name: 'bf16',
    exponentBits: 8,
    mantissaBits: 7,
    encode: f32ToBf16,
    decode: bf16ToF32,
    encodeAll: encodeBf16,
    decodeAll: decodeBf16,
    infinity: 0x7f80,
  },
])('$name', ({ exponentBits, mantissaBits, encode, decode, encodeAll, decodeAll, infinity }) => {
  const values = finiteValues(exponentBits, mantissaBits);

  it('decodes all codes as the definition says', () => {
    const wrong = values.filter(
      ({ bits, value }) => !Object.is(decode(bits), value) || !Object.is(decode(bits | 0x8000), -value),
    );
    expect(wrong).toEqual([]);
    expect(decode(infinity)).toBe(Number.POSITIVE_INFINITY);
    expect(decode(infinity | 0x8001)).toBeNaN();
  });

  it('decode then encode is the identity on all 65,536 codes but NaN, which stays NaN', () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const back = encodeAll(decodeAll(all));
    const wrong = [...all].filter((bits) =>
      Number.isNaN(decode(bits)) ? !Number.isNaN(decode(back[bits])) : back[bits] !== bits,
    );
    expect(wrong).toEqual([]);
  });

  it('encodes to the nearest code, ties to even, on a million values', () => {
    const words = new Uint32Array(1_000_000);
    let state = 12345;
    for (let i = 0; i < words.length; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      words[i] = state;
    }
    const floats = new Float32Array(words.buffer);
    let wrong = 0;
    for (const x of floats) if (!Number.isNaN(x) && encode(x) !== nearestBits(values, x, infinity)) wrong++;
    expect(wrong).toBe(0);
  });

  it('rounds every midpoint to the even neighbour', () => {
    for (let i = 0; i + 1 < values.length; i += 7) {
      const middle = (values[i].value + values[i + 1].value) / 2;
      if (Math.fround(middle) !== middle) continue;
      expect(encode(middle)).toBe(values[i].bits % 2 === 0 ? values[i].bits : values[i + 1].bits);
    }
  });

  it('keeps the sign of zero, infinity and order', () => {
    expect(encode(-0)).toBe(0x8000);
    expect(encode(Number.NEGATIVE_INFINITY)).toBe(infinity | 0x8000);
    fc.assert(
      fc.property(fc.float({ noNaN: true }), fc.float({ noNaN: true }), (a, b) => {
        if (a <= b) expect(decode(encode(a))).toBeLessThanOrEqual(decode(encode(b)));
      }),
    );
  });
});
