import { NumericError } from '../contracts/errors.js';
import type { NumberFormat } from '../contracts/number-format.js';
import { roundHalfEven } from '../dtypes/round.js';

/**
 * The INT8 element of OCP MX: two's complement with an implied scale of 2^-6. The symmetric range -127..127 is used for
 * encoding, as the specification recommends; -128 (-2.0) decodes.
 */
export const mxint8: NumberFormat = {
  name: 'mxint8',
  bits: 8,
  family: 'float',
  min: -127 / 64,
  max: 127 / 64,
  encode(x) {
    if (Number.isNaN(x)) throw new NumericError('mxint8 has no code for NaN: check the weights before quantizing');
    return Math.max(-127, Math.min(127, roundHalfEven(x * 64))) & 0xff;
  },
  decode: (code) => (code >= 128 ? code - 256 : code) / 64,
  toJSON: () => 'mxint8',
};
