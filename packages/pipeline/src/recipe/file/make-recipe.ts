import type { QuantizedLayout } from '@q/checkpoint';
import {
  type ActivationScheme,
  type Method,
  type ModelStep,
  type OptionRecord,
  parseScheme,
  perChannel,
  perGroup,
  type Quantizer,
  type Scheme,
  SchemeError,
  scheme,
  signedIntegers,
  type Tuner,
  unknownOption,
  unsignedIntegers,
} from '@q/core';
import type { Budget } from '../../plan/budget.js';
import type { Recipe, Rule } from '../recipe.js';
import { inputsOf } from './inputs-of.js';
import { baseOf, baseOptions, methodOptions } from './method-options.js';
import { parseBudget, parseSize } from './parse-budget.js';
import { notAllowed, type RequestedSettings, type Setting, type Settings } from './read-recipe.js';
import { layoutKey, layoutOptions, methodOption, schemeOptions, topOptions } from './recipe-options.js';
import { byBudget, tableRules } from './table-rules.js';
import { namedParts, type Vocabulary } from './vocabulary.js';

/** A recipe as requested by a user. With a budget, its rules have candidates from which the budget has to choose. */
export interface RequestedRecipe {
  readonly recipe: Recipe;
  /**
   * Makes the recipe for a size in bytes that `recipe` cannot reach: tables and head take part, in a layout that holds
   * them. Absent if `recipe` settles what becomes of these.
   */
  readonly withTables?: () => Recipe;
  readonly budget?: Budget;
  /** True if the model writes its own calibration text when none is given. */
  readonly writesText: boolean;
}

export interface RecipeSurroundings {
  /** Bytes that a training may take when the recipe has no limit. */
  readonly memory: number;
  /** Steps before all others: for instance an adapter that is merged into the weights. */
  readonly firstSteps?: readonly ModelStep[];
}

/** Settings that exclude `weights`; `weights` replaces them. */
const gridKeys = ['bits', 'group', 'symmetric'] as const;
const allBits = [2, 3, 4, 5, 6, 7, 8];

/** Merges the settings of several sources. An earlier source overrides later ones, and its rules come first. */
export function combineSettings(sources: readonly RequestedSettings[]): RequestedSettings {
  return {
    settings: sources.reduceRight<Settings>((below, { settings }) => overlay(below, settings), new Map()),
    rules: sources.flatMap(({ rules }) => rules),
  };
}

/**
 * The settings of `own` over those of `below`. A scheme by its name replaces bits, group and symmetry, and they replace
 * it.
 */
function overlay(below: Settings, own: Settings): Settings {
  const merged = new Map(below);
  if (own.has('weights')) for (const key of gridKeys) merged.delete(key);
  if (gridKeys.some((key) => own.has(key))) merged.delete('weights');
  for (const [key, setting] of own) merged.set(key, setting);
  return merged;
}

/**
 * Makes the objects of a recipe.
 * @throws SchemeError naming the setting and the reason: an unknown method, an option that the chosen method does not
 *   have, two settings that exclude each other
 */
export function makeRecipe(
  { settings, rules: requested }: RequestedSettings,
  vocabulary: Vocabulary,
  surroundings: RecipeSurroundings,
): RequestedRecipe {
  const making = {
    ...{ vocabulary, surroundings },
    layoutName: settings.get('layout')?.value as string | undefined,
  };
  checkKnown(settings, requested, vocabulary);
  const budget = budgetOf(settings);
  const { writesText } = applyMethod(settings, making);
  const assembled = (own: Settings) => assemble(own, requested, making, budget);
  if (!budget || !('bytes' in budget))
    return { recipe: assembled(settings), writesText, ...(budget ? { budget } : {}) };
  // A size counts the tables, so they take part in it where the layout can hold them.
  const open = (['embeddings', 'head'] as const).filter((key) => !settings.has(key));
  const included = new Map([
    ...settings,
    ...open.map((key) => [key, { value: byBudget, shown: key }] as const),
  ]) as Settings;
  if (open.length > 0 && making.layoutName !== undefined) {
    const holds = layoutOf(making.layoutName, settings, vocabulary).tables;
    return { recipe: assembled(holds ? included : settings), writesText, budget };
  }
  const withTables = open.length > 0 ? { withTables: () => assembled(included) } : {};
  return { recipe: assembled(settings), ...withTables, writesText, budget };
}

