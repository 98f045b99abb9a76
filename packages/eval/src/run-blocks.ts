import { type WindowBatch, type Windows, windowBatches } from '@q/calib';
import type { ForwardEngine, ModelDescription, ProgressEvent, Runtime, Tensor } from '@q/core';
import { createRuntime } from '@q/models';

export interface WindowRunOptions {
  /** Windows at a time; 4 when absent. */
  readonly batch?: number;
  /**
   * Wraps the runtime of each block and of the head: quantized activations, int8 linears, a quantized cache. It is told the
   * names of the tensors in the runtime, so that it can prepare what it needs for them, and no more.
   */
  readonly wrap?: <T>(runtime: Runtime<T>, tensors: readonly string[]) => Runtime<T> | Promise<Runtime<T>>;
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
  /** Shown in progress. */
  readonly task?: string;
}

/** Hidden states behind the last block, on the host. */
export interface LastStates<T> {
  readonly batches: readonly WindowBatch[];
  /** Of all tokens, `[tokens, hiddenSize]`, window after window. */
  readonly hidden: Float32Array;
  /** Those of a batch on the engine, `[count, length, hiddenSize]`. */
  upload(batch: Pick<WindowBatch, 'start' | 'count' | 'length'>): T;
  /** Loads tensors for a step behind the blocks, and frees them. */
  withWeights<R>(names: readonly string[], use: (runtime: Runtime<T>) => Promise<R>): Promise<R>;
}

/**
 * Runs a model over windows block by block: one block's weights are in the engine at a time, hidden states wait on the
 * host, so the model's size does not matter.
 * @param weight reads a tensor by its checkpoint name, linears `[out, in]`
 */
export async function runBlocks<T>(
  model: ModelDescription,
  { ops }: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  windows: Windows,
  options: WindowRunOptions = {},
): Promise<LastStates<T>> {
  const { batch: batchSize = 4, wrap = (runtime) => runtime, progress, signal, task = 'forward' } = options;
  const { hiddenSize } = model;
  const hidden = new Float32Array(windows.ids.length * hiddenSize);
  const batches = windowBatches(windows, batchSize);

  async function withWeights<R>(names: readonly string[], use: (runtime: Runtime<T>) => Promise<R>): Promise<R> {
    const loaded = new Map<string, T>();
    for (const name of names) loaded.set(name, ops.fromTensor(await weight(name)));
    try {
      return await use(await wrap(createRuntime(ops, loaded, { ties: model.ties }), names));
    } finally {
      for (const handle of loaded.values()) ops.dispose(handle);
    }
  }
  /** Runs `step` on each batch and keeps what it gives. */
  async function eachBatch(step: (batch: WindowBatch) => T): Promise<void> {
    for (const batch of batches) {
      signal?.throwIfAborted();
      const result = ops.scope(() => step(batch));
      hidden.set(await ops.data(result), batch.start * hiddenSize);
      ops.dispose(result);
    }
  }
  const upload: LastStates<T>['upload'] = ({ start, count, length }) =>
    ops.fromF32(hidden.subarray(start * hiddenSize, (start + count * length) * hiddenSize), [
      count,
      length,
      hiddenSize,
    ]);

  await withWeights(model.embeddingTensors, (runtime) =>
    eachBatch(({ ids, count, length }) => model.embed(runtime, ids, count, length)),
  );
  for (const block of model.blocks) {
    await withWeights(block.tensors, (runtime) =>
      eachBatch((batch) => {
        let state = block.begin(runtime, upload(batch));
        for (const stage of block.stages) state = stage.run(runtime, state);
        return state.residual;
      }),
    );
    progress?.({ task, done: block.index + 1, total: model.blocks.length, unit: 'blocks' });
  }
  return { batches, hidden, upload, withWeights };
}
