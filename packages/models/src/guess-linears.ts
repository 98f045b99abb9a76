import type { LinearDescription } from '@q/core';

/** The output projection's module in transformers, in every architecture. */
export const conventionalHead = 'lm_head';

/** Matrices of a model that no architecture describes, sorted by their names. */
export interface GuessedMatrices {
  /** Matrices that are taken as linears `[out, in]`. Their roles are unknown. */
  readonly linears: readonly LinearDescription[];
  /** The other matrices by the name of their tensor, with the reason why each is kept. */
  readonly kept: ReadonlyMap<string, string>;
}

/** Parts of names that mark matrices that are read row by row, or that usually keep their precision. */
const notLinears: readonly (readonly [RegExp, reason: string])[] = [
  // T5's relative_attention_bias has a row for each distance, and a column for each attention head.
  [/(^|[._])(relative|rel|position|positional|pos)_(\w+_)?(bias|table|encoding)s?\.weight$/i, 'a table of positions'],
  [/embed|wte|wpe/i, 'a table of embeddings'],
  [/norm|ln_/i, 'a norm'],
  [/router|(^|\.)gate\.weight$/i, 'a router'],
  [/head/i, 'a head'],
];

/**
 * Sorts the matrices of floats named `*.weight` of a model that no architecture describes: linears, and those that the
 * name marks as a table, a norm, a router or a head.
 * @param tensors of the checkpoint, with their shapes and dtypes (`F16`, `BF16`, `F32`)
 */
export function guessLinears(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly dtype: string }>,
): GuessedMatrices {
  const linears: LinearDescription[] = [];
  const kept = new Map<string, string>();
  for (const [name, { shape, dtype }] of tensors) {
    if (!name.endsWith('.weight') || shape.length !== 2 || !/^(F|BF)/.test(dtype)) continue;
    const reason = notLinears.find(([marks]) => marks.test(name))?.[1];
    if (reason !== undefined) {
      kept.set(name, `kept: ${reason}, by its name`);
      continue;
    }
    const [outFeatures, inFeatures] = shape as [number, number];
    linears.push({
      module: name.replace(/\.weight$/, ''),
      outFeatures,
      inFeatures,
      transposed: false,
      bias: tensors.has(name.replace(/weight$/, 'bias')),
    });
  }
  return { linears, kept };
}
