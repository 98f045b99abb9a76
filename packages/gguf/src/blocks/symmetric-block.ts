import { allFinite, type BlockFormat } from '@q/core';
import { getF16, getFifthBit, getNibble, putF16, putFifthBits, putNibbles } from './block-bytes.js';
import { blockwise } from './blockwise.js';

const size = 32;
const f = Math.fround;

/**
 * Q4_0 and Q5_0 (ggml-quants.c): 32 values `(code - half) d`. The scale is the first value of largest magnitude over `-half`, so
 * that this value has a code of its own. Codes are found with the f32 scale, not with the f16 one that is stored.
 */
function symmetricBlock(name: string, bits: 4 | 5): BlockFormat {
  const half = 2 ** (bits - 1);
  const last = 2 * half - 1;
  const codesAt = bits === 4 ? 2 : 6;
  const bytes = codesAt + 16;
  const codes = new Uint8Array(size);
  return blockwise({
    ...{ name, values: size, bytes, kernel: name },
    encode(x, to) {
      if (!allFinite(x)) return false;
      let [largest, magnitude] = [0, 0];
      for (const value of x) {
        if (Math.abs(value) > magnitude) {
          magnitude = Math.abs(value);
          largest = value;
        }
      }
      const d = f(largest / -half);
      const inverse = d === 0 ? 0 : f(1 / d);
      for (let j = 0; j < size; j++)
        // A scale without a reciprocal is stored as zero, and the codes mean nothing.
        codes[j] = Number.isFinite(inverse) ? Math.min(last, Math.trunc(f(f(x[j] * inverse) + (half + 0.5)))) : 0;
      putNibbles(codes, to, codesAt);
      if (bits === 5) putFifthBits(codes, to, 2);
      return putF16(to, 0, d);
    },
    decode(from, to) {
      const d = getF16(from, 0);
      for (let j = 0; j < size; j++) {
        const high = bits === 5 ? getFifthBit(from, 2, j) : 0;
        to[j] = (getNibble(from, codesAt, j) + high - half) * d;
      }
    },
  });
}

export const q4_0: BlockFormat = symmetricBlock('Q4_0', 4);
export const q5_0: BlockFormat = symmetricBlock('Q5_0', 5);
