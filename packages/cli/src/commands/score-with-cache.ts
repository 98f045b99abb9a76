import { checkVocabulary, type Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import { CalibrationError, languageModel } from '@q/core';
import { type Evaluation, evaluate, runWindows } from '@q/eval';
import { cachedLogits, inputExecution, loadModel } from '@q/execution';
import { cacheOf } from '../cache-option.js';
import type { Compute } from '../engine.js';
import { valueSource } from '../packed-source.js';
import { formatBytes } from '../units.js';
import { UsageError } from '../usage-error.js';
import type { ScoreOptions } from './evaluate.js';

/**
 * Scores a model that reads earlier tokens from a quantized cache, and compares it with another one without such a
 * cache.
 */
export async function scoreWithCache(
  scheme: string,
  checkpoint: Checkpoint,
  windows: Windows,
  compute: Compute,
  { against, weights, terminal, signal }: ScoreOptions,
): Promise<Evaluation & { readonly cacheBytes: number }> {
  if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
  if (against && !against.model) throw against.unknownArchitecture as Error;
  const model = languageModel(checkpoint.model, `q eval ${checkpoint.path} --cache`);
  if (windows.length > model.maxPositions)
    throw new CalibrationError(
      `${checkpoint.path}: windows of ${windows.length} tokens are longer than the model's ${model.maxPositions} positions: give a smaller --length`,
    );
  checkVocabulary(windows, model.vocabularySize, 'the text');
  if (await inputExecution(checkpoint, compute.kernels))
    throw new UsageError(
      '--cache needs a model of which only the weights are quantized: this folder also quantizes inputs',
    );
  const cache = await cacheOf(scheme, model, checkpoint);
  const engine = await compute.generation();
  try {
    const options = { progress: terminal.progress, signal };
    const original =
      against?.model &&
      (await runWindows(against.model, engine, (name) => against.weight(name), windows, {
        ...options,
        task: 'original',
      }));
    const source = weights ? valueSource(weights) : checkpoint;
    const loaded = await loadModel(model, engine, source);
    const logits = cachedLogits(model, loaded.runtime, windows, { ...cache.decoder, signal });
    const result = await evaluate(logits, windows, {
      ...options,
      batch: 1,
      kernels: compute.kernels,
      ...(original ? { against: original } : {}),
    });
    loaded.dispose();
    const cacheBytes = cache.bytes(windows.length);
    terminal.note(`cache ${scheme}: ${formatBytes(cacheBytes)} for ${windows.length} tokens`);
    return { ...result, cacheBytes };
  } finally {
    await engine.dispose();
  }
}
