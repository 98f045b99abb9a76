import { allFinite, type BlockFormat } from '@q/core';
import { blockOf, getF16, putF16 } from './block-bytes.js';
import { blockwise } from './blockwise.js';
import { nearestCode, nearestInt } from './nearest-int.js';
import { fitScale, leastMagnitude } from './weighted-scale-fit.js';

const [size, bytes, groups, group] = [256, 210, 16, 16];
const [highAt, scalesAt, scaleAt] = [128, 192, 208];
const f = Math.fround;
const codes = new Uint8Array(size);
const scales = new Float32Array(groups);

/** Q6_K (ggml-quants.c): 256 values in sixteen groups, `d scale (code - 32)` with scales of 8 bits. */
export const q6_K: BlockFormat = blockwise({
  ...{ name: 'Q6_K', values: size, bytes, kernel: 'Q6_K' },
  encode(x, to) {
    if (!allFinite(x)) return false;
    let largest = 0;
    for (let j = 0; j < groups; j++) {
      scales[j] = fitScale(blockOf(x, j, group), 32, blockOf(codes, j, group));
      // Fourth powers of large values overflow. The reference writes zeros then.
      if (!Number.isFinite(scales[j])) return false;
      if (Math.abs(scales[j]) > Math.abs(largest)) largest = scales[j];
    }
    if (Math.abs(largest) < leastMagnitude) {
      to.fill(0);
      return true;
    }
    const inverse = f(-128 / largest);
    if (!putF16(to, scaleAt, f(1 / inverse))) return false;
    for (let j = 0; j < groups; j++) {
      const scale = Math.min(127, nearestInt(f(inverse * scales[j])));
      to[scalesAt + j] = scale;
      const d = f(getF16(to, scaleAt) * ((to[scalesAt + j] << 24) >> 24));
      // Without a scale the codes of the fit stay.
      if (d === 0) continue;
      for (let i = j * group; i < (j + 1) * group; i++) codes[i] = 32 + nearestCode(f(x[i] / d), -32, 31);
    }
    for (let i = 0; i < 128; i++) {
      // Values 64 apart share a byte of low halves.
      const at = (i >> 6) * 128 + (i & 63);
      to[i] = (codes[at] & 15) | ((codes[at + 64] & 15) << 4);
    }
    for (let i = 0; i < 64; i++) {
      const at = (i >> 5) * 128 + (i & 31);
      let high = 0;
      for (let k = 0; k < 4; k++) high |= (codes[at + 32 * k] >> 4) << (2 * k);
      to[highAt + i] = high;
    }
    return true;
  },
  decode(from, to) {
    const d = getF16(from, scaleAt);
    for (let i = 0; i < size; i++) {
      const [half, within] = [i >> 7, i & 127];
      const low = (from[64 * half + (within & 63)] >> (4 * (within >> 6))) & 15;
      const high = (from[highAt + 32 * half + (within & 31)] >> (2 * (within >> 5))) & 3;
      const scale = (from[scalesAt + (i >> 4)] << 24) >> 24;
      to[i] = f(d * scale) * (low + 16 * high - 32);
    }
  },
});
