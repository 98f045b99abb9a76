import type { ScaleStorage } from '../contracts/scheme.js';
import { type ExponentRule, sharedExponent } from '../fit/shared-exponent.js';
import { e8m0 } from '../formats/e8m0.js';

/**
 * One E8M0 byte a block: the shared exponent of OCP MX (docs/reference/file-formats.md#mx-blocks). Stored parts:
 * `codes` (u8, exponent + 127). A block of zeros gets code 0.
 */
export function sharedExponentScale(options: { readonly rule?: ExponentRule } = {}): ScaleStorage {
  const fit = sharedExponent(options);
  return {
    name: 'e8m0',
    unsigned: true,
    powersOfTwo: true,
    fit,
    store(scales) {
      const codes = Uint8Array.from(scales, (scale) => e8m0.encode(scale));
      return { effective: Float32Array.from(codes, e8m0.decode), parts: { codes } };
    },
    bits: (count) => 8 * count,
    toJSON: () => (options.rule === undefined ? 'e8m0' : { name: 'e8m0', rule: options.rule }),
  };
}

/** Shared exponents by the specification's rule (`floor`). */
export const e8m0Scale: ScaleStorage = sharedExponentScale();