/** Makes the recipe of settings. */
function assemble(
  settings: Settings,
  requested: RequestedSettings['rules'],
  making: Making,
  budget: Budget | undefined,
): Recipe {
  const { vocabulary, surroundings } = making;
  const value = <T>(key: string): T | undefined => settings.get(key)?.value as T | undefined;
  const candidates = candidatesOf(settings);
  const main = applyMethod(settings, making);
  /** A rule without its own bits takes part in the budget. */
  const choice = (own: Settings, methodOf: (from: Settings) => RuleMethod) => {
    const from = overlay(settings, own);
    return budget && !own.has('bits') && !own.has('weights')
      ? withCandidates(from, candidates, methodOf, vocabulary)
      : methodOf(from);
  };
  const blocks = choice(new Map(), (from) => applied(applyMethod(from, making)));
  const calibrated = headQuantizer(settings, making);
  const tables = tableRules(settings, {
    vocabulary,
    ...(calibrated ? { calibrated } : {}),
    // Bits per weight count what is quantized, so nothing may be kept to reach them.
    ...(budget && 'candidates' in blocks
      ? { budget: { candidates: blocks.candidates ?? [], keepable: 'bytes' in budget } }
      : {}),
  });
  const rules: Rule[] = [
    ...requested.map(({ keep, settings: own, ...where }) =>
      keep
        ? { ...where, keep }
        : { ...where, ...choice(own, (from) => ruleMethod(where.match, from, own, settings, making)) },
    ),
    ...tables,
    { name: 'linears of the blocks', match: '*', except: ['head'], ...blocks },
  ];
  // Rewrites come first: a rotation folds the gains of norms, which would remove the scales that a transform puts
  // there. An adapter comes before them, because it belongs to the weights with which it was trained.
  const parts = namedParts(vocabulary);
  const steps = [
    ...(surroundings.firstSteps ?? []),
    ...(value<boolean>('rotate') ? (topOptions.transforms.resolve(['rotate'], parts) ?? []) : []),
    ...(topOptions.transforms.resolve(value('transforms'), parts) ?? []),
    ...main.steps,
  ];
  const maxShardBytes = value<number>('maxShardBytes');
  const expertTokens = value<number>('expertTokens');
  const windowShards = value<number>('windowShards') ?? 1;
  const kvCacheSetting = settings.get('kvCache');
  const kvCache = topOptions.kvCache.resolve(kvCacheSetting?.value, parts);
  const forTables = settings.get('embeddings')?.value === byBudget;
  const wanted = layoutFor(main, namedSchemesOf(settings, rules), vocabulary, forTables);
  const layout = layoutOf(wanted, settings, vocabulary);
  if (kvCacheSetting && !layout.cacheScales) throw new SchemeError(noCacheScales(kvCacheSetting, layout, vocabulary));
  return {
    layout,
    ...(steps.length > 0 ? { transforms: steps } : {}),
    rules,
    ...(main.tuner ? { tuner: main.tuner } : {}),
    ...(kvCache ? { kvCache } : {}),
    seed: value<number>('seed') ?? 0,
    ...(value<boolean>('requantize') ? { requantize: true } : {}),
    ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
    ...(expertTokens === undefined ? {} : { expertTokens }),
    // One shard is the usual run, so it is the same recipe as without the setting.
    ...(windowShards === 1 ? {} : { windowShards }),
    ...(vocabulary.uses.length > 0 ? { uses: vocabulary.uses } : {}),
  };
}

function noCacheScales({ shown, value }: Setting, layout: QuantizedLayout, vocabulary: Vocabulary): string {
  const names = vocabulary.layouts.flatMap(({ name, make }) => (make({}, vocabulary).cacheScales ? [name] : []));
  const instead = names.length > 0 ? `use --layout ${names.join(' or ')}` : 'leave the option out';
  return `${shown} ${value}: the ${layout.name} layout stores no scales of a cache: ${instead}`;
}

/** A layout's default settings; none without a layout. The layout's name is checked elsewhere. */
const defaultsOf = (settings: Settings, { layouts }: Vocabulary) =>
  layouts.find(({ name }) => name === settings.get('layout')?.value)?.defaults;

