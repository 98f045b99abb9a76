import type { BlockFormat } from '@q/core';
import { blockOf, getF16, putF16 } from './block-bytes.js';
import { blockwise, integers, meanSquare, weigh } from './blockwise.js';
import { fittedShare, roundGroups, shareOfLargest } from './signed-super-block.js';
import { getTwoBits, putTwoBits } from './two-bit-planes.js';
import { fitLevels } from './weighted-levels-fit.js';
import { fitScale, fitScaleByDescent } from './weighted-scale-fit.js';

const [size, bytes, groups, group, half] = [256, 110, 16, 16, 4];
const [codesAt, scalesAt, scaleAt] = [32, 96, 108];
const f = Math.fround;
const codes = new Uint8Array(size);
const [scales, sums, ones] = [new Float32Array(groups), new Float32Array(groups), new Float32Array(groups).fill(1)];
const weights = new Float32Array(group);
const scaleCodes = new Int8Array(groups);
const levels = integers(-half, 2 * half);

/** Sixteen scales of 6 bits, with 32 added: low halves in eight bytes, the upper two bits in four more. */
function putScaleCodes(to: Uint8Array): void {
  to.fill(0, scalesAt, scalesAt + 12);
  for (let j = 0; j < groups; j++) {
    const code = scaleCodes[j] + 32;
    to[scalesAt + (j & 7)] |= (code & 15) << (4 * (j >> 3));
    to[scalesAt + 8 + (j & 3)] |= (code >> 4) << (2 * (j >> 2));
  }
}

function getScales(from: Uint8Array, out: Float32Array): void {
  const d = getF16(from, scaleAt);
  for (let j = 0; j < groups; j++) {
    const low = (from[scalesAt + (j & 7)] >> (4 * (j >> 3))) & 15;
    const high = (from[scalesAt + 8 + (j & 3)] >> (2 * (j >> 2))) & 3;
    out[j] = f(d * (low + 16 * high - 32));
  }
}

function putCodes(of: Uint8Array, to: Uint8Array): void {
  to.fill(0, 0, 32);
  for (let i = 0; i < size; i++) to[i & 31] |= (of[i] >> 2) << (i >> 5);
  putTwoBits(of, to, codesAt);
}

/** Q3_K (ggml-quants.c): 256 values in sixteen groups, `d scale (code - 4)` with scales of 6 bits. */
export const q3_K: BlockFormat = blockwise({
  ...{ name: 'Q3_K', values: size, bytes },
  grid: {
    ...{ group, levels, affine: false, getScales, putCodes },
    fit: (x, w) => ({ scale: fitLevels(x, w, levels), minimum: 0 }),
    putScales(own, _, to) {
      const finite = putF16(to, scaleAt, fittedShare(own, 32, scaleCodes, ones));
      putScaleCodes(to);
      getScales(to, own);
      return finite;
    },
    multiples: {
      scale: [-32, 31],
      steps: (from) => ({ scale: getF16(from, scaleAt), minimum: 0 }),
      put(own, _, to) {
        scaleCodes.set(own);
        putScaleCodes(to);
      },
    },
    getCodes(from, to) {
      for (let i = 0; i < size; i++) to[i] = getTwoBits(from, codesAt, i) + 4 * ((from[i & 31] >> (i >> 5)) & 1);
    },
  },
  encode(x, to, important) {
    const square = important ? f(2 * meanSquare(x)) : 0;
    for (let j = 0; j < groups; j++) {
      const own = blockOf(x, j, group);
      const ownCodes = blockOf(codes, j, group);
      if (important) {
        weigh(own, blockOf(important.columns, j, group), square, weights);
        sums[j] = weights.reduce((sum, weight) => f(sum + weight), 0);
        scales[j] = fitScale(own, half, ownCodes, weights);
      } else scales[j] = fitScaleByDescent(own, half, ownCodes);
    }
    const d = important ? fittedShare(scales, 32, scaleCodes, sums) : shareOfLargest(scales, 32, scaleCodes);
    if (!putF16(to, scaleAt, d)) return false;
    putScaleCodes(to);
    getScales(to, scales);
    roundGroups(x, scales, half, codes);
    putCodes(codes, to);
    return true;
  },
});
