import { llama3Bound } from '@q/core';

/** Recipes that `--recipe` knows by name, with the content of a recipe file. */
export const namedRecipes: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  [
    // FP8 of the Llama 3 report, section 6.2: products of feed-forward layers alone, row-wise, with a bound on dynamic
    // scales, and without the first and the last layer.
    'fp8-llama3',
    {
      method: 'rtn',
      fit: 'absMax',
      weights: 'fp8-row',
      inputs: 'fp8-row',
      inputBound: llama3Bound,
      layout: 'fbgemm-fp8',
      rules: [
        { blocks: [0, -1], keep: true },
        { roles: ['query', 'key', 'value', 'output'], keep: true },
      ],
    },
  ],
]);
