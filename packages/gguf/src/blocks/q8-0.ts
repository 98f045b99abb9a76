import { type BlockFormat, roundHalfAway } from '@q/core';
import { getF16, putF16 } from './block-bytes.js';
import { blockwise, integers } from './blockwise.js';
import { fitLevels } from './weighted-levels-fit.js';

const size = 32;
const f = Math.fround;
const levels = integers(-127, 255);

/** Q8_0 (ggml-quants.c): 32 values `code d`, codes -127..127 rounded half away from zero with the f32 scale. */
export const q8_0: BlockFormat = blockwise({
  ...{ name: 'Q8_0', values: size, bytes: 34, kernel: 'Q8_0' },
  grid: {
    ...{ group: size, levels, affine: false, freeScales: true },
    fit: (x, weights) => ({ scale: fitLevels(x, weights, levels, [0.95, 0.975, 1]), minimum: 0 }),
    putScales(scales, _, to) {
      const finite = putF16(to, 0, scales[0]);
      scales[0] = getF16(to, 0);
      return finite;
    },
    getScales(from, scales) {
      scales[0] = getF16(from, 0);
    },
    putCodes(codes, to) {
      for (let j = 0; j < size; j++) to[2 + j] = codes[j] - 127;
    },
    getCodes(from, to) {
      for (let j = 0; j < size; j++) to[j] = ((from[2 + j] << 24) >> 24) + 127;
    },
  },
  encode(x, to) {
    const magnitude = x.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const d = f(magnitude / 127);
    const inverse = d === 0 ? 0 : f(1 / d);
    for (let j = 0; j < size; j++) to[2 + j] = Number.isFinite(inverse) ? roundHalfAway(f(x[j] * inverse)) : 0;
    return putF16(to, 0, d);
  },
});
