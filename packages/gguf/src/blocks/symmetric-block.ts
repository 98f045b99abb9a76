import type { BlockFormat } from '@q/core';
import { getF16, getFifthBit, getNibble, putF16, putFifthBits, putNibbles } from './block-bytes.js';
import { blockwise, integers, weigh } from './blockwise.js';
import { fitLevels } from './weighted-levels-fit.js';
import { fitScale, largestOf } from './weighted-scale-fit.js';

const size = 32;
const f = Math.fround;

/**
 * Q4_0 and Q5_0 (ggml-quants.c): 32 values `(code - half) d`. The scale is the first value of largest magnitude over
 * `-half`, so this value is represented exactly by a code. Codes are found with the f32 scale, not with the stored f16
 * one. With importance the scale is fitted.
 */
function symmetricBlock(name: string, bits: 4 | 5): BlockFormat {
  const half = 2 ** (bits - 1);
  const last = 2 * half - 1;
  const codesAt = bits === 4 ? 2 : 6;
  const bytes = codesAt + 16;
  const codes = new Uint8Array(size);
  const weights = new Float32Array(size);
  const levels = integers(-half, 2 * half);

  function putCodes(of: Uint8Array, to: Uint8Array): void {
    putNibbles(of, to, codesAt);
    if (bits === 5) putFifthBits(of, to, 2);
  }

  return blockwise({
    ...{ name, values: size, bytes, kernel: name },
    grid: {
      ...{ group: size, levels, affine: false, freeScales: true, putCodes },
      fit: (x, w) => ({ scale: fitLevels(x, w, levels), minimum: 0 }),
      putScales(scales, _, to) {
        const finite = putF16(to, 0, scales[0]);
        scales[0] = getF16(to, 0);
        return finite;
      },
      getScales(from, scales) {
        scales[0] = getF16(from, 0);
      },
      getCodes(from, to) {
        for (let j = 0; j < size; j++) to[j] = getNibble(from, codesAt, j) + (bits === 5 ? getFifthBit(from, 2, j) : 0);
      },
    },
    encode(x, to, important) {
      if (important) {
        weigh(x, important.columns, important.rowSquare, weights);
        const d = fitScale(x, half, codes, weights);
        putCodes(codes, to);
        return putF16(to, 0, d);
      }
      const d = f(largestOf(x) / -half);
      const inverse = d === 0 ? 0 : f(1 / d);
      for (let j = 0; j < size; j++)
        // A scale without a reciprocal is stored as zero, and its codes have no effect.
        codes[j] = Number.isFinite(inverse) ? Math.min(last, Math.trunc(f(f(x[j] * inverse) + (half + 0.5)))) : 0;
      putCodes(codes, to);
      return putF16(to, 0, d);
    },
  });
}

export const q4_0: BlockFormat = symmetricBlock('Q4_0', 4);
export const q5_0: BlockFormat = symmetricBlock('Q5_0', 5);
