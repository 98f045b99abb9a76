import { scoreLogits } from '@q/core';

/**
 * Compares several models with one original on the same windows. The parts that depend only on the original are
 * computed once. The returned function gives the sum over the scored positions (all but the last of each window) of
 * KL(original || model), in nats.
 * @param original logits `[windows, length, vocabulary]`, as is the function's argument
 */
export function divergenceFrom(
  original: Float32Array,
  length: number,
  vocabulary: number,
): (logits: Float32Array) => number {
  const tokens = original.length / vocabulary;
  const probabilities = new Float32Array(original.length);
  const { logs } = scoreLogits({ logits: original, rows: tokens, vocabulary });
  for (let i = 0; i < probabilities.length; i++)
    probabilities[i] = Math.exp(original[i] - logs[Math.floor(i / vocabulary)]);
  return (logits) => {
    const own = scoreLogits({ logits, rows: tokens, vocabulary }).logs;
    let sum = 0;
    for (let token = 0; token < tokens; token++) {
      if (token % length === length - 1) continue;
      const row = token * vocabulary;
      const shift = own[token] - logs[token];
      for (let i = row; i < row + vocabulary; i++) sum += probabilities[i] * (original[i] - logits[i] + shift);
    }
    return sum;
  };
}
