import { gptqLayoutDeclaration, plainLayoutDeclaration } from '@q/checkpoint';
import { boolean, builtinFormats, declaredFits, integer, type Method, type NumberFormat, namedSchemes } from '@q/core';
import { gptqMethod } from '@q/gptq';
import { hqqMethod } from '@q/hqq';
import { qaftMethod } from '@q/qat';
import { rtnMethod } from '@q/rtn';
import { describe, expect, it } from 'vitest';
import { recipeJSON } from '../recipe.js';
import { combineSettings, makeRecipe } from './make-recipe.js';
import { methodOptions } from './method-options.js';
import { readRecipe } from './read-recipe.js';
import { recipeSchema } from './recipe-schema.js';
import { extendVocabulary, type Vocabulary } from './vocabulary.js';

const vocabulary: Vocabulary = {
  methods: [gptqMethod, rtnMethod, hqqMethod, qaftMethod],
  layouts: [gptqLayoutDeclaration, plainLayoutDeclaration],
  fits: declaredFits,
  steps: [],
  formats: builtinFormats,
  schemes: namedSchemes,
  architectures: [],
  uses: [],
};
const shown = (place: string) => `r: ${place}`;
const make = (value: object, over: object = {}, words = vocabulary) =>
  makeRecipe(
    combineSettings([readRecipe(over, words, (place) => `--${place}`), readRecipe(value, words, shown)]),
    words,
    { memory: 1e9 },
  ).recipe;

describe('a recipe', () => {
  it('has defaults, and takes options of the chosen method', () => {
    const { rules, layout, seed } = make({ damping: 0.05, fit: { name: 'percentile', p: 0.9 } });
    expect(layout.name).toBe('gptq');
    expect(seed).toBe(0);
    expect(rules[0].quantizer?.options).toMatchObject({ damping: 0.05, fit: 'percentile', p: 0.9 });
    expect(rules[0].scheme?.format.name).toBe('uint4');
  });

  it.each<[object, string]>([
    [{ method: 'rtn', actOrder: true }, 'r: actOrder: method rtn has no option "actOrder"'],
    [{ method: 'hqq', clip: true }, 'unknown key "clip"'],
    [{ method: 'hqq', epochs: 3 }, 'r: epochs: method hqq has no option "epochs"'],
    [{ fit: { name: 'percentile', constructor: 1 } }, 'percentile: has no option "constructor"'],
    [{ dampin: 0.1 }, 'unknown key "dampin"; did you mean damping?'],
    [{ damping: -1 }, 'r: damping: a number between 0 and 1 was expected, not -1'],
    [{ importance: 'reference', method: 'rtn' }, 'r: importance reference: is not known (none, diagonal)'],
    [{ layout: 'plain', layoutVersion: 2 }, 'the layout plain has no such option'],
    [{ weights: 'nf5' }, 'did you mean nf4?'],
    [{ weights: 'nf4', bits: 4 }, 'r: weights and r: bits exclude each other'],
    [
      { rules: [{ match: '*', method: 'rtn', damping: 0.1 }] },
      'r: rules.0.damping: method rtn has no option "damping"',
    ],
    [{ rules: [{ match: '*', bitz: 4 }] }, 'r: rules.0: unknown key "bitz"; did you mean bits?'],
    [{ rules: [{ bits: 4 }] }, 'r: rules.0.match: the names of linears were expected'],
    [{ rules: [{ roles: ['queries'], keep: true }] }, 'r: rules.0.roles: a list of roles was expected: query, key'],
    [{ rules: [{ blocks: [0.5], keep: true }] }, 'r: rules.0.blocks: a list of whole numbers was expected'],
    [{ rules: {} }, 'a list of rules was expected'],
    [{ rules: [{ match: '*', seed: 4 }] }, 'unknown key "seed"'],
    [{ group: 0 }, 'a group has at least 1 column'],
  ])('%j is refused', (value, message) => {
    expect(() => make({ ...value })).toThrow(message);
  });

  it('leaves the options of its method out of rules with another one', () => {
    const { rules } = make({ damping: 0.05, rules: [{ match: '*.a', method: 'rtn' }] });
    expect(rules[0].quantizer?.name).toBe('rtn');
    expect(rules[1].quantizer?.options).toMatchObject({ damping: 0.05 });
  });

  it('has rules for roles and blocks, with or without a pattern', () => {
    const rules = [
      { blocks: [0, -1], keep: true },
      { match: '*.mlp.*', roles: ['up', 'gate'], bits: 3 },
    ];
    expect(make({ rules }).rules.slice(0, 2)).toMatchObject([
      { match: '*', blocks: [0, -1], keep: true },
      { match: '*.mlp.*', only: ['up', 'gate'] },
    ]);
  });

  it('quantizes inputs by a name, with a bound', () => {
    const { rules } = make({ weights: 'fp8-row', layout: 'plain', inputs: 'fp8-row', inputBound: 1200 });
    expect(rules[0].activation).toMatchObject({ scheme: { dynamic: true, format: { name: 'e4m3' } }, bound: 1200 });
    expect(recipeJSON(make({ inputs: 'int8-row' })).rules).toMatchObject([{ activation: { scheme: {} } }]);
  });

  it('takes every scheme by its name, over bits and groups of what lies below', () => {
    const scheme = (value: object, over?: object) => make(value, over).rules[0].scheme;
    for (const named of namedSchemes) expect(scheme({ weights: named.name })).toEqual(named.scheme);
    expect(scheme({ bits: 3, group: 32 }, { weights: 'nf4' })?.format.name).toBe('nf4');
    expect(scheme({ weights: 'nf4' }, { bits: 3 })?.format.name).toBe('uint3');
    expect(scheme({ rules: [{ match: '*.a', weights: 'int3 g64' }], bits: 8 })?.granularity).toEqual({
      kind: 'group',
      size: 64,
    });
  });

  it('has real zero points where method and layout have them', () => {
    const zero = (value: object) => make(value).rules[0].scheme?.zeroPoint;
    expect(zero({ method: 'hqq', layout: 'plain' })).toBe('float');
    expect(zero({ method: 'hqq' })).toBe('integer');
    expect(zero({ method: 'rtn', layout: 'plain' })).toBe('integer');
  });

  it('starts a training from its base, with the options of both', () => {
    const recipe = make({ method: 'qaft', epochs: 2, damping: 0.02 });
    expect(recipe.tuner?.options).toMatchObject({ epochs: 2 });
    expect(recipe.rules[0].quantizer?.options).toMatchObject({ damping: 0.02 });
  });
});

