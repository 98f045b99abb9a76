import type { Windows } from '@q/calib';
import type { ForwardEngine, ModelDescription, ProgressEvent, Runtime, Tensor } from '@q/core';
import { createRuntime } from '@q/models';

/** A model's logits on fixed windows, on the host. */
export interface LogitsSource {
  readonly vocabularySize: number;
  /** Logits of windows `first .. first+count-1`: `[count, length, vocabularySize]`, f32. */
  logits(first: number, count: number): Promise<Float32Array>;
}

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

/**
 * Runs a model over windows block by block: one block's weights are in the engine at a time, hidden states wait on the
 * host, so the model's size does not matter. The returned source computes logits of a batch from the last hidden states.
 * @param weight reads a tensor by its checkpoint name, linears `[out, in]`
 */
export async function runWindows<T>(
  model: ModelDescription,
  { ops }: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  windows: Windows,
  options: WindowRunOptions = {},
): Promise<LogitsSource> {
  const { batch = 4, wrap = (runtime) => runtime, progress, signal, task = 'forward' } = options;
  const { ids, count, length } = windows;
  const rowSize = length * model.hiddenSize;
  const hidden = new Float32Array(count * rowSize);

  async function withWeights<R>(names: readonly string[], use: (runtime: Runtime<T>) => Promise<R>): Promise<R> {
    const loaded = new Map<string, T>();
    for (const name of names) loaded.set(name, ops.fromTensor(await weight(name)));
    try {
      return await use(await wrap(createRuntime(ops, loaded, { ties: model.ties }), names));
    } finally {
      for (const handle of loaded.values()) ops.dispose(handle);
    }
  }
  /** Runs `step` on each batch of hidden states and writes its result back. */
  async function eachBatch(runtime: Runtime<T>, step: (start: number, size: number) => T): Promise<void> {
    for (let start = 0; start < count; start += batch) {
      signal?.throwIfAborted();
      const size = Math.min(batch, count - start);
      const result = runtime.ops.scope(() => step(start, size));
      hidden.set(await ops.data(result), start * rowSize);
      ops.dispose(result);
    }
  }
  const upload = (start: number, size: number) =>
    ops.fromF32(hidden.subarray(start * rowSize, (start + size) * rowSize), [size, length, model.hiddenSize]);

  await withWeights(model.embeddingTensors, (runtime) =>
    eachBatch(runtime, (start, size) =>
      model.embed(runtime, ids.subarray(start * length, (start + size) * length), size, length),
    ),
  );
  for (const block of model.blocks) {
    await withWeights(block.tensors, (runtime) =>
      eachBatch(runtime, (start, size) => {
        let state = block.begin(runtime, upload(start, size));
        for (const stage of block.stages) state = stage.run(runtime, state);
        return state.residual;
      }),
    );
    progress?.({ task, done: block.index + 1, total: model.blocks.length, unit: 'blocks' });
  }
  const head = new Map<string, Tensor<'f32'>>();
  for (const name of model.headTensors) head.set(name, await weight(name));
  return {
    vocabularySize: model.vocabularySize,
    async logits(first, size) {
      const loaded = new Map([...head].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
      const runtime = await wrap(createRuntime(ops, loaded, { ties: model.ties }), model.headTensors);
      const result = ops.scope(() => model.logits(runtime, upload(first, size)));
      const data = await ops.data(result);
      ops.dispose(result);
      for (const handle of loaded.values()) ops.dispose(handle);
      return data;
    },
  };
}
