import { createRandom } from '@q/core';
import { expectInteger } from './buckets.js';
import { exact } from './exact.js';
import type { GradientCompressor, GradientState } from './gradient-compressor.js';
import { meanOf } from './mean-of.js';
import { expectBytes, readFloats, writeFloats } from './payload.js';
import { createResidual, entryOf } from './residual.js';

export interface PowerSgdOptions {
  /** Columns of the two factors. Default 4. */
  readonly rank?: number;
  /** Steps with exact gradients before the first compressed one. Default 10. */
  readonly start?: number;
}

/**
 * PowerSGD (Vogels et al., arXiv 1905.13727). With M `[out, in]` the gradient plus the residual: `P = M Q`, averaged
 * over the workers and made orthonormal; `Q = M^T P`, averaged; all workers apply `P Q^T`. The next step starts from
 * this Q. Vectors are sent exactly, and so are matrices whose factors have more than half of their size. A tensor of
 * more than two dimensions counts as `[first, all others]`.
 * @throws SchemeError for options out of range
 */
export function powerSgd({ rank = 4, start = 10 }: PowerSgdOptions = {}): GradientCompressor {
  expectInteger('powerSgd: rank', rank, 1, 4096);
  expectInteger('powerSgd: start', start, 0, 2 ** 31);
  return {
    name: 'powersgd',
    options: { rank, start },
    unbiased: false,
    createState(shape) {
      const rows = shape[0] ?? 1;
      const columns = shape.slice(1).reduce((product, size) => product * size, 1);
      const pays = shape.length > 1 && rows * columns > 2 * rank * (rows + columns);
      return pays ? lowRankState(rows, columns, rank, start, shape) : exact().createState(shape);
    },
  };
}

function lowRankState(
  rows: number,
  columns: number,
  rank: number,
  start: number,
  shape: readonly number[],
): GradientState {
  const residual = createResidual(rows * columns);
  const plain = exact().createState(shape);
  // The start is the same on every worker: it depends only on the shape.
  const random = createRandom(`powersgd ${shape.join('x')}`);
  const right = Float32Array.from({ length: columns * rank }, () => random.normal());
  let steps = 0;
  const receive = (payloads: readonly Uint8Array[], length: number) =>
    meanOf(
      payloads.map((payload) => {
        expectBytes(payload, 4 * length);
        return readFloats(payload, length);
      }),
      length,
    );
  return {
    *reduce(gradient, draws) {
      if (steps++ < start) return yield* plain.reduce(gradient, draws);
      const matrix = Float64Array.from(gradient, (value, i) => value + residual.values[i]);
      const left = receive(yield writeFloats(timesRight(matrix, right, rows, columns, rank)), rows * rank);
      orthonormalise(left, rows, rank);
      right.set(receive(yield writeFloats(timesLeft(matrix, left, rows, columns, rank)), columns * rank));
      const mean = new Float32Array(rows * columns);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++) {
          let sum = 0;
          for (let r = 0; r < rank; r++) sum += left[i * rank + r] * right[j * rank + r];
          mean[i * columns + j] = sum;
        }
      for (let i = 0; i < mean.length; i++) residual.values[i] = matrix[i] - mean[i];
      return mean;
    },
    save: () => new Map([...residual.save(), ['right', right.slice()], ['steps', Float32Array.of(steps)]]),
    load(state) {
      residual.load(state);
      right.set(entryOf(state, 'right', right.length));
      steps = entryOf(state, 'steps', 1)[0];
    },
  };
}

/** `M Q`, `[rows, rank]`. */
function timesRight(m: Float64Array, q: Float32Array, rows: number, columns: number, rank: number): Float32Array {
  const product = new Float64Array(rows * rank);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      const value = m[i * columns + j];
      for (let r = 0; r < rank; r++) product[i * rank + r] += value * q[j * rank + r];
    }
  return Float32Array.from(product);
}

/** `M^T P`, `[columns, rank]`. */
function timesLeft(m: Float64Array, p: Float32Array, rows: number, columns: number, rank: number): Float32Array {
  const product = new Float64Array(columns * rank);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      const value = m[i * columns + j];
      for (let r = 0; r < rank; r++) product[j * rank + r] += value * p[i * rank + r];
    }
  return Float32Array.from(product);
}

/** Modified Gram-Schmidt of the columns of `[rows, rank]`, in place. A column that depends on the others becomes 0. */
function orthonormalise(p: Float32Array, rows: number, rank: number): void {
  for (let r = 0; r < rank; r++) {
    let before = 0;
    for (let i = 0; i < rows; i++) before += p[i * rank + r] ** 2;
    for (let s = 0; s < r; s++) {
      let dot = 0;
      for (let i = 0; i < rows; i++) dot += p[i * rank + r] * p[i * rank + s];
      for (let i = 0; i < rows; i++) p[i * rank + r] -= dot * p[i * rank + s];
    }
    let after = 0;
    for (let i = 0; i < rows; i++) after += p[i * rank + r] ** 2;
    // The rest of a dependent column is rounding noise of f32, about 1e-7 of its length.
    const scale = after > 1e-10 * before && after > 0 ? 1 / Math.sqrt(after) : 0;
    for (let i = 0; i < rows; i++) p[i * rank + r] *= scale;
  }
}