const methodNameOf = (settings: Settings, vocabulary: Vocabulary): string =>
  (settings.get('method')?.value as string | undefined) ??
  defaultsOf(settings, vocabulary)?.method ??
  (methodOption(vocabulary).default as string);

function findMethod(settings: Settings, vocabulary: Vocabulary): Method {
  const name = methodNameOf(settings, vocabulary);
  const found = vocabulary.methods.find((method) => method.name === name);
  if (found) return found;
  const shown = settings.get('method')?.shown ?? 'method';
  throw new SchemeError(
    notAllowed(
      shown,
      name,
      '',
      vocabulary.methods.map((method) => method.name),
    ),
  );
}

/** Whether a key is not an option of a method. */
const isCommon = (key: string, vocabulary: Vocabulary): boolean =>
  key === 'method' ||
  Object.hasOwn(schemeOptions, key) ||
  Object.hasOwn(topOptions, key) ||
  Object.hasOwn(layoutOptions(vocabulary), key);

/** @throws SchemeError for an option that neither the recipe's method nor a rule's method has */
function checkKnown(settings: Settings, rules: RequestedSettings['rules'], vocabulary: Vocabulary): void {
  const main = findMethod(settings, vocabulary);
  const methods = [main, ...rules.map((rule) => findMethod(overlay(settings, rule.settings), vocabulary))];
  for (const [key, { shown }] of settings) {
    if (isCommon(key, vocabulary)) continue;
    if (!methods.some((method) => Object.hasOwn(methodOptions(method, vocabulary), key)))
      throw new SchemeError(noOption(shown, key, main, vocabulary));
  }
  for (const rule of rules) {
    const method = findMethod(overlay(settings, rule.settings), vocabulary);
    const known = methodOptions(method, vocabulary);
    for (const [key, { shown }] of rule.settings)
      if (!isCommon(key, vocabulary) && !Object.hasOwn(known, key))
        throw new SchemeError(noOption(shown, key, method, vocabulary));
  }
}

function noOption(shown: string, key: string, method: Method, vocabulary: Vocabulary): string {
  return `${shown}: method ${method.name} ${unknownOption(key, Object.keys(methodOptions(method, vocabulary)))}`;
}

function budgetOf(settings: Settings): Budget | undefined {
  const [budget, bytes] = [settings.get('budget'), settings.get('maxBytes')];
  if (budget && bytes)
    throw new SchemeError(`${budget.shown} ${budget.value} and ${bytes.shown} ${bytes.value} exclude each other`);
  const asked = budget ?? bytes;
  if (asked === undefined) {
    const candidates = settings.get('candidateBits') ?? settings.get('candidates');
    if (candidates?.shown.startsWith('--'))
      throw new SchemeError(`${candidates.shown}: is what a budget chooses from: give --budget or --max-bytes too`);
    return undefined;
  }
  const { shown, value } = asked;
  const fixed = settings.get('weights') ?? settings.get('bits');
  if (fixed?.shown.startsWith('--'))
    throw new SchemeError(
      `${fixed.shown} ${fixed.value} and ${shown} ${value} exclude each other: a budget chooses the bits (fix those of some linears with --rule 'PATTERN=bits:4', or name schemes with --candidates)`,
    );
  return asked === bytes ? parseSize(shown, value as string | number) : parseBudget(shown, value as string | number);
}

/** The candidates of a budget: for each candidate, the settings that make its scheme. */
function candidatesOf(settings: Settings): readonly Settings[] {
  const [schemes, bits] = [settings.get('candidates'), settings.get('candidateBits')];
  if (schemes && bits) throw new SchemeError(`${schemes.shown} and ${bits.shown} exclude each other`);
  const [key, from] = schemes ? ['weights', schemes] : ['bits', bits];
  const all = (from?.value as readonly (string | number)[] | undefined) ?? allBits;
  return all.map((value) => new Map([[key, { value, shown: from?.shown ?? 'candidateBits' }]]));
}

/**
 * The schemes with a name at the top of a recipe: that of the last rule, which matches all remaining linears, or its
 * candidates.
 */
function namedSchemesOf(settings: Settings, rules: readonly Rule[]): readonly Scheme[] {
  const { scheme: own, candidates } = rules.at(-1) as Rule;
  if (settings.has('candidates')) return candidates ?? [];
  return settings.has('weights') && own ? [own] : [];
}

