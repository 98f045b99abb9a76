import type { Statistic } from '../contracts/statistic.js';
import { tensor } from '../tensor.js';
import { checkWidth } from './hessian.js';

/** Sum of `g g^T` over tokens, not scaled. */
export interface OutputMomentsState {
  readonly width: number;
  /** The upper triangle row by row, `[width (width + 1) / 2]`: a run holds those of all linears at the same time. */
  readonly sum: Float32Array;
  count: number;
}

const valuesOf = (width: number) => (width * (width + 1)) / 2;

/**
 * `G^T G` of the end loss's derivatives with respect to a linear's outputs, in f32. It comes from backward passes and
 * not from inputs. Methods with {@link Quantizer.endLoss} get it, and no method's needs list it.
 */
export const outputMoments: Statistic<OutputMomentsState> = {
  name: 'outputMoments',
  create: (width) => ({ width, sum: new Float32Array(valuesOf(width)), count: 0 }),
  async update(state, { x, tokens, width }, kernels) {
    checkWidth('outputMoments', state.width, width);
    const out = new Float32Array(width * width);
    await kernels.gram({ x, tokens, width, out });
    for (let i = 0, at = 0; i < width; i++) for (let j = i; j < width; j++) state.sum[at++] += out[i * width + j];
    state.count += tokens;
  },
  finite({ width, sum }) {
    for (let i = 0, at = 0; i < width; at += width - i++) if (!Number.isFinite(sum[at])) return false;
    return true;
  },
  merge(state, other) {
    checkWidth('outputMoments', state.width, other.width);
    for (let i = 0; i < state.sum.length; i++) state.sum[i] += other.sum[i];
    state.count += other.count;
  },
  count: (state) => state.count,
  serialize: ({ width, sum, count }) => ({
    sum: tensor('f32', [sum.length], sum),
    count: tensor('f64', [2], Float64Array.of(width, count)),
  }),
  deserialize: ({ sum, count }) => ({
    width: Number(count.data[0]),
    sum: sum.data as Float32Array,
    count: Number(count.data[1]),
  }),
  bytes: (width) => 4 * valuesOf(width),
};

/** The sum as a matrix `[width, width]`, each value multiplied by `factor`. */
export function outputMomentsMatrix({ width, sum }: OutputMomentsState, factor = 1): Float32Array {
  const out = new Float32Array(width * width);
  for (let i = 0, at = 0; i < width; i++)
    for (let j = i; j < width; j++) out[i * width + j] = out[j * width + i] = factor * sum[at++];
  return out;
}
