import { SchemeError } from '@q/core';
import { pearson } from './compare-embeddings.js';
import { divergence, logNormalizer } from './divergence.js';
import type { TextVectors } from './embed-sequences.js';

/** How a classifier's scores have moved. */
export interface ClassComparison {
  /** Share of texts that both models give the same class. */
  readonly agreement: number;
  /** Mean KL(original || model) of the classes, in nats. */
  readonly kl: number;
  /** Instead of classes, for a model with a single score: correlation of the scores. */
  readonly scoreCorrelation?: number;
}

/** @throws SchemeError when counts or numbers of classes differ */
export function compareClasses(own: TextVectors, original: TextVectors): ClassComparison {
  const { count, width, values } = own;
  if (count !== original.count || width !== original.width)
    throw new SchemeError(`a classifier of ${width} classes cannot be compared with one of ${original.width}`);
  let [agree, kl] = [0, 0];
  for (let text = 0; text < count; text++) {
    const row = text * width;
    const [q, p] = [logNormalizer(values, row, width), logNormalizer(original.values, row, width)];
    if (q.top === p.top) agree++;
    kl += divergence(original.values, p.log, values, q.log, row, width);
  }
  return {
    agreement: agree / count,
    kl: kl / count,
    ...(width === 1 ? { scoreCorrelation: pearson(values, original.values) } : {}),
  };
}
