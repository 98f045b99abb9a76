/** Log of the sum of exponentials of a row, and its largest entry. */
export function logNormalizer(logits: Float32Array, row: number, vocabulary: number): { log: number; top: number } {
  let top = row;
  for (let i = row + 1; i < row + vocabulary; i++) if (logits[i] > logits[top]) top = i;
  const largest = logits[top];
  let sum = 0;
  for (let i = row; i < row + vocabulary; i++) sum += Math.exp(logits[i] - largest);
  return { log: largest + Math.log(sum), top: top - row };
}

/** KL(p || q) of one position from logits and their normalizers. */
export function divergence(
  p: Float32Array,
  pLog: number,
  q: Float32Array,
  qLog: number,
  row: number,
  vocabulary: number,
): number {
  let sum = 0;
  for (let i = row; i < row + vocabulary; i++) {
    const logP = p[i] - pLog;
    sum += Math.exp(logP) * (logP - (q[i] - qLog));
  }
  return sum;
}

/**
 * Measures several models against one original on the same windows: what depends on the original alone is computed once.
 * The returned function gives the sum over the scored positions (all but the last of each window) of
 * KL(original || model), in nats.
 * @param original logits `[windows, length, vocabulary]`, as the function's argument
 */
export function divergenceFrom(
  original: Float32Array,
  length: number,
  vocabulary: number,
): (logits: Float32Array) => number {
  const tokens = original.length / vocabulary;
  const probabilities = new Float32Array(original.length);
  const logs = new Float64Array(tokens);
  for (let token = 0; token < tokens; token++) {
    const row = token * vocabulary;
    const log = logNormalizer(original, row, vocabulary).log;
    for (let i = row; i < row + vocabulary; i++) probabilities[i] = Math.exp(original[i] - log);
    logs[token] = log;
  }
  return (logits) => {
    let sum = 0;
    for (let token = 0; token < tokens; token++) {
      if (token % length === length - 1) continue;
      const row = token * vocabulary;
      const shift = logNormalizer(logits, row, vocabulary).log - logs[token];
      for (let i = row; i < row + vocabulary; i++) sum += probabilities[i] * (original[i] - logits[i] + shift);
    }
    return sum;
  };
}
