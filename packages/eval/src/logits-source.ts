import type { Windows } from '@q/calib';
import { type ForwardEngine, languageModel, type ModelDescription, type Tensor } from '@q/core';
import { runBlocks, type WindowRunOptions } from './run-blocks.js';

/** Gives a model's logits on fixed windows, on the host. */
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
  const walk = await runBlocks(model, engine, weight, windows, options);
  const head = new Map<string, Tensor<'f32'>>();
  for (const name of model.headTensors) head.set(name, await weight(name));
  return {
    vocabularySize: model.vocabularySize,
    async logits(first, count) {
      await walk.load(model.headTensors, async (name) => head.get(name) as Tensor<'f32'>);
      try {
        return await walk.outputOf(
          Int32Array.from({ length: count }, (_, i) => first + i),
          logitsOf,
        );
      } finally {
        walk.clearWeights();
      }
    },
  };
}
