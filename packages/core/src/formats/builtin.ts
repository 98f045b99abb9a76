import type { NumberFormat } from '../contracts/number-format.js';
import { e8m0 } from './e8m0.js';
import { signedIntegers, unsignedIntegers } from './linear.js';
import { minifloats } from './minifloat.js';
import { mxint8 } from './scaled-integer.js';
import { binary, binary01, bnbFp4, nf4, powerOfTwo, ternary } from './table.js';

/** Every format that needs no data; `schemeFromJSON` finds them by name. */
export const builtinFormats: readonly NumberFormat[] = [
  ...signedIntegers,
  ...unsignedIntegers,
  ...minifloats,
  e8m0,
  mxint8,
  nf4,
  bnbFp4,
  binary,
  binary01,
  ternary,
  ...[2, 3, 4, 5, 6, 7, 8].map(powerOfTwo),
];
