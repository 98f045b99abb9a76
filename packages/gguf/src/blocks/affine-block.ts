import { allFinite, type BlockFormat } from '@q/core';
import { getF16, getFifthBit, getNibble, putF16, putFifthBits, putNibbles } from './block-bytes.js';
import { blockwise } from './blockwise.js';

const size = 32;
const f = Math.fround;

/**
 * Q4_1 and Q5_1 (ggml-quants.c): 32 values `code d + m` with m the least one and d the range over the last code. Codes are found
 * with the f32 scale, not with the f16 one that is stored.
 */
function affineBlock(name: string, bits: 4 | 5): BlockFormat {
  const last = 2 ** bits - 1;
  const codesAt = bits === 4 ? 4 : 8;
  const bytes = codesAt + 16;
  const codes = new Uint8Array(size);
  return blockwise({
    ...{ name, values: size, bytes },
    encode(x, to) {
      if (!allFinite(x)) return false;
      let [low, high] = [x[0], x[0]];
      for (const value of x) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      const d = f(f(high - low) / last);
      const inverse = d === 0 ? 0 : f(1 / d);
      for (let j = 0; j < size; j++)
        codes[j] = Number.isFinite(inverse) ? Math.min(last, Math.trunc(f(f(f(x[j] - low) * inverse) + 0.5))) : 0;
      putNibbles(codes, to, codesAt);
      if (bits === 5) putFifthBits(codes, to, 4);
      return putF16(to, 0, d) && putF16(to, 2, low);
    },
    decode(from, to) {
      const [d, m] = [getF16(from, 0), getF16(from, 2)];
      for (let j = 0; j < size; j++) {
        const high = bits === 5 ? getFifthBit(from, 4, j) : 0;
        to[j] = f((getNibble(from, codesAt, j) + high) * d) + m;
      }
    },
  });
}

export const q4_1: BlockFormat = affineBlock('Q4_1', 4);
export const q5_1: BlockFormat = affineBlock('Q5_1', 5);
