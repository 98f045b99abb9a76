import { createRandom, NumericError, SchemeError } from '@q/core';

/** How the next token is drawn from the logits. */
export interface SamplingOptions {
  /** Divides the logits; 0: the most likely token is taken. 1 when absent. */
  readonly temperature?: number;
  /** Only so many of the most likely tokens are kept; all when absent. */
  readonly topK?: number;
  /** Only the most likely tokens are kept that make up this share of the probability; 1 when absent. */
  readonly topP?: number;
  /** Same seed, same tokens. 0 when absent. */
  readonly seed?: number;
}

/** Chooses a token by its logits `[vocabularySize]`. */
export type Sampler = (logits: Float32Array) => number;

/** The most likely token; of equal logits the lower id. */
export const mostLikely: Sampler = (logits) => {
  let best = 0;
  for (let i = 0; i < logits.length; i++) {
    if (!Number.isFinite(logits[i]!))
      throw new NumericError('the logits of a token are not finite: the model is broken or overflows');
    if (logits[i]! > logits[best]!) best = i;
  }
  return best;
};

/**
 * Temperature first, then the `topK` most likely tokens, then the fewest of these whose probability reaches `topP`, as
 * transformers has them.
 * @throws SchemeError naming an option that is out of range
 */
export function createSampler({ temperature = 1, topK, topP = 1, seed = 0 }: SamplingOptions = {}): Sampler {
  if (!(temperature >= 0 && Number.isFinite(temperature)))
    throw new SchemeError(`temperature ${temperature}: 0 or a positive number was expected`);
  if (topK !== undefined && !(Number.isInteger(topK) && topK > 0))
    throw new SchemeError(`topK ${topK}: a positive whole number was expected`);
  if (!(topP > 0 && topP <= 1)) throw new SchemeError(`topP ${topP}: a number above 0 and up to 1 was expected`);
  if (temperature === 0) return mostLikely;
  const random = createRandom(`sampling ${seed}`);
  return (logits) => {
    const top = logits[mostLikely(logits)]!;
    const weights = Float64Array.from(logits, (logit) => Math.exp((logit - top) / temperature));
    const order = Uint32Array.from({ length: logits.length }, (_, i) => i).sort(
      (i, j) => weights[j]! - weights[i]! || i - j,
    );
    const kept = order.subarray(0, topK ?? order.length);
    const total = kept.reduce((sum, id) => sum + weights[id]!, 0);
    let [count, mass] = [0, 0];
    while (count < kept.length && (count === 0 || mass < topP * total)) mass += weights[kept[count++]!]!;
    let rest = random.uniform() * mass;
    for (let i = 0; i < count; i++) {
      rest -= weights[kept[i]!]!;
      if (rest < 0) return kept[i]!;
    }
    return kept[count - 1]!;
  };
}
