import { ShapeError } from '../contracts/errors.js';
import type { QuantizedTensor } from '../contracts/quantized-tensor.js';
import type { Tensor } from '../contracts/tensor.js';
import { tiling } from '../schemes/granularity.js';
import { tensor } from '../tensor.js';

/**
 * Products of matrices of one and two bits by xor, and, and popcount: readable references, i32 and exact. All compute
 * `out[m,n] = sum_k a[m,k] b[n,k]`, as `matmulInt8` does. Rows are bit masks of `ceil(k/32)` words; bits beyond k are
 * zero.
 */
export interface BitRows {
  readonly rows: number;
  readonly columns: number;
  /** Words of a row. */
  readonly stride: number;
  /** `[rows, stride]` */
  readonly words: Uint32Array;
}

/** Rows of bits: a one for each value or code with `isOne`. */
export function packBits(
  values: ArrayLike<number>,
  rows: number,
  columns: number,
  isOne: (value: number) => boolean,
): BitRows {
  if (values.length !== rows * columns) {
    throw new ShapeError(`bits of [${rows}, ${columns}] need ${rows * columns} values, got ${values.length}`);
  }
  const stride = Math.ceil(columns / 32);
  const words = new Uint32Array(rows * stride);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      if (isOne(values[row * columns + j])) words[row * stride + (j >>> 5)] |= 1 << (j & 31);
    }
  }
  return { rows, columns, stride, words };
}

/** Number of ones in a word. */
export function popcount(word: number): number {
  let x = word - ((word >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Signs {-1,+1}, a set bit for +1: `k - 2 popcount(a xor b)` (XNOR-Net, arXiv 1603.05279). */
export function matmulSigns(a: BitRows, b: BitRows): Int32Array {
  return everyPair(a, b, (i, j, stride) => {
    let differ = 0;
    for (let w = 0; w < stride; w++) differ += popcount(a.words[i + w] ^ b.words[j + w]);
    return a.columns - 2 * differ;
  });
}

/** Bits {0,1}: `popcount(a and b)`. */
export function matmulBits(a: BitRows, b: BitRows): Int32Array {
  return everyPair(a, b, (i, j, stride) => {
    let both = 0;
    for (let w = 0; w < stride; w++) both += popcount(a.words[i + w] & b.words[j + w]);
    return both;
  });
}

/** {-1,0,1} as two masks: one for values that are not zero, one for negative values. */
export interface TernaryRows {
  readonly nonZero: BitRows;
  readonly negative: BitRows;
}

/** Ternary rows of values or codes; `signOf` gives -1, 0 or 1 for each. */
export function packTernary(
  values: ArrayLike<number>,
  rows: number,
  columns: number,
  signOf: (value: number) => number,
): TernaryRows {
  return {
    nonZero: packBits(values, rows, columns, (value) => signOf(value) !== 0),
    negative: packBits(values, rows, columns, (value) => signOf(value) < 0),
  };
}

/** {-1,0,1}: with m the mask of positions where both are not zero, `popcount(m) - 2 popcount(m and (signs differ))`. */
export function matmulTernary(a: TernaryRows, b: TernaryRows): Int32Array {
  return everyPair(a.nonZero, b.nonZero, (i, j, stride) => {
    let sum = 0;
    for (let w = 0; w < stride; w++) {
      const both = a.nonZero.words[i + w] & b.nonZero.words[j + w];
      sum += popcount(both) - 2 * popcount(both & (a.negative.words[i + w] ^ b.negative.words[j + w]));
    }
    return sum;
  });
}

function everyPair(a: BitRows, b: BitRows, dot: (i: number, j: number, stride: number) => number): Int32Array {
  if (a.columns !== b.columns) {
    throw new ShapeError(`rows of ${a.columns} and of ${b.columns} bits cannot be multiplied`);
  }
  const out = new Int32Array(a.rows * b.rows);
  for (let m = 0; m < a.rows; m++) {
    for (let n = 0; n < b.rows; n++) out[m * b.rows + n] = dot(m * a.stride, n * b.stride, a.stride);
  }
  return out;
}

/**
 * `x w^T` of two tensors whose codes are signs, with one scale a row or one for all (XNOR-Net, eq. 11 without its
 * spatial averaging): the product of the bits times both scales. `x` `[tokens, in]`, `w` `[out, in]` ->
 * `[tokens, out]`.
 * @throws ShapeError when scales are not per row or per tensor, or the widths differ
 */
export function matmulXnor(x: QuantizedTensor, w: QuantizedTensor): Tensor<'f32'> {
  const [a, b] = [signRows(x), signRows(w)];
  const counts = matmulSigns(a.bits, b.bits);
  const out = new Float32Array(counts.length);
  for (let m = 0, i = 0; m < a.bits.rows; m++) {
    for (let n = 0; n < b.bits.rows; n++, i++) out[i] = counts[i] * a.scale(m) * b.scale(n);
  }
  return tensor('f32', [a.bits.rows, b.bits.rows], out);
}

function signRows({ codes, scheme, shape, scales }: QuantizedTensor): {
  bits: BitRows;
  scale: (row: number) => number;
} {
  const { rows, columns } = tiling(scheme.granularity, shape);
  if (scheme.format.name !== 'binary' || (scales.length !== rows && scales.length !== 1)) {
    throw new ShapeError(
      `a product of signs needs binary codes and one scale a row or one for all, got ${scheme.format.name} with ${scales.length} scales for ${rows} rows`,
    );
  }
  return {
    bits: packBits(codes, rows, columns, (code) => code === 1),
    scale: (row) => scales[scales.length === 1 ? 0 : row],
  };
}
