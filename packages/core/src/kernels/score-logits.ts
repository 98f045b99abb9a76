import type { LogitsArgs, LogitsScores } from '../contracts/kernels.js';

/** Log of the sum of exponentials of a row, and the index of its largest entry. */
function normalizer(logits: Float32Array, row: number, vocabulary: number): { log: number; top: number } {
  let top = row;
  for (let i = row + 1; i < row + vocabulary; i++) if (logits[i] > logits[top]) top = i;
  const largest = logits[top];
  let sum = 0;
  for (let i = row; i < row + vocabulary; i++) sum += Math.exp(logits[i] - largest);
  return { log: largest + Math.log(sum), top: top - row };
}

/** {@link LogitsArgs} by their definition, in f64. */
export function scoreLogits({ logits, original, rows, vocabulary }: LogitsArgs): LogitsScores {
  const scores = { logs: new Float64Array(rows), tops: new Int32Array(rows) };
  const compared = original && {
    ...{ logs: new Float64Array(rows), tops: new Int32Array(rows), divergences: new Float64Array(rows) },
  };
  for (let row = 0; row < rows; row++) {
    const start = row * vocabulary;
    const own = normalizer(logits, start, vocabulary);
    scores.logs[row] = own.log;
    scores.tops[row] = own.top;
    if (!original || !compared) continue;
    const reference = normalizer(original, start, vocabulary);
    compared.logs[row] = reference.log;
    compared.tops[row] = reference.top;
    let sum = 0;
    for (let i = start; i < start + vocabulary; i++) {
      const log = original[i] - reference.log;
      sum += Math.exp(log) * (log - (logits[i] - own.log));
    }
    compared.divergences[row] = sum;
  }
  return { ...scores, ...(compared ? { original: compared } : {}) };
}
