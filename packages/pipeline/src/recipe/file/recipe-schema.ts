import { type JsonSchema, linearRoles, type Option, type OptionRecord } from '@q/core';
import { recipeKeys } from './read-recipe.js';
import { layoutOptions, methodOption, optionsOfMethods, schemeOptions, topOptions } from './recipe-options.js';
import { namedParts, type Vocabulary } from './vocabulary.js';

/** JSON Schema (draft 2020-12) of a recipe file, with which editors complete and check recipes. */
export function recipeSchema(vocabulary: Vocabulary): JsonSchema {
  const rule = properties(vocabulary, 'rule');
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Recipe of @q',
    type: 'object',
    additionalProperties: false,
    properties: {
      ...properties(vocabulary, 'recipe'),
      rules: {
        type: 'array',
        description: 'The first rule that matches a linear wins; settings that it does not have come from the top.',
        items: {
          type: 'object',
          additionalProperties: false,
          anyOf: ['match', 'roles', 'blocks'].map((key) => ({ required: [key] })),
          properties: rule,
        },
      },
    },
  };
}

function properties(vocabulary: Vocabulary, of: 'recipe' | 'rule'): Record<string, JsonSchema> {
  const parts = namedParts(vocabulary);
  const methods = optionsOfMethods(vocabulary);
  const own: OptionRecord = {
    method: methodOption(vocabulary),
    ...schemeOptions,
    ...topOptions,
    ...layoutOptions(vocabulary),
    layout: { ...topOptions.layout, schema: () => ({ enum: vocabulary.layouts.map(({ name }) => name) }) },
  };
  const out: Record<string, JsonSchema> = {};
  for (const key of recipeKeys(vocabulary, of)) {
    if (key === 'rules') continue;
    if (key === 'match') out[key] = { type: 'string', description: 'Names of linears; * stands for any characters.' };
    else if (key === 'roles')
      out[key] = { type: 'array', items: { enum: linearRoles }, description: 'Only linears with one of these roles.' };
    else if (key === 'blocks')
      out[key] = {
        type: 'array',
        items: { type: 'integer' },
        description: 'Only linears of these blocks: 0 is the first, -1 the last.',
      };
    else if (key === 'keep') out[key] = { type: 'boolean', description: 'Leave the linears as they are.' };
    else {
      const declared: readonly Option<any>[] = Object.hasOwn(own, key) ? [own[key]] : (methods.get(key) ?? []);
      const different = [...new Map(declared.map((option) => [JSON.stringify(option.schema(parts)), option])).values()];
      const schemas = different.map((option) => option.schema(parts));
      out[key] = { description: declared[0].help, ...(schemas.length === 1 ? schemas[0] : { anyOf: schemas }) };
    }
  }
  return out;
}
