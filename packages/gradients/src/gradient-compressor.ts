import type { Random } from '@q/core';

/**
 * Turns the gradient of one tensor into bytes and back. Neither direction has state between calls; the state of a
 * method is in a {@link GradientState}.
 */
export interface GradientCodec {
  readonly name: string;
  /** The options in effect, as plain JSON. Workers compare them before they add up gradients. */
  readonly options: Readonly<Record<string, unknown>>;
  /** The mean of `decompress(compress(g))` over draws is `g`. A codec that is not unbiased needs `errorFeedback`. */
  readonly unbiased: boolean;
  /** @param gradient finite, not modified */
  compress(gradient: Float32Array, random: Random): Uint8Array;
  /**
   * @param length elements of the gradient
   * @throws FormatError when the payload is not one of `length` elements
   */
  decompress(payload: Uint8Array, length: number): Float32Array;
}

/** Averages the gradients of one tensor over workers. One object for a training; one {@link GradientState} a tensor. */
export interface GradientCompressor {
  readonly name: string;
  readonly options: Readonly<Record<string, unknown>>;
  readonly unbiased: boolean;
  /** Present when it exchanges momenta instead of gradients after this many steps: see core's `TrainingGroup`. */
  readonly momentumAfter?: number;
  /** @param shape of the tensor: `[out, in]`, or any other rank */
  createState(shape: readonly number[]): GradientState;
}

/** The state of one worker for one tensor: residuals, a warm start, a count of steps. */
export interface GradientState {
  /**
   * One step, in rounds. Each `yield` gives this worker's payload and receives the payloads of all workers in the order
   * of their ranks, with this worker's own. All workers return the same values, bit for bit, since all decode the same
   * bytes in the same order.
   * @param gradient this worker's own, `[elements]`, finite, not modified
   * @returns the mean over all workers
   */
  reduce(gradient: Float32Array, random: Random): Generator<Uint8Array, Float32Array, readonly Uint8Array[]>;
  /** For a checkpoint. A new state that `load`s it continues with the same bytes. */
  save(): ReadonlyMap<string, Float32Array>;
  /** @throws FormatError when an entry is absent or has another length */
  load(state: ReadonlyMap<string, Float32Array>): void;
}
