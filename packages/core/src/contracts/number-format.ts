import type { ScaleFit } from './scale-fit.js';

/**
 * A number format maps reals to codes and back. Codes are unsigned integers below `2^bits`. Signed integer formats use
 * offset binary (code = value + 2^(bits-1)), as GPTQ and compressed-tensors store them.
 *
 * A new format is one object with this interface: no other code branches on formats.
 */
export interface NumberFormat {
  /** Unique, lower case: `int4`, `uint8`, `e4m3`, `nf4`. Schemes write it to JSON. */
  readonly name: string;
  /** Bits of one code. Codes fit a byte up to 8 bits, a 16-bit word above. */
  readonly bits: number;
  /**
   * - `linear`: equidistant integers `min..max`; `x = (decode(code) - zeroPoint) * scale`.
   * - `float`: sign, exponent, mantissa; symmetric, no zero point.
   * - `table`: any other sorted list of levels; symmetric in use, no zero point.
   */
  readonly family: 'linear' | 'float' | 'table';
  /** Smallest finite value of a code. */
  readonly min: number;
  /** Largest finite value of a code. */
  readonly max: number;
  /**
   * The code whose value is nearest to `x`; ties follow the format's specification (to even for integers and floats).
   * Saturates to `min`/`max`. NaN gives the format's NaN if it has one; otherwise throws {@link NumericError}.
   */
  encode(x: number): number;
  /** The value of a code. Inverse of `encode` on every finite code. */
  decode(code: number): number;
  /** The fit of its scale, when the range of the values is not suitable (binary, ternary). */
  readonly fit?: ScaleFit;
  /** Returns the name: a scheme serialises to plain JSON. */
  toJSON(): string;
}

/** Equidistant integers. `encode(x) = clamp(roundHalfEven(x), min, max) - min`. */
export interface LinearFormat extends NumberFormat {
  readonly family: 'linear';
}
