import { forward, greedy, loadTokenizer } from '@q/models';
import type { TfjsEngine } from '@q/tfjs';
import {
  hiddenNorms,
  loadFolder,
  type Reference,
  readJson,
  readReferenceLogits,
  readWindows,
  windowLosses,
} from './shared-model.js';

/** The models that PyTorch has measured. */
export const sharedModels = ['llama-5m', 'gpt2-3m', 'opt-3m'] as const;

/** A model's figures, compared with those of `reference.json`. */
export interface ReferenceFigures {
  /** Largest absolute difference of the logits at the first 32 positions of the first window. */
  readonly logitsDifference: number;
  /** Largest relative difference of the norms of the hidden states. */
  readonly hiddenNormDifference: number;
  readonly nllFirstWindow: number;
  readonly perplexity: number;
  readonly promptTokens: readonly number[];
  readonly greedyTokens: readonly number[];
  /** Number of handles that the measurement has left on the engine: tables that stay as long as the engine. */
  readonly leaked: number;
  /** Tokens per second of the forward passes over all windows. */
  readonly tokensPerSecond: number;
  readonly reference: Reference;
}

export async function measureReferenceFigures(engine: TfjsEngine, folder: string): Promise<ReferenceFigures> {
  const { ops } = engine;
  const before = engine.memory().tensors;
  const loaded = await loadFolder(ops, folder);
  const reference = await readJson<Reference>(folder, 'reference.json');
  const ids = await readWindows(folder);
  const first = ids.subarray(0, reference.length);

  const handle = forward(loaded.model, loaded.runtime, first, 1, reference.length);
  const logits = await ops.data(handle);
  ops.dispose(handle);
  const expected = await readReferenceLogits(folder);
  const logitsDifference = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - logits[i]!)), 0);

  const norms = hiddenNorms(loaded, first);
  const hiddenNormDifference = reference.hiddenNorms.reduce(
    (most, norm, i) => Math.max(most, Math.abs(norms[i]! / norm - 1)),
    norms.length === reference.hiddenNorms.length ? 0 : Number.POSITIVE_INFINITY,
  );

  const started = performance.now();
  const losses = await windowLosses(loaded, ids, reference.length);
  const seconds = (performance.now() - started) / 1000;

  const tokenizer = loadTokenizer({
    tokenizer: await readJson(folder, 'tokenizer.json'),
    config: await readJson(folder, 'tokenizer_config.json'),
  });
  const promptTokens = [tokenizer.bosId!, ...tokenizer.encode(reference.prompt)];
  const greedyTokens = await greedy(loaded.model, loaded.runtime, Int32Array.from(promptTokens), 64);

  loaded.dispose();
  const leaked = engine.memory().tensors - before;
  return {
    logitsDifference,
    hiddenNormDifference,
    nllFirstWindow: losses[0]!,
    perplexity: Math.exp(losses.reduce((sum, loss) => sum + loss, 0) / losses.length),
    promptTokens,
    greedyTokens,
    leaked,
    tokensPerSecond: ids.length / seconds,
    reference,
  };
}
