import { SchemeError } from '../contracts/errors.js';
import type { ScaleStorage } from '../contracts/scheme.js';
import { e4m3 } from '../formats/minifloat.js';

/** Code of the smallest E4M3 value above zero, 2^-9. */
const smallestCode = 1;

/**
 * The two levels of NVFP4 (docs/reference/file-formats.md#nvfp4): an E4M3 scale a block and one f32 for the tensor; a
 * block's effective scale is their product. The f32 is the largest scale over 448, `amax / 2688` for E2M1 elements, so
 * the largest block uses the largest E4M3 value.
 *
 * Stored parts: `global` (f32 `[1]`, the multiplier: ModelOpt's `weight_scale_2`, the reciprocal of compressed-tensors'
 * `weight_global_scale`) and `codes` (E4M3, one a block). A block whose scale would round to zero, also a block of
 * zeros, gets the smallest E4M3 value.
 * @param options.global the multiplier to use, for tensors that must share one (q, k and v of a fused layer)
 * @throws SchemeError when `global` is not a positive f32
 */
export function twoLevelScale(options: { readonly global?: number } = {}): ScaleStorage {
  const { global } = options;
  if (global !== undefined && !(Math.fround(global) > 0 && Number.isFinite(Math.fround(global)))) {
    throw new SchemeError(`the global scale must be a positive f32, got ${global}`);
  }
  return {
    name: 'e4m3',
    store(scales) {
      let largest = 0;
      for (const scale of scales) largest = Math.max(largest, Math.abs(scale));
      const multiplier = Math.fround(global ?? largest / e4m3.max) || (largest > 0 ? 2 ** -149 : 1);
      const codes = Uint8Array.from(scales, (scale) => {
        const code = e4m3.encode(scale / multiplier);
        return code % 128 === 0 ? code + smallestCode : code;
      });
      const effective = Float32Array.from(codes, (code) => {
        const product = Math.fround(e4m3.decode(code) * multiplier);
        return product || 2 ** -149;
      });
      return { effective, parts: { global: Float32Array.of(multiplier), codes } };
    },
    bits: (count) => (count === 0 ? 0 : 8 * count + 32),
    toJSON: () => (global === undefined ? 'e4m3' : { name: 'e4m3', global }),
  };
}

/** NVFP4's scales: an E4M3 value a block times one f32 a tensor. */
export const e4m3Scale: ScaleStorage = twoLevelScale();
