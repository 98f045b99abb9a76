import { NumericError } from '../contracts/errors.js';
import type { NumberFormat } from '../contracts/number-format.js';
import { exponentOf } from './minifloat.js';

/** Code 255 is NaN. */
const nanCode = 255;
const bias = 127;

/**
 * Powers of two `2^-127 .. 2^127`, unsigned and without zero: the scale of OCP MX blocks. `encode` gives the nearest
 * power in value, the even code on a tie (1.5 * 2^k), and the smallest for 0.
 */
export const e8m0: NumberFormat = {
  name: 'e8m0',
  bits: 8,
  family: 'float',
  min: 2 ** -127,
  max: 2 ** 127,
  encode(x) {
    if (Number.isNaN(x)) return nanCode;
    if (x < 0) throw new NumericError(`e8m0 is unsigned and has no code for ${x}`);
    if (x >= 2 ** 127) return 254;
    if (x <= 2 ** -127) return 0;
    const exponent = exponentOf(x);
    const fraction = x / 2 ** exponent;
    const code = exponent + bias;
    const up = fraction > 1.5 || (fraction === 1.5 && code % 2 === 1);
    return Math.min(254, up ? code + 1 : code);
  },
  decode: (code) => (code === nanCode ? Number.NaN : 2 ** (code - bias)),
  toJSON: () => 'e8m0',
};
