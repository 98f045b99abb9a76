import { NumericError } from '../contracts/errors.js';
import type { NumberFormat } from '../contracts/number-format.js';

/**
 * The meaning of the highest codes of a small float.
 * - `ieee`: the top exponent holds infinities and NaN (E5M2, binary16, bfloat16).
 * - `nan`: all values are finite, except the code of all ones, which is NaN (E4M3FN).
 * - `finite`: no special values (E2M1, E2M3, E3M2).
 */
export type Specials = 'ieee' | 'nan' | 'finite';

export interface Minifloat extends NumberFormat {
  readonly family: 'float';
  readonly exponentBits: number;
  readonly mantissaBits: number;
  /**
   * Rounds half to even without saturating, like a plain conversion. Overflow gives infinity if the format has one, or
   * NaN if it has only that. Formats of finite values still saturate.
   */
  convert(x: number): number;
}

/**
 * A float of sign, exponent and mantissa with the usual bias `2^(e-1) - 1`
 * (docs/reference/file-formats.md#small-floats). `encode` saturates, since quantizers need the largest value for a
 * value that is too large, and not NaN.
 */
export function minifloat(name: string, exponentBits: number, mantissaBits: number, specials: Specials): Minifloat {
  const bits = 1 + exponentBits + mantissaBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  const signCode = 2 ** (bits - 1);
  const steps = 2 ** mantissaBits;
  const topExponent = 2 ** exponentBits - 1;
  const nanCode = specials === 'ieee' ? topExponent * steps + steps / 2 : signCode - 1;
  const maxCode = specials === 'ieee' ? topExponent * steps - 1 : specials === 'nan' ? signCode - 2 : signCode - 1;

  function decode(code: number): number {
    const magnitude = code % signCode;
    const sign = code >= signCode ? -1 : 1;
    const exponent = Math.floor(magnitude / steps);
    const mantissa = magnitude % steps;
    if (specials === 'ieee' && exponent === topExponent)
      return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    if (specials === 'nan' && magnitude === signCode - 1) return Number.NaN;
    if (exponent === 0) return sign * (mantissa / steps) * 2 ** (1 - bias);
    return sign * (1 + mantissa / steps) * 2 ** (exponent - bias);
  }

  /** Code of the magnitude rounded half to even, with an unlimited exponent. */
  function roundMagnitude(x: number): number {
    const exponent = Math.max(1 - bias, exponentOf(x));
    // Exact: x is divided by a power of two, and the quotient is below 2^(m+1).
    const quotient = x / 2 ** (exponent - mantissaBits);
    const below = Math.floor(quotient);
    const rest = quotient - below;
    const rounded = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
    // For normals `rounded` is in [steps, 2 steps]; the code is linear in it, a carry into the exponent included.
    return (exponent + bias - 1) * steps + rounded;
  }

  const max = decode(maxCode);
  const signed = (x: number, code: number) => (x < 0 || Object.is(x, -0) ? code + signCode : code);
  const format: Minifloat = {
    name,
    bits,
    family: 'float',
    exponentBits,
    mantissaBits,
    min: -max,
    max,
    encode(x) {
      if (Number.isNaN(x)) {
        if (specials === 'finite')
          throw new NumericError(`${name} has no code for NaN: check the weights before quantizing`);
        return nanCode;
      }
      const magnitude = Math.abs(x);
      return signed(x, magnitude >= max ? maxCode : Math.min(maxCode, roundMagnitude(magnitude)));
    },
    convert(x) {
      if (Number.isNaN(x) || specials === 'finite') return format.encode(x);
      const magnitude = Math.abs(x);
      const code = magnitude > 2 * max ? Number.POSITIVE_INFINITY : roundMagnitude(magnitude);
      if (code <= maxCode) return signed(x, code);
      return signed(x, specials === 'ieee' ? topExponent * steps : nanCode);
    },
    decode,
    toJSON: () => name,
  };
  return format;
}

const scratch = new Float64Array(1);
const scratchWords = new Uint32Array(scratch.buffer);

/** `floor(log2(x))` from the bits of the f64; `Math.log2` rounds wrongly just below powers of two. -1023 for 0. */
export function exponentOf(x: number): number {
  scratch[0] = x;
  return ((scratchWords[1] >>> 20) & 0x7ff) - 1023;
}

/** OCP FP8, bias 7, largest 448, NaN at 0x7f and 0xff, no infinity. */
export const e4m3 = minifloat('e4m3', 4, 3, 'nan');
/** OCP FP8, bias 15, largest 57344, with infinities. */
export const e5m2 = minifloat('e5m2', 5, 2, 'ieee');
/** FP4: 0, 0.5, 1, 1.5, 2, 3, 4, 6. */
export const e2m1 = minifloat('e2m1', 2, 1, 'finite');
/** FP6, largest 7.5. */
export const e2m3 = minifloat('e2m3', 2, 3, 'finite');
/** FP6, largest 28. */
export const e3m2 = minifloat('e3m2', 3, 2, 'finite');
/** IEEE binary16 as a number format: 16-bit codes. */
export const fp16 = minifloat('fp16', 5, 10, 'ieee');
/** bfloat16 as a number format: 16-bit codes. */
export const bf16 = minifloat('bf16', 8, 7, 'ieee');

export const minifloats: readonly Minifloat[] = [e4m3, e5m2, e2m1, e2m3, e3m2, fp16, bf16];
