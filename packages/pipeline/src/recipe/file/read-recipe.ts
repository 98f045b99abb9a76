import { closest, type LinearRole, linearRoles, type OptionRecord, SchemeError } from '@q/core';
import type { Rule } from '../recipe.js';
import { layoutOptions, methodOption, optionsOfMethods, schemeOptions, topOptions } from './recipe-options.js';
import { namedParts, type Vocabulary } from './vocabulary.js';

/** A value, and its name for messages: `--damping`, `recipe.yaml: damping`. */
export interface Setting {
  readonly value: unknown;
  readonly shown: string;
}

export type Settings = ReadonlyMap<string, Setting>;

export interface RequestedRule extends Pick<Rule, 'only' | 'blocks'> {
  readonly match: string;
  readonly keep: boolean;
  readonly settings: Settings;
}

/** A recipe that a file or the options of a command request. It is checked, and not yet made into objects. */
export interface RequestedSettings {
  readonly settings: Settings;
  readonly rules: readonly RequestedRule[];
}

/**
 * Checks a recipe that was parsed from JSON or YAML.
 * @param shown gives the name of a key for messages: `recipe.yaml: rules.0.bits`
 * @throws SchemeError naming the unknown key, with the nearest known one, or the value that is not allowed
 */
export function readRecipe(
  value: unknown,
  vocabulary: Vocabulary,
  shown: (place: string) => string,
): RequestedSettings {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new SchemeError(`${shown('')}: an object of settings was expected`);
  const { rules = [], ...top } = value as Record<string, unknown>;
  if (!Array.isArray(rules)) throw new SchemeError(`${shown('rules')}: a list of rules was expected`);
  return {
    settings: readSettings(top, vocabulary, 'recipe', shown),
    rules: rules.map((rule, index) =>
      readRule(rule, vocabulary, (place) => shown(`rules.${index}${place === '' ? '' : `.${place}`}`)),
    ),
  };
}

/** Checks one rule. */
export function readRule(value: unknown, vocabulary: Vocabulary, shown: (place: string) => string): RequestedRule {
  if (typeof value !== 'object' || value === null) throw new SchemeError(`${shown('')}: an object was expected`);
  const { match: given, roles, blocks, keep = false, ...own } = value as Record<string, unknown>;
  const match = given ?? (roles || blocks ? '*' : undefined);
  if (typeof match !== 'string' || match === '')
    throw new SchemeError(
      `${shown('match')}: the names of linears were expected, where * stands for any characters; or roles, or blocks`,
    );
  if (typeof keep !== 'boolean') throw new SchemeError(`${shown('keep')}: true or false was expected`);
  if (roles !== undefined && !isListOf(roles, (role) => linearRoles.includes(role as LinearRole)))
    throw new SchemeError(`${shown('roles')}: a list of roles was expected: ${linearRoles.join(', ')}`);
  if (blocks !== undefined && !isListOf(blocks, Number.isInteger))
    throw new SchemeError(
      `${shown('blocks')}: a list of whole numbers was expected: 0 is the first block, -1 the last`,
    );
  return {
    match,
    ...(roles ? { only: roles as LinearRole[] } : {}),
    ...(blocks ? { blocks: blocks as number[] } : {}),
    keep,
    settings: readSettings(own, vocabulary, 'rule', shown),
  };
}

const isListOf = (value: unknown, holds: (each: unknown) => boolean) =>
  Array.isArray(value) && value.length > 0 && value.every(holds);

/** Keys that are allowed at the top of a recipe, or in a rule, in the order of the documentation. */
export function recipeKeys(vocabulary: Vocabulary, of: 'recipe' | 'rule'): readonly string[] {
  return [
    ...(of === 'rule' ? ['match', 'roles', 'blocks', 'keep'] : []),
    'method',
    ...Object.keys(schemeOptions),
    ...new Set([...optionsOfMethods(vocabulary).keys()].filter((key) => !Object.hasOwn(topOptions, key))),
    ...(of === 'recipe' ? [...Object.keys(topOptions), ...Object.keys(layoutOptions(vocabulary)), 'rules'] : []),
  ];
}

function readSettings(
  values: Readonly<Record<string, unknown>>,
  vocabulary: Vocabulary,
  of: 'recipe' | 'rule',
  shown: (place: string) => string,
): Settings {
  const parts = namedParts(vocabulary);
  const methods = optionsOfMethods(vocabulary);
  const own: OptionRecord = {
    method: methodOption(vocabulary),
    ...schemeOptions,
    ...(of === 'recipe' ? { ...topOptions, ...layoutOptions(vocabulary) } : {}),
  };
  const settings = new Map<string, Setting>();
  for (const [key, value] of Object.entries(values)) {
    if (value === undefined) continue;
    const declared = Object.hasOwn(own, key) ? [own[key]] : methods.get(key);
    if (!declared) {
      const allowed = recipeKeys(vocabulary, of);
      const slip = closest(key, allowed);
      const where = shown('');
      throw new SchemeError(
        `${where === '' ? '' : `${where}: `}unknown key ${JSON.stringify(key)}${slip ? `; did you mean ${slip}?` : ''} Allowed are ${allowed.join(', ')}`,
      );
    }
    if (declared.every((option) => option.resolve(value, parts) === undefined))
      throw new SchemeError(notAllowed(shown(key), value, declared[0].expected, declared[0].names?.(parts)));
    settings.set(key, { value, shown: shown(key) });
  }
  return settings;
}

/**
 * A message about a refused value: `--fit minmax: is not known; did you mean minMax? (minMax, absMax)`, `--bits 9: a
 * whole number from 2 to 8 was expected`.
 */
export function notAllowed(shown: string, value: unknown, expected: string, names?: readonly string[]): string {
  // Without quotation marks an empty value cannot be seen.
  const text = typeof value === 'string' && value.trim() !== '' ? value : JSON.stringify(value);
  // A flag is followed by its value as typed; a key of a file is followed by a colon and its value.
  const typed = /^--[\w-]+$/.test(shown);
  if (!names || typeof value !== 'string')
    return typed ? `${shown} ${text}: ${expected} was expected` : `${shown}: ${expected} was expected, not ${text}`;
  const slip = closest(value, names);
  return `${shown} ${text}: is not known${slip ? `; did you mean ${slip}?` : ''} (${names.join(', ')})`;
}
