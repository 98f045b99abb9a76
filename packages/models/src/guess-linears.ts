import type { LinearDescription } from '@q/core';

/** The output projection's module in transformers, in every architecture. */
export const conventionalHead = 'lm_head';

/** Parts of names that mark matrices that are read row by row, or that usually keep their precision. */
const noLinear = /embed|norm|head|wte|wpe|router|ln_|(^|\.)gate\.weight$/i;

/**
 * Linears of a model that no architecture describes: every matrix of floats named `*.weight`, except embeddings, norms,
 * routers and heads, which it recognizes by name. The matrices are taken as `[out, in]`. Their roles are unknown.
 * @param tensors of the checkpoint, with their shapes and dtypes (`F16`, `BF16`, `F32`)
 */
export function guessLinears(
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly dtype: string }>,
): readonly LinearDescription[] {
  const linears: LinearDescription[] = [];
  for (const [name, { shape, dtype }] of tensors) {
    if (!name.endsWith('.weight') || shape.length !== 2 || !/^(F|BF)/.test(dtype)) continue;
    if (noLinear.test(name)) continue;
    const [outFeatures, inFeatures] = shape as [number, number];
    linears.push({
      module: name.replace(/\.weight$/, ''),
      outFeatures,
      inFeatures,
      transposed: false,
      bias: tensors.has(name.replace(/weight$/, 'bias')),
    });
  }
  return linears;
}
