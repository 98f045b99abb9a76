import type { BlockFormat } from '@q/core';
import { blockOf, getF16, putF16 } from './block-bytes.js';
import { blockwise, integers } from './blockwise.js';
import { nearestInt } from './nearest-int.js';
import { roundGroups } from './signed-super-block.js';
import { fitLevels } from './weighted-levels-fit.js';
import { fitScale, largestOf, leastMagnitude } from './weighted-scale-fit.js';

const [size, bytes, groups, group, half] = [256, 210, 16, 16, 32];
const [highAt, scalesAt, scaleAt] = [128, 192, 208];
const f = Math.fround;
const codes = new Uint8Array(size);
const scales = new Float32Array(groups);
const levels = integers(-half, 2 * half);

/** The largest scale becomes -128. */
function putScales(own: Float32Array, to: Uint8Array): boolean {
  const inverse = f(-128 / largestOf(own));
  if (!putF16(to, scaleAt, f(1 / inverse))) return false;
  for (let j = 0; j < groups; j++) to[scalesAt + j] = Math.min(127, nearestInt(f(inverse * own[j])));
  getScales(to, own);
  return true;
}

function getScales(from: Uint8Array, out: Float32Array): void {
  const d = getF16(from, scaleAt);
  for (let j = 0; j < groups; j++) out[j] = f(d * ((from[scalesAt + j] << 24) >> 24));
}

function putCodes(of: Uint8Array, to: Uint8Array): void {
  for (let i = 0; i < 128; i++) {
    // Values 64 apart share a byte of low halves.
    const at = (i >> 6) * 128 + (i & 63);
    to[i] = (of[at] & 15) | ((of[at + 64] & 15) << 4);
  }
  for (let i = 0; i < 64; i++) {
    const at = (i >> 5) * 128 + (i & 31);
    let high = 0;
    for (let k = 0; k < 4; k++) high |= (of[at + 32 * k] >> 4) << (2 * k);
    to[highAt + i] = high;
  }
}

/** Q6_K (ggml-quants.c): 256 values in sixteen groups, `d scale (code - 32)` with scales of 8 bits. */
export const q6_K: BlockFormat = blockwise({
  ...{ name: 'Q6_K', values: size, bytes, kernel: 'Q6_K' },
  grid: {
    ...{ group, levels, affine: false, getScales, putCodes },
    fit: (x, w) => ({ scale: fitLevels(x, w, levels, [0.9, 0.95, 1, 1.05]), minimum: 0 }),
    putScales(own, _, to) {
      if (Math.abs(largestOf(own)) >= leastMagnitude) return putScales(own, to);
      own.fill(0);
      to.fill(0, scalesAt);
      return true;
    },
    getCodes(from, to) {
      for (let i = 0; i < size; i++) {
        const [upper, within] = [i >> 7, i & 127];
        const low = (from[64 * upper + (within & 63)] >> (4 * (within >> 6))) & 15;
        const high = (from[highAt + 32 * upper + (within & 31)] >> (2 * (within >> 5))) & 3;
        to[i] = low + 16 * high;
      }
    },
  },
  encode(x, to, important) {
    for (let j = 0; j < groups; j++) {
      const weights = important && blockOf(important.columns, j, group);
      scales[j] = fitScale(blockOf(x, j, group), half, blockOf(codes, j, group), weights);
      // Fourth powers of large values overflow. The reference writes zeros then.
      if (!Number.isFinite(scales[j])) return false;
    }
    if (Math.abs(largestOf(scales)) < leastMagnitude) {
      to.fill(0);
      return true;
    }
    if (!putScales(scales, to)) return false;
    roundGroups(x, scales, half, codes);
    putCodes(codes, to);
    return true;
  },
});