const quantizer = gptqMethod.quantizer as NonNullable<Method['quantizer']>;
const mine: Method = {
  name: 'mine',
  summary: 'a method from outside',
  options: { rounds: integer({ min: 1, default: 2, help: 'Rounds.' }) },
  quantizer: ({ rounds = 2 }) => ({ ...quantizer({}), name: 'mine', options: { rounds } }),
};
const from = { module: './mine.js', identity: 'abc' };

describe('extendVocabulary', () => {
  it('makes parts from outside as good as ours, and part of the identity', () => {
    const format: NumberFormat = { ...builtinFormats[2], name: 'int4-of-mine', toJSON: () => 'int4-of-mine' };
    const words = extendVocabulary(vocabulary, { methods: [mine], formats: [format] }, from);
    const recipe = make({ method: 'mine', rounds: 5, weights: 'int4-of-mine g32', layout: 'plain' }, {}, words);
    expect(recipe.rules[0].quantizer?.options).toEqual({ rounds: 5 });
    expect(recipeJSON(recipe)).toMatchObject({ uses: [from] });
    const linear = { module: 'm', inFeatures: 64, outFeatures: 8, transposed: false, bias: false };
    const planned = { linear, scheme: recipe.rules[0].scheme as never };
    expect(recipe.layout.refuse(planned)).toBeUndefined();
    expect(plainLayoutDeclaration.make({}).refuse(planned)).toContain('int4-of-mine');
    expect(recipeJSON(make({}))).not.toHaveProperty('uses');
  });

  it.each<[unknown, string]>([
    [undefined, './mine.js: exports no object named plugin'],
    [{ method: [] }, 'unknown key "method"; it may have methods, layouts'],
    [{ methods: mine }, 'plugin.methods must be an array'],
    [{ methods: [{ ...mine, summary: undefined }] }, 'plugin.methods: "mine" has no summary'],
    [{ methods: [{ ...mine, name: 'gptq' }] }, 'has gptq, which is there already'],
    [{ methods: [{ ...mine, quantizer: undefined }] }, 'neither a quantizer nor a base'],
    [
      { methods: [{ ...mine, quantizer: undefined, base: { method: 'x' } }] },
      'based on x, which is not a known method',
    ],
    [{ formats: [{ name: 'x', bits: 'four' }] }, 'plugin.formats: "x" has no bits (a whole number)'],
  ])('refuses %j', (plugin, message) => {
    expect(() => extendVocabulary(vocabulary, plugin, from)).toThrow(message);
  });
});

describe('recipeSchema', () => {
  it('knows every key with its range, those of outside methods too', () => {
    const words = extendVocabulary(vocabulary, { methods: [mine] }, from);
    const { properties } = recipeSchema(words) as { properties: Record<string, Record<string, unknown>> };
    expect(properties.rounds).toEqual({ description: 'Rounds.', type: 'integer', minimum: 1 });
    expect(properties.method.enum).toContain('mine');
    expect(properties.layout.enum).toEqual(['gptq', 'plain']);
    expect(properties.damping).toMatchObject({ type: 'number', exclusiveMinimum: 0, exclusiveMaximum: 1 });
    for (const method of words.methods)
      for (const key of Object.keys(methodOptions(method, words))) expect(properties).toHaveProperty(key);
    expect(boolean({ help: 'x' }).schema({})).toEqual({ type: 'boolean' });
  });
});