/**
 * Name of the layout for named schemes if no layout is given: the method's own layout, else the first one that can hold
 * all schemes. Each layout is checked with a linear whose sizes are multiples of all groups and words; the plan refuses
 * linears of the model that do not fit.
 * @param forTables the layout has to hold tables of embeddings too
 */
function layoutFor(
  { layout, activation }: AppliedMethod,
  schemes: readonly Scheme[],
  vocabulary: Vocabulary,
  forTables: boolean,
): string {
  const linear = { module: 'linear', inFeatures: 4096, outFeatures: 4096, transposed: false, bias: false };
  const own = vocabulary.layouts.filter(({ name }) => name === layout);
  const holding = [...own, ...vocabulary.layouts].find((each) => {
    const made = each.make({}, vocabulary);
    if (forTables && !made.tables) return false;
    const modules = schemes.map((each) => ({ linear, scheme: each, ...(activation ? { activation } : {}) }));
    const holds = made.leaves?.(linear) === undefined && modules.every((module) => made.refuse(module) === undefined);
    return holds && made.refuseTogether?.(modules) === undefined;
  });
  return holding?.name ?? layout;
}

function layoutOf(byMethod: string, settings: Settings, vocabulary: Vocabulary): QuantizedLayout {
  const setting = settings.get('layout');
  const name = (setting?.value as string | undefined) ?? byMethod;
  const found = vocabulary.layouts.find((layout) => layout.name === name);
  if (!found)
    throw new SchemeError(
      notAllowed(
        setting?.shown ?? 'layout',
        name,
        '',
        vocabulary.layouts.map((layout) => layout.name),
      ),
    );
  const own = found.options as OptionRecord;
  const known = new Set(Object.keys(own).map(layoutKey));
  for (const key of Object.keys(layoutOptions(vocabulary)))
    if (settings.has(key) && !known.has(key))
      throw new SchemeError(`${settings.get(key)?.shown}: the layout ${name} has no such option`);
  const values = Object.fromEntries(
    Object.keys(own).flatMap((key) => {
      const given = settings.get(layoutKey(key));
      return given === undefined ? [] : [[key, given.value]];
    }),
  );
  return found.make(values, vocabulary);
}

interface Making {
  readonly vocabulary: Vocabulary;
  readonly surroundings: RecipeSurroundings;
  readonly layoutName: string | undefined;
}

interface AppliedMethod {
  readonly quantizer: Quantizer;
  readonly scheme: Scheme;
  readonly activation?: ActivationScheme;
  readonly steps: readonly ModelStep[];
  readonly layout: string;
  readonly tuner?: Tuner;
  readonly writesText: boolean;
}

/** The part of an applied method that a rule has. */
const applied = ({ quantizer, scheme, activation }: AppliedMethod) => ({
  quantizer,
  scheme,
  ...(activation ? { activation } : {}),
});

type RuleMethod = ReturnType<typeof applied>;

/** A method, with several candidate schemes instead of one scheme. */
function withCandidates(
  from: Settings,
  candidates: readonly Settings[],
  methodOf: (from: Settings) => RuleMethod,
  vocabulary: Vocabulary,
): Pick<Rule, 'quantizer' | 'candidates' | 'activation'> {
  const { name, schemes } = findMethod(from, vocabulary);
  if (schemes) throw new SchemeError(`--method ${name} has one width: a budget has nothing to choose from`);
  const all = candidates.map((candidate) => methodOf(overlay(from, candidate)));
  const { quantizer, activation } = all[0];
  return { quantizer, candidates: all.map((each) => each.scheme), ...(activation ? { activation } : {}) };
}

/**
 * The method of one rule. A method that changes whole blocks, or trains the model, cannot be used for single linears.
 */
function ruleMethod(match: string, from: Settings, own: Settings, base: Settings, making: Making): RuleMethod {
  const found = applyMethod(from, making);
  const name = own.get('method')?.value;
  if ((found.steps.length > 0 || found.tuner) && name !== undefined && name !== base.get('method')?.value)
    throw new SchemeError(
      `rule ${match}: ${name} ${found.tuner ? 'trains all linears together' : 'changes whole blocks'}: name it as the method of the recipe, not of a rule`,
    );
  return applied(found);
}

