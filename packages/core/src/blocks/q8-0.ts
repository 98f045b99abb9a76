import type { BlockFormat } from '../contracts/block-kernels.js';
import { roundHalfAway } from '../dtypes/round.js';
import { blockOf, getF16, putF16 } from './block-bytes.js';

const [size, bytes] = [32, 34];
const f = Math.fround;

/** Q8_0 (formats.md 6.3, 6.4): 32 values `code d`, codes -127..127 rounded half away from zero with the f32 scale. */
export const q8_0: BlockFormat = {
  name: 'Q8_0',
  values: size,
  bytes,
  encode(values, out) {
    let finite = true;
    for (let block = 0; block < values.length / size; block++) {
      const x = blockOf(values, block, size);
      const to = blockOf(out, block, bytes);
      let magnitude = 0;
      for (const value of x) {
        finite &&= Number.isFinite(value);
        magnitude = Math.max(magnitude, Math.abs(value));
      }
      const d = f(magnitude / 127);
      const inverse = d === 0 ? 0 : f(1 / d);
      finite = putF16(to, 0, d) && finite;
      for (let j = 0; j < size; j++) to[2 + j] = Number.isFinite(inverse) ? roundHalfAway(f(x[j] * inverse)) : 0;
    }
    return finite;
  },
  decode(from, out) {
    for (let block = 0; block < out.length / size; block++) {
      const at = block * bytes;
      const d = getF16(from, at);
      for (let j = 0; j < size; j++) out[block * size + j] = ((from[at + 2 + j] << 24) >> 24) * d;
    }
  },
};
