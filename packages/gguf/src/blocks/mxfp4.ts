import type { BlockFormat } from '@q/core';
import { getNibble, putNibbles } from './block-bytes.js';
import { blockwise } from './blockwise.js';

const size = 32;
const f = Math.fround;
/** E2M1 in units of one half, by the format's own codes: the sign is the uppermost bit. */
const byPattern = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/** Patterns in the order of their values; of the two zeros the first. */
const patterns = byPattern
  .map((_, pattern) => pattern)
  .filter((pattern) => pattern !== 8)
  .sort((a, b) => byPattern[a] - byPattern[b]);
const levels = Float32Array.from(patterns, (pattern) => byPattern[pattern]);
const codeOf = new Uint8Array(16);
patterns.forEach((pattern, code) => {
  codeOf[pattern] = code;
});
codeOf[8] = codeOf[0];
const scratch = new Uint8Array(size);
/** Scale for E2M1 in units of one half. */
const scaleOf = (exponent: number): number => 2 ** (exponent - 128);
const clampExponent = (exponent: number): number => Math.max(0, Math.min(254, exponent));

/** MXFP4 (ggml-quants.c): 32 values of E2M1 with one power of two. The largest magnitude is in the uppermost binade. */
export const mxfp4: BlockFormat = blockwise({
  ...{ name: 'MXFP4', values: size, bytes: 17 },
  grid: {
    ...{ group: size, levels, affine: false },
    fit(x, weights) {
      const magnitude = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      if (magnitude === 0) return { scale: 0, minimum: 0 };
      const highest = Math.ceil(Math.log2(magnitude)) - 2;
      let [best, chosen] = [Number.POSITIVE_INFINITY, 0];
      for (let exponent = highest - 1; exponent <= highest + 1; exponent++) {
        const scale = 2 ** (exponent - 1);
        let error = 0;
        for (let i = 0; i < size; i++) {
          let off = Number.POSITIVE_INFINITY;
          for (const level of levels) off = Math.min(off, Math.abs(x[i] - scale * level));
          error += weights[i] * off * off;
        }
        if (error < best) [best, chosen] = [error, scale];
      }
      return { scale: chosen, minimum: 0 };
    },
    putScales(scales, _, to) {
      to[0] = scales[0] > 0 ? clampExponent(Math.round(Math.log2(scales[0])) + 128) : 0;
      scales[0] = scaleOf(to[0]);
      return true;
    },
    getScales(from, scales) {
      scales[0] = scaleOf(from[0]);
    },
    putCodes(codes, to) {
      for (let i = 0; i < size; i++) scratch[i] = patterns[codes[i]];
      putNibbles(scratch, to, 1);
    },
    getCodes(from, codes) {
      for (let i = 0; i < size; i++) codes[i] = codeOf[getNibble(from, 1, i)];
    },
  },
  encode(x, to) {
    const magnitude = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    to[0] = magnitude > 0 ? clampExponent(Math.floor(f(Math.log2(magnitude))) - 2 + 127) : 0;
    const scale = scaleOf(to[0]);
    for (let i = 0; i < size; i++) {
      let least = Number.POSITIVE_INFINITY;
      for (let pattern = 0; pattern < 16; pattern++) {
        const off = Math.abs(f(f(byPattern[pattern] * scale) - x[i]));
        if (off < least) [least, scratch[i]] = [off, pattern];
      }
    }
    putNibbles(scratch, to, 1);
    return true;
  },
});
