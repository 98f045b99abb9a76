import { type LogitsScores, SchemeError, scoreLogits } from '@q/core';
import { pearson } from './compare-embeddings.js';
import type { TextVectors } from './embed-sequences.js';

/** The difference of a classifier's scores from those of the original. */
export interface ClassComparison {
  /** Share of texts, or of tokens, to which both models give the same class. */
  readonly agreement: number;
  /** Mean KL(original || model) of the classes, in nats. */
  readonly kl: number;
  /** For a model with a single score, which has no classes: the correlation of the scores. */
  readonly scoreCorrelation?: number;
}

/**
 * Compares the scores of two models on the same texts, or on their tokens.
 * @throws SchemeError when counts or numbers of classes differ
 */
export function compareClasses(own: TextVectors, original: TextVectors): ClassComparison {
  const { count, width, values } = own;
  if (count !== original.count || width !== original.width)
    throw new SchemeError(`a classifier of ${width} classes cannot be compared with one of ${original.width}`);
  const { tops, original: compared } = scoreLogits({
    ...{ logits: values, original: original.values, rows: count, vocabulary: width },
  }) as Required<LogitsScores>;
  const kl = compared.divergences.reduce((sum, each) => sum + each, 0);
  return {
    agreement: tops.filter((top, text) => top === compared.tops[text]).length / count,
    kl: kl / count,
    ...(width === 1 ? { scoreCorrelation: pearson(values, original.values) } : {}),
  };
}
