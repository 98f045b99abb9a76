import { BlockWalk, embedWindows, walkBlocks } from '@q/blockwise';
import type { Windows } from '@q/calib';
import type { ForwardEngine, ModelDescription, ProgressEvent, Runtime, Tensor } from '@q/core';

export interface WindowRunOptions {
  /** Windows at a time. Default: 4. */
  readonly batch?: number;
  /**
   * Wraps the runtime of each block and of the head: quantized activations, int8 linears, a quantized cache. It gets
   * the names of the tensors in the runtime, so it can prepare only the data that they need.
   */
  readonly wrap?: <T>(runtime: Runtime<T>, tensors: readonly string[]) => Runtime<T> | Promise<Runtime<T>>;
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
  /** Name of the task in the progress. */
  readonly task?: string;
}

/**
 * Runs windows through all blocks of a model of any size: one block's weights are on the engine at a time.
 * @param weight reads a tensor by its checkpoint name, linears `[out, in]`
 * @returns the walk after the last block, without weights
 */
export async function runBlocks<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  windows: Windows,
  { batch = 4, wrap, progress, signal, task }: WindowRunOptions = {},
): Promise<BlockWalk<T>> {
  const walk = new BlockWalk<T>({ ...{ model, engine, windows, batch, signal }, ...(wrap ? { wrap } : {}) });
  await embedWindows([walk], weight);
  await walkBlocks([walk], { read: weight, progress, task });
  return walk;
}
