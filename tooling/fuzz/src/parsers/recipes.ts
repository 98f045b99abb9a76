import { gptqLayoutDeclaration, plainLayoutDeclaration } from '@q/checkpoint';
import { builtinFormats, declaredFits, namedSchemes } from '@q/core';
import { gptqMethod } from '@q/gptq';
import { combineSettings, makeRecipe, readRecipe, type Vocabulary } from '@q/pipeline';
import { signRoundMethod } from '@q/qat';
import { rtnMethod } from '@q/rtn';
import { mutateJson } from '../mutate.js';
import type { FuzzedParser } from '../parser.js';

const vocabulary: Vocabulary = {
  methods: [gptqMethod, rtnMethod, signRoundMethod],
  layouts: [gptqLayoutDeclaration, plainLayoutDeclaration],
  fits: declaredFits,
  steps: [],
  formats: builtinFormats,
  schemes: namedSchemes,
  architectures: [],
  uses: [],
};

const recipes: readonly object[] = [
  { method: 'gptq', bits: 4, group: 32, damping: 0.02, fit: { name: 'percentile', p: 0.99 }, seed: 3 },
  {
    ...{ method: 'rtn', weights: 'nf4', layout: 'plain', maxShardBytes: 1e6 },
    rules: [
      { match: '*.mlp.*', bits: 8, symmetric: true },
      { match: '*k_proj', keep: true },
    ],
  },
  { method: 'signround', bits: 3, group: 16, steps: 10, rate: 0.01, embeddings: 'rtn', head: 'keep' },
];

/** A recipe as a value of JSON or YAML: read, and made into objects. */
export function recipeParser(): FuzzedParser {
  return {
    name: 'recipe',
    async run(random) {
      const value = mutateJson(recipes[random.integer(recipes.length)], random);
      const settings = readRecipe(value, vocabulary, (place) => `recipe.yaml: ${place}`);
      makeRecipe(combineSettings([settings]), vocabulary, { memory: 1e9 });
      return { bytes: JSON.stringify(value).length };
    },
  };
}
