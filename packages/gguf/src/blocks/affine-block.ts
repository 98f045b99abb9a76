import type { BlockFormat } from '@q/core';
import { getF16, getFifthBit, getNibble, putF16, putFifthBits, putNibbles } from './block-bytes.js';
import { blockwise, integers, weigh } from './blockwise.js';
import { fitAffine, importantSteps } from './weighted-affine-fit.js';

const size = 32;
const f = Math.fround;

/**
 * Q4_1 and Q5_1 (ggml-quants.c): 32 values `code d + m` with m the least one and d the range over the last code. Codes
 * are found with the f32 scale, not with the stored f16 one. With importance both are fitted.
 */
function affineBlock(name: string, bits: 4 | 5): BlockFormat {
  const last = 2 ** bits - 1;
  const codesAt = bits === 4 ? 4 : 8;
  const bytes = codesAt + 16;
  const codes = new Uint8Array(size);
  const weights = new Float32Array(size);
  const steps = importantSteps(last);
  const scratch = new Uint8Array(size);

  function putCodes(of: Uint8Array, to: Uint8Array): void {
    putNibbles(of, to, codesAt);
    if (bits === 5) putFifthBits(of, to, 4);
  }

  return blockwise({
    ...{ name, values: size, bytes },
    grid: {
      ...{ group: size, levels: integers(0, last + 1), affine: true, putCodes },
      fit: (x, w) => fitAffine(x, w, steps, scratch),
      putScales(scales, minima, to) {
        const finite = putF16(to, 0, scales[0]) && putF16(to, 2, -minima[0]);
        scales[0] = getF16(to, 0);
        minima[0] = -getF16(to, 2);
        return finite;
      },
      getScales(from, scales, minima) {
        scales[0] = getF16(from, 0);
        minima[0] = -getF16(from, 2);
      },
      getCodes(from, to) {
        for (let j = 0; j < size; j++) to[j] = getNibble(from, codesAt, j) + (bits === 5 ? getFifthBit(from, 4, j) : 0);
      },
    },
    encode(x, to, important) {
      if (important) {
        weigh(x, important.columns, important.rowSquare, weights);
        const { scale, minimum } = fitAffine(x, weights, steps, codes);
        putCodes(codes, to);
        return putF16(to, 0, scale) && putF16(to, 2, -minimum);
      }
      let [low, high] = [x[0], x[0]];
      for (const value of x) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      const d = f(f(high - low) / last);
      const inverse = d === 0 ? 0 : f(1 / d);
      for (let j = 0; j < size; j++)
        codes[j] = Number.isFinite(inverse) ? Math.min(last, Math.trunc(f(f(f(x[j] - low) * inverse) + 0.5))) : 0;
      putCodes(codes, to);
      return putF16(to, 0, d) && putF16(to, 2, low);
    },
  });
}

export const q4_1: BlockFormat = affineBlock('Q4_1', 4);
export const q5_1: BlockFormat = affineBlock('Q5_1', 5);
