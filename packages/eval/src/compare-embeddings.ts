import { SchemeError } from '@q/core';
import type { TextVectors } from './embed-sequences.js';

/** The difference of a model's vectors from the original's vectors of the same texts. */
export interface EmbeddingComparison {
  /** Cosines of each text's two vectors: mean and smallest. */
  readonly cosine: { readonly mean: number; readonly min: number };
  /** Rank correlation of the similarities of all pairs of texts. */
  readonly similaritySpearman: number;
  /**
   * Mean share of each text's 10 nearest texts that are among the 10 nearest of the other model too. With fewer texts,
   * all other texts count.
   */
  readonly recallAt10: number;
  /** Number of texts whose pairs were compared. */
  readonly texts: number;
}

/**
 * The number of pairs grows with the square of the number of texts. If there are more texts than this, evenly spaced
 * ones are compared.
 */
const pairedTexts = 2000;

/**
 * Compares two models' vectors of the same texts; similarities are cosines.
 * @throws SchemeError when counts or widths differ, or there are fewer than 2 texts
 */
export function compareEmbeddings(own: TextVectors, original: TextVectors): EmbeddingComparison {
  const { count, width } = own;
  if (count !== original.count || width !== original.width)
    throw new SchemeError(
      `${count} vectors of ${width} cannot be compared with ${original.count} of ${original.width}: use two models with vectors of one width on the same texts`,
    );
  if (count < 2) throw new SchemeError('one text has no neighbours: give at least 2 texts');
  const [a, b] = [unit(own), unit(original)];
  let [sum, min] = [0, 1];
  for (let i = 0; i < count; i++) {
    const cosine = dot(a, i, b, i, width);
    sum += cosine;
    min = Math.min(min, cosine);
  }
  const chosen = spread(count, pairedTexts);
  const [mine, theirs] = [similarities(a, chosen, width), similarities(b, chosen, width)];
  return {
    cosine: { mean: sum / count, min },
    similaritySpearman: spearman(upper(mine, chosen.length), upper(theirs, chosen.length)),
    recallAt10: recall(mine, theirs, chosen.length, Math.min(10, chosen.length - 1)),
    texts: chosen.length,
  };
}

function unit({ values, count, width }: TextVectors): Float64Array {
  const out = Float64Array.from(values);
  for (let i = 0; i < count; i++) {
    const row = out.subarray(i * width, (i + 1) * width);
    let square = 0;
    for (const value of row) square += value * value;
    const norm = Math.sqrt(square) || 1;
    for (let j = 0; j < width; j++) row[j] /= norm;
  }
  return out;
}

function dot(a: Float64Array, i: number, b: Float64Array, j: number, width: number): number {
  let sum = 0;
  for (let k = 0, p = i * width, q = j * width; k < width; k++, p++, q++) sum += a[p] * b[q];
  return sum;
}

const spread = (count: number, most: number): readonly number[] =>
  Array.from({ length: Math.min(count, most) }, (_, i) => Math.floor((i * count) / Math.min(count, most)));

/** `[n, n]` */
function similarities(vectors: Float64Array, chosen: readonly number[], width: number): Float64Array {
  const n = chosen.length;
  const out = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = i; j < n; j++) {
      const value = dot(vectors, chosen[i], vectors, chosen[j], width);
      out[i * n + j] = value;
      out[j * n + i] = value;
    }
  return out;
}

/** Every pair of different texts once. */
function upper(square: Float64Array, n: number): Float64Array {
  const out = new Float64Array((n * (n - 1)) / 2);
  let at = 0;
  for (let i = 0; i < n; i++) {
    out.set(square.subarray(i * n + i + 1, (i + 1) * n), at);
    at += n - 1 - i;
  }
  return out;
}

function recall(mine: Float64Array, theirs: Float64Array, n: number, many: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) {
    const kept = new Set(nearest(mine, i, n, many));
    for (const index of nearest(theirs, i, n, many)) if (kept.has(index)) sum++;
  }
  return sum / (n * many);
}

/** The nearest texts. Of equal similarities the lower index is nearer. */
function nearest(square: Float64Array, i: number, n: number, many: number): readonly number[] {
  const found: number[] = [];
  for (let j = 0; j < n; j++) {
    if (j === i) continue;
    const value = square[i * n + j];
    if (found.length === many && value <= square[i * n + found[many - 1]]) continue;
    let at = found.length;
    while (at > 0 && square[i * n + found[at - 1]] < value) at--;
    found.splice(at, 0, j);
    if (found.length > many) found.pop();
  }
  return found;
}

/**
 * Rank correlation. Equal values share the mean of their ranks. For constant values it is 1 if both sides are constant,
 * else 0.
 */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number {
  return pearson(ranks(a), ranks(b));
}

export function pearson(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = a.length;
  let [meanA, meanB] = [0, 0];
  for (let i = 0; i < n; i++) [meanA, meanB] = [meanA + a[i] / n, meanB + b[i] / n];
  let [both, ownA, ownB] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    const [x, y] = [a[i] - meanA, b[i] - meanB];
    both += x * y;
    ownA += x * x;
    ownB += y * y;
  }
  if (ownA === 0 || ownB === 0) return ownA === ownB ? 1 : 0;
  return both / Math.sqrt(ownA * ownB);
}

function ranks(values: ArrayLike<number>): Float64Array {
  const order = Uint32Array.from({ length: values.length }, (_, i) => i).sort((i, j) => values[i] - values[j] || i - j);
  const out = new Float64Array(values.length);
  for (let first = 0; first < order.length; ) {
    let end = first + 1;
    while (end < order.length && values[order[end]] === values[order[first]]) end++;
    for (let at = first; at < end; at++) out[order[at]] = (first + end - 1) / 2;
    first = end;
  }
  return out;
}
