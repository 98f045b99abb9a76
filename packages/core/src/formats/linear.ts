import { NumericError } from '../contracts/errors.js';
import type { LinearFormat } from '../contracts/number-format.js';
import { roundHalfEven } from '../dtypes/round.js';

function linearFormat(name: string, bits: number, min: number, max: number): LinearFormat {
  return {
    name,
    bits,
    family: 'linear',
    min,
    max,
    encode(x) {
      if (Number.isNaN(x)) throw new NumericError(`${name} has no code for NaN: check the weights before quantizing`);
      return Math.min(max, Math.max(min, roundHalfEven(x))) - min;
    },
    decode: (code) => code + min,
    toJSON: () => name,
  };
}

const signed = (bits: number) => linearFormat(`int${bits}`, bits, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1);
const unsigned = (bits: number) => linearFormat(`uint${bits}`, bits, 0, 2 ** bits - 1);

/** Signed integers, codes in offset binary. */
export const int2 = signed(2);
export const int3 = signed(3);
export const int4 = signed(4);
export const int5 = signed(5);
export const int6 = signed(6);
export const int7 = signed(7);
export const int8 = signed(8);

/** Unsigned integers, the usual formats of asymmetric schemes. */
export const uint2 = unsigned(2);
export const uint3 = unsigned(3);
export const uint4 = unsigned(4);
export const uint5 = unsigned(5);
export const uint6 = unsigned(6);
export const uint7 = unsigned(7);
export const uint8 = unsigned(8);

export const signedIntegers: readonly LinearFormat[] = [int2, int3, int4, int5, int6, int7, int8];
export const unsignedIntegers: readonly LinearFormat[] = [uint2, uint3, uint4, uint5, uint6, uint7, uint8];
