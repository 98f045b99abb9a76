import type { Windows } from '@q/calib';
import { type ForwardEngine, languageModel, type ModelDescription, type Tensor } from '@q/core';
import { createRuntime } from '@q/models';
import { runBlocks, type WindowRunOptions } from './run-blocks.js';

/** A model's logits on fixed windows, on the host. */
export interface LogitsSource {
  readonly vocabularySize: number;
  /** Logits of windows `first .. first+count-1`: `[count, length, vocabularySize]`, f32. */
  logits(first: number, count: number): Promise<Float32Array>;
}

/**
 * Runs a model over windows block by block. The returned source computes logits of a batch from the last hidden states.
 * @param weight reads a tensor by its checkpoint name, linears `[out, in]`
 * @throws SchemeError when the model is an encoder
 */
export async function runWindows<T>(
  model: ModelDescription,
  engine: ForwardEngine<T>,
  weight: (name: string) => Promise<Tensor<'f32'>>,
  windows: Windows,
  options: WindowRunOptions = {},
): Promise<LogitsSource> {
  const { logits: logitsOf } = languageModel(model, 'perplexity');
  const { ops } = engine;
  const { wrap = (runtime) => runtime } = options;
  const { length } = windows;
  const states = await runBlocks(model, engine, weight, windows, options);
  const head = new Map<string, Tensor<'f32'>>();
  for (const name of model.headTensors) head.set(name, await weight(name));
  return {
    vocabularySize: model.vocabularySize,
    async logits(first, size) {
      const loaded = new Map([...head].map(([name, tensor]) => [name, ops.fromTensor(tensor)]));
      const runtime = await wrap(createRuntime(ops, loaded, { ties: model.ties }), model.headTensors);
      const result = ops.scope(() => logitsOf(runtime, states.upload({ start: first * length, count: size, length })));
      const data = await ops.data(result);
      ops.dispose(result);
      for (const handle of loaded.values()) ops.dispose(handle);
      return data;
    },
  };
}
