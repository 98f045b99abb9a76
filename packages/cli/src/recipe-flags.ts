import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { readAdapter } from '@q/checkpoint';
import type { OptionRecord } from '@q/core';
import {
  combineSettings,
  layoutKey,
  makeRecipe,
  methodOption,
  methodOptions,
  namedParts,
  type RequestedRecipe,
  type RequestedSettings,
  readRecipe,
  readRule,
  schemeOptions,
  topOptions,
  type Vocabulary,
} from '@q/pipeline';
import { mergedAdapter } from '@q/qat';
import { type Command, Option as Flag } from 'commander';
import { addFlag, defaultNote, type FlagValues, flagOf } from './command.js';
import { addOptionsOf } from './method-flags.js';
import { namedRecipes } from './named-recipes.js';
import { parseRule } from './rule-option.js';
import { UsageError } from './usage-error.js';

/** Recipe keys whose flag has another name. */
const otherFlags: Readonly<Record<string, string>> = { maxShardBytes: 'maxShard' };

/** Adds the flags that make a recipe, with those of every method and layout of the vocabulary. */
export function addRecipeFlags(command: Command, vocabulary: Vocabulary): void {
  const parts = namedParts(vocabulary);
  const { methods, layouts } = vocabulary;
  const { bits, group, weights, inputs, inputBound } = schemeOptions;
  const { layout, use: _, ...top } = topOptions;
  command.option(
    '--recipe <file>',
    'recipe as JSON or YAML, or the name of one (fp8-llama3); options win over it, and their rules come before its rules',
  );
  addFlag(command, 'method', methodOption(vocabulary), parts);
  for (const [key, option] of Object.entries({ weights, bits, group, inputs, inputBound }))
    addFlag(command, key, option, parts);
  command
    .option('--sym', 'symmetric: no zero points')
    .option('--asym', 'asymmetric: a zero point with each scale (default)')
    .option('--keep <pattern...>', 'linears to leave as they are; * matches any characters')
    .option(
      '--rule <rule...>',
      "settings of some linears: 'PATTERN=bits:3,group:64' or 'PATTERN=keep'; the first rule that matches wins",
    )
    .option('--adapter <folder>', 'merge this adapter of PEFT into the weights first');
  const names = layouts.map(({ name }) => name);
  addFlag(command, 'layout', { ...layout, type: 'choice', names: () => names }, parts);
  // The first name of this option.
  command.addOption(new Flag('--format <name>', 'layout').hideHelp());
  for (const { name, options } of layouts)
    for (const [key, option] of Object.entries(options as OptionRecord)) {
      addFlag(command, layoutKey(key), option, parts, { note: `; layout ${name}${defaultNote(option)}` });
      addFlag(command, `format${layoutKey(key).slice('layout'.length)}`, option, parts, { hidden: true });
    }
  for (const [key, option] of Object.entries(top)) addFlag(command, otherFlags[key] ?? key, option, parts);
  addOptionsOf(
    command,
    methods.map((method) => ({ name: method.name, options: methodOptions(method, vocabulary) })),
    parts,
    Object.keys(topOptions),
  );
}

/**
 * The recipe from flags or the recipe file. Flags override the file's settings, and their rules come first.
 * @throws QuantError naming the flag or the key
 */
export async function recipeFrom(flags: FlagValues, vocabulary: Vocabulary): Promise<RequestedRecipe> {
  const { recipe: path } = flags as { recipe?: string };
  return recipeOf({ flags, ...(path === undefined ? {} : { file: await readRecipeFile(path) }) }, vocabulary);
}

/** A request for a recipe: flags, and the content of the file that `--recipe` names. */
export interface RecipeRequest {
  readonly flags: FlagValues;
  readonly file?: unknown;
}

/** The request with only the parts that make the recipe, as JSON: for another process. */
export async function recipeRequest(flags: FlagValues, vocabulary: Vocabulary): Promise<RecipeRequest> {
  const names = recipeFlagNames(vocabulary).filter((name) => name !== 'adapter');
  const own = Object.fromEntries(names.flatMap((name) => (flags[name] === undefined ? [] : [[name, flags[name]]])));
  const { recipe: path } = flags as { recipe?: string };
  return { flags: own, ...(path === undefined ? {} : { file: await readRecipeFile(path) }) };
}

