import type { Random } from '@q/core';

/** `sampled`: a token drawn from the model's own distribution. `text`: the next token of the text. */
export type LabelSource = 'sampled' | 'text';

/**
 * Draws a token for each row of logits from its softmax.
 * @param logits `[rows, vocabulary]`
 * @param out `[rows]`
 */
export function sampleLabels(logits: Float32Array, vocabulary: number, random: Random, out: Int32Array): void {
  for (let row = 0; row < out.length; row++) {
    const start = row * vocabulary;
    let largest = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < vocabulary; i++) largest = Math.max(largest, logits[start + i]);
    let total = 0;
    for (let i = 0; i < vocabulary; i++) total += Math.exp(logits[start + i] - largest);
    let left = random.uniform() * total;
    let label = 0;
    // The last token gets the remaining probability of rounding errors.
    while (label < vocabulary - 1 && (left -= Math.exp(logits[start + label] - largest)) >= 0) label++;
    out[row] = label;
  }
}
