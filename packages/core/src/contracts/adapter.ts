import type { Tensor } from './tensor.js';

/** Two factors for one linear: `y = W x + (alpha / rank) B A x`. */
export interface LowRankPair {
  /** `[rank, in]` */
  readonly a: Tensor<'f32'>;
  /** `[out, rank]` */
  readonly b: Tensor<'f32'>;
}

/** A low-rank adapter of a model (LoRA, arXiv 2106.09685), by module name. */
export interface LowRankAdapter {
  readonly rank: number;
  readonly alpha: number;
  /** Share of a linear's inputs that training dropped before `A`. */
  readonly dropout: number;
  readonly modules: ReadonlyMap<string, LowRankPair>;
}