/**
 * The values of the options that are set. Options of another method that are inherited from the top of a recipe are
 * left out.
 */
function valuesFor(options: OptionRecord, settings: Settings, { vocabulary, surroundings }: Making) {
  const parts = namedParts(vocabulary);
  const values: Record<string, unknown> = {};
  for (const [key, option] of Object.entries(options)) {
    const setting: Setting | undefined =
      settings.get(key) ?? (key === 'memory' ? { value: surroundings.memory, shown: 'memory' } : undefined);
    if (setting === undefined) continue;
    const value = option.resolve(setting.value, parts);
    if (value === undefined)
      throw new SchemeError(notAllowed(setting.shown, setting.value, option.expected, option.names?.(parts)));
    values[key] = value;
  }
  return values;
}

/** The quantizer of the run's method for the output projection. */
function headQuantizer(settings: Settings, making: Making): Quantizer | undefined {
  const method = findMethod(settings, making.vocabulary);
  return method.head?.(valuesFor(method.options as OptionRecord, settings, making));
}

function applyMethod(settings: Settings, making: Making): AppliedMethod {
  const { vocabulary, layoutName } = making;
  const method = findMethod(settings, vocabulary);
  const values = valuesFor(method.options as OptionRecord, settings, making);
  const quantizer =
    method.quantizer?.(values) ??
    (baseOf(method, vocabulary) as Required<Method>).quantizer({
      ...method.base?.defaults,
      ...valuesFor(baseOptions(method, vocabulary), settings, making),
    });
  const layout = method.layout ?? vocabulary.layouts[0].name;
  const rest = {
    quantizer,
    steps: method.steps?.(values) ?? [],
    layout,
    writesText: method.writesText ?? false,
    ...(method.tuner ? { tuner: method.tuner(values) } : {}),
    ...(method.schemes ? {} : inputsOf(settings, defaultsOf(settings, vocabulary))),
  };
  const [bits = 4, group = 128, symmetric = defaultsOf(settings, vocabulary)?.symmetric ?? false] = gridKeys.map(
    (key) => settings.get(key)?.value,
  ) as [number?, number?, boolean?];
  const weights = settings.get('weights') ?? defaultWeights(settings, vocabulary);
  if (method.schemes) {
    if (
      settings.has('weights') ||
      (settings.get('bits')?.value ?? 8) !== 8 ||
      settings.has('group') ||
      settings.get('symmetric')?.value === false ||
      settings.has('inputs') ||
      settings.has('inputBound')
    )
      throw new SchemeError(
        `--method ${method.name}: has schemes of its own: leave --bits, --group, --asym, --weights and --inputs out`,
      );
    return { ...rest, ...method.schemes(values) };
  }
  if (weights) {
    const set = gridKeys.map((key) => settings.get(key)).find(Boolean);
    if (set)
      throw new SchemeError(
        `${weights.shown} and ${set.shown} exclude each other: a scheme has bits and groups of its own`,
      );
    return { ...rest, scheme: named(weights, vocabulary) };
  }
  if (group === 0) throw new SchemeError('--group 0: a group has at least 1 column; -1 means one scale per channel');
  const declared = vocabulary.layouts.find(({ name }) => name === (layoutName ?? layout));
  return {
    ...rest,
    scheme: scheme({
      format: (symmetric ? signedIntegers : unsignedIntegers)[bits - 2],
      granularity: group === -1 ? perChannel : perGroup(group),
      zeroPoint: symmetric ? 'none' : method.floatZeroPoints && declared?.floatZeroPoints ? 'float' : 'integer',
    }),
  };
}

/** The scheme of the layout's own defaults, unless bits, groups or symmetry are given. */
function defaultWeights(settings: Settings, vocabulary: Vocabulary): Setting | undefined {
  const value = defaultsOf(settings, vocabulary)?.weights;
  return value === undefined || gridKeys.some((key) => settings.has(key))
    ? undefined
    : { value, shown: `layout ${settings.get('layout')?.value}: weights` };
}

function named({ shown, value }: Setting, vocabulary: Vocabulary): Scheme {
  try {
    return parseScheme(value, vocabulary);
  } catch (error) {
    throw new SchemeError(`${shown} ${(error as Error).message}`);
  }
}