/**
 * The recipe of a request.
 * @throws QuantError naming the flag or the key
 */
export async function recipeOf({ flags, file }: RecipeRequest, vocabulary: Vocabulary): Promise<RequestedRecipe> {
  const { recipe: path, adapter } = flags as { recipe?: string; adapter?: string };
  const sources = [fromFlags(flags, vocabulary)];
  if (path !== undefined) {
    const shown = (place: string) => (place === '' ? path : `${path}: ${place}`);
    sources.push(readRecipe(file, vocabulary, shown));
  }
  const firstSteps = adapter === undefined ? [] : [mergedAdapter(await readAdapter(adapter), adapter)];
  return makeRecipe(combineSettings(sources), vocabulary, { memory: totalmem(), firstSteps });
}

/** Keys of the flags that {@link addRecipeFlags} adds. */
export const recipeFlagNames = (vocabulary: Vocabulary): readonly string[] => [
  ...['sym', 'asym', 'keep', 'rule', 'recipe', 'adapter'],
  ...recipeKeys(vocabulary).flatMap(flagNames),
];

/** Keys of a recipe that flags can set. */
function recipeKeys(vocabulary: Vocabulary): readonly string[] {
  const layoutKeys = vocabulary.layouts.flatMap(({ options }) => Object.keys(options as OptionRecord).map(layoutKey));
  return [
    'method',
    ...Object.keys(schemeOptions),
    ...Object.keys(topOptions),
    ...layoutKeys,
    ...vocabulary.methods.flatMap((method) => Object.keys(methodOptions(method, vocabulary))),
  ].filter((key) => key !== 'use' && key !== 'symmetric');
}

/** Names that a key has as a flag. */
const flagNames = (key: string) => [
  otherFlags[key] ?? key,
  ...(key.startsWith('layout') ? [key.replace('layout', 'format')] : []),
];

function fromFlags(flags: FlagValues, vocabulary: Vocabulary): RequestedSettings {
  const {
    sym,
    asym,
    keep = [],
    rule = [],
  } = flags as {
    sym?: boolean;
    asym?: boolean;
    keep?: readonly string[];
    rule?: readonly string[];
  };
  if (sym && asym) throw new UsageError('--sym and --asym exclude each other: choose one');
  const typed = new Map<string, string>([['symmetric', sym ? '--sym' : '--asym']]);
  const values: Record<string, unknown> = {};
  if (sym || asym) values.symmetric = Boolean(sym);
  for (const key of recipeKeys(vocabulary)) {
    const name = flagNames(key).find((each) => flags[each] !== undefined);
    if (name === undefined) continue;
    values[key] = flags[name];
    typed.set(key, flagOf(name));
  }
  const { settings } = readRecipe(values, vocabulary, (place) => typed.get(place) ?? flagOf(place));
  return {
    settings,
    rules: [
      ...keep.map((match) => ({ match, keep: true, settings: new Map() })),
      ...rule.map((text) =>
        readRule(parseRule(text), vocabulary, (place) => `--rule ${text}${place === '' ? '' : `: ${place}`}`),
      ),
    ],
  };
}

/**
 * The content of a recipe file, or of the recipe with this name.
 * @throws UsageError when the file cannot be read, or is neither JSON nor YAML
 */
export async function readRecipeFile(path: string): Promise<unknown> {
  const named = namedRecipes.get(path);
  if (named !== undefined) return named;
  const text = await readFile(path, 'utf8').catch((error) => {
    throw new UsageError(
      `${path}: the recipe cannot be read (${error.code ?? error.message}); recipes with a name are ${[...namedRecipes.keys()].join(', ')}`,
    );
  });
  // The YAML reader takes longer to load than a plan takes.
  const { parseRecipeText } = await import('./recipe-text.js');
  return parseRecipeText(text, path);
}
