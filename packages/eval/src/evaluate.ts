import type { Windows } from '@q/calib';
import { type Kernels, NumericError, type ProgressEvent, referenceKernels, SchemeError } from '@q/core';
import type { LogitsSource } from './logits-source.js';

export interface EvaluateOptions {
  /** The original model. With it the result has KL divergence and top-1 agreement. */
  readonly against?: LogitsSource;
  /** Windows at a time, at most. Default: 4. Fewer where their logits would take more than 256 MB. */
  readonly batch?: number;
  /** The kernels that compare the logits. Default: the reference, which is slow for a large vocabulary. */
  readonly kernels?: Kernels;
  readonly progress?: (event: ProgressEvent) => void;
  readonly signal?: AbortSignal;
}

export interface Evaluation {
  /** `exp(nll)`. */
  readonly perplexity: number;
  /** Mean negative log likelihood, in nats, of the tokens at positions 1..length-1 of each window. */
  readonly nll: number;
  /** Number of scored tokens. */
  readonly tokens: number;
  /** Mean KL(original || model) in nats per scored token, and its 99th and 99.9th percentiles. */
  readonly kl?: number;
  readonly klP99?: number;
  readonly klP999?: number;
  /** Share of scored positions where both models prefer the same token. */
  readonly topAgreement?: number;
  /** Perplexity of `against` on the same windows. */
  readonly againstPerplexity?: number;
}

/** Bytes of logits of a model in memory at a time: a window of 256 tokens of Gemma 3 (262,144 tokens) has 268 MB. */
const mostLogitBytes = 2 ** 28;

/**
 * Scores a model on fixed windows. Sums run in f64 in the order of the tokens, so the result does not depend on
 * `batch`.
 * @throws NumericError when logits are not finite, SchemeError when the vocabularies differ
 */
export async function evaluate(
  model: LogitsSource,
  windows: Windows,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { against } = options;
  const vocabulary = model.vocabularySize;
  if (against && against.vocabularySize !== vocabulary) {
    throw new SchemeError(
      `the models have vocabularies of ${vocabulary} and ${against.vocabularySize} tokens: KL divergence needs equal vocabularies`,
    );
  }
  const releases: (() => void)[] = [];
  const keep = async (source: LogitsSource, other?: LogitsSource) => {
    const release = await source.keepHead?.(other);
    if (release) releases.unshift(release);
  };
  try {
    if (against) await keep(against);
    await keep(model, against);
    return await score(model, windows, options);
  } finally {
    for (const release of releases) release();
  }
}

async function score(
  model: LogitsSource,
  { ids, count, length }: Windows,
  { against, batch: most = 4, kernels = referenceKernels, progress, signal }: EvaluateOptions,
): Promise<Evaluation> {
  const vocabulary = model.vocabularySize;
  const batch = Math.max(1, Math.min(most, Math.floor(mostLogitBytes / (4 * length * vocabulary))));
  let nll = 0;
  let againstNll = 0;
  let agree = 0;
  const divergences = new Float64Array(against ? count * (length - 1) : 0);
  let scored = 0;
  for (let start = 0; start < count; start += batch) {
    signal?.throwIfAborted();
    const size = Math.min(batch, count - start);
    const part = ids.subarray(start * length, (start + size) * length);
    const logits = await model.logits(start, size);
    const original = await against?.logits(start, size);
    const scores = await kernels.scoreLogits({
      ...{ logits, rows: size * length, vocabulary },
      ...(original ? { original } : {}),
    });
    for (let window = 0; window < size; window++) {
      for (let position = 0; position < length - 1; position++) {
        const row = window * length + position;
        const at = row * vocabulary + part[row + 1];
        nll += scores.logs[row] - logits[at];
        if (!original || !scores.original) continue;
        againstNll += scores.original.logs[row] - original[at];
        divergences[scored++] = scores.original.divergences[row];
        if (scores.tops[row] === scores.original.tops[row]) agree++;
      }
    }
    if (!Number.isFinite(nll))
      throw new NumericError(
        `the logits of windows ${start} to ${start + size - 1} are not finite: the model is broken or overflows`,
      );
    progress?.({ task: 'evaluate', done: start + size, total: count, unit: 'windows' });
  }
  const tokens = count * (length - 1);
  return {
    perplexity: Math.exp(nll / tokens),
    nll: nll / tokens,
    tokens,
    ...(against
      ? {
          kl: divergences.reduce((sum, value) => sum + value, 0) / tokens,
          ...percentiles(divergences),
          topAgreement: agree / tokens,
          againstPerplexity: Math.exp(againstNll / tokens),
        }
      : {}),
  };
}

/** Percentiles by nearest rank: the smallest value that at least this share of all values does not exceed. */
function percentiles(values: Float64Array): { klP99: number; klP999: number } {
  const sorted = values.slice().sort();
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)];
  return { klP99: at(0.99), klP999: at(0.999) };
}
