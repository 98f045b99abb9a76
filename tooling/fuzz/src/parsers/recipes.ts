import { gptqLayoutDeclaration, plainLayoutDeclaration } from '@q/checkpoint';
import { parseRecipeText } from '@q/cli';
import { builtinFormats, declaredFits, namedSchemes } from '@q/core';
import { gptqMethod } from '@q/gptq';
import { combineSettings, makeRecipe, readRecipe, type Vocabulary } from '@q/pipeline';
import { signRoundMethod } from '@q/qat';
import { rtnMethod } from '@q/rtn';
import { mutateJson, mutateJsonText, mutateText } from '../mutate.js';
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

/** Reads a recipe, and makes its objects. */
function make(value: unknown, path: string): void {
  const settings = readRecipe(value, vocabulary, (place) => `${path}: ${place}`);
  makeRecipe(combineSettings([settings]), vocabulary, { memory: 1e9 });
}

/** A recipe as a value of JSON or YAML. */
export function recipeParser(): FuzzedParser {
  return {
    name: 'recipe',
    async run(random) {
      const value = mutateJson(recipes[random.integer(recipes.length)], random);
      make(value, 'recipe.yaml');
      return { bytes: JSON.stringify(value).length };
    },
  };
}

const yamls: readonly string[] = [
  'method: gptq\nbits: 4\ngroup: 32\ndamping: 0.02\nfit: { name: percentile, p: 0.99 }\nseed: 3\n',
  [
    ...['# a comment', 'method: rtn', 'weights: nf4', 'layout: plain', 'maxShardBytes: 1e6', 'rules:'],
    ...["  - match: '*.mlp.*'", '    bits: 8', '    symmetric: true', '  - match: "*k_proj"', '    keep: true', ''],
  ].join('\n'),
  '%YAML 1.1\n---\nrules:\n  - &own\n    match: "*.0.*"\n    bits: 3\n  - <<: *own\n    match: "*"\nmethod: rtn\n...\n',
  '"method": >-\n  rtn\nbits: 0x4\nsymmetric: &s true\nrules: [{ match: "*", symmetric: *s }]\n',
];
/** Texts with a meaning in YAML. */
const yamlTokens: readonly string[] = [
  ...['&a ', '*a', '<<: ', '- ', '? ', ': ', '| \n', '>-\n', '---\n', '...\n', '!!set ', '!!omap ', '!!binary ', '!x '],
  ...['!!timestamp ', '%YAML 1.1\n', '%TAG ! x:\n', '2001-12-14', '0x1f', '.inf', '.nan', '~', '"', "'", '{', '}', '['],
  ...[
    ']',
    '\t',
    '#',
    '\n',
    '\n  ',
    '{a: *a, b: [',
    '1_000',
    '12:30:45',
    'on',
    '__proto__: ',
    'constructor: ',
    '[[[[[[[[',
  ],
];

/** Text of a recipe file: JSON of `*.json`, YAML of all others. */
export function recipeTextParsers(): FuzzedParser[] {
  return [
    {
      name: 'recipe-json',
      async run(random) {
        const text = mutateJsonText(recipes[random.integer(recipes.length)], random);
        make(parseRecipeText(text, 'recipe.json'), 'recipe.json');
        return { bytes: text.length };
      },
    },
    {
      name: 'recipe-yaml',
      async run(random) {
        const text = mutateText(yamls[random.integer(yamls.length)], yamlTokens, random);
        make(parseRecipeText(text, 'recipe.yaml'), 'recipe.yaml');
        return { bytes: text.length };
      },
    },
  ];
}
