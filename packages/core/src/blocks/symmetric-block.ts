import type { BlockFormat } from '../contracts/block-kernels.js';
import { blockOf, getF16, getFifthBit, getNibble, putF16, putFifthBits, putNibbles } from './block-bytes.js';

const size = 32;
const f = Math.fround;

/**
 * Q4_0 and Q5_0 (formats.md 6.3, 6.4): 32 values `(code - half) d`. The scale is the first value of largest magnitude over `-half`, so
 * that this value has a code of its own. Codes are found with the f32 scale, not with the f16 one that is stored.
 */
function symmetricBlock(name: string, bits: 4 | 5): BlockFormat {
  const half = 2 ** (bits - 1);
  const last = 2 * half - 1;
  const codesAt = bits === 4 ? 2 : 6;
  const bytes = codesAt + 16;
  const codes = new Uint8Array(size);
  return {
    name,
    values: size,
    bytes,
    encode(values, out) {
      let finite = true;
      for (let block = 0; block < values.length / size; block++) {
        const x = blockOf(values, block, size);
        const to = blockOf(out, block, bytes);
        let [largest, magnitude] = [0, 0];
        for (const value of x) {
          finite &&= Number.isFinite(value);
          if (Math.abs(value) > magnitude) {
            magnitude = Math.abs(value);
            largest = value;
          }
        }
        const d = f(largest / -half);
        const inverse = d === 0 ? 0 : f(1 / d);
        finite = putF16(to, 0, d) && finite;
        for (let j = 0; j < size; j++)
          // A scale without a reciprocal is stored as zero, and the codes mean nothing.
          codes[j] = Number.isFinite(inverse) ? Math.min(last, Math.trunc(f(f(x[j] * inverse) + (half + 0.5)))) : 0;
        putNibbles(codes, to, codesAt);
        if (bits === 5) putFifthBits(codes, to, 2);
      }
      return finite;
    },
    decode(from, out) {
      for (let block = 0; block < out.length / size; block++) {
        const bytesOf = blockOf(from, block, bytes);
        const d = getF16(bytesOf, 0);
        for (let j = 0; j < size; j++) {
          const high = bits === 5 ? getFifthBit(bytesOf, 2, j) : 0;
          out[block * size + j] = (getNibble(bytesOf, codesAt, j) + high - half) * d;
        }
      }
    },
  };
}

export const q4_0: BlockFormat = symmetricBlock('Q4_0', 4);
export const q5_0: BlockFormat = symmetricBlock('Q5_0', 5);
