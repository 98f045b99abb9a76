import { readFile } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { readAdapter } from '@q/checkpoint';
import {
  type ActivationScheme,
  type LinearFormat,
  type ModelStep,
  perChannel,
  perGroup,
  type Quantizer,
  type Scheme,
  scheme,
  signedIntegers,
  type Tuner,
  unsignedIntegers,
} from '@q/core';
import type { Budget, Recipe, Rule } from '@q/pipeline';
import { mergedAdapter } from '@q/qat';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import { parseBudget, parseCandidateBits } from './budget-option.js';
import { closest } from './closest.js';
import {
  fits,
  floatZeroPointLayouts,
  layouts,
  levels,
  type MethodOptions,
  methods,
  rewrites,
  transforms,
} from './registry.js';
import { parseRule } from './rule-option.js';
import { UsageError } from './usage-error.js';
import { wholeNumber } from './whole-number.js';

/** Options of the command line that make a recipe. */
export interface RecipeOptions {
  readonly recipe?: string;
  readonly method?: string;
  readonly bits?: string;
  readonly group?: string;
  readonly sym?: boolean;
  readonly asym?: boolean;
  readonly actOrder?: boolean;
  readonly staticGroups?: boolean;
  readonly damping?: string;
  readonly fit?: string;
  readonly importance?: string;
  readonly retarget?: string;
  readonly residual?: boolean;
  readonly refineRounds?: string;
  readonly objective?: string;
  readonly clip?: boolean;
  readonly alpha?: string;
  readonly level?: string;
  readonly threshold?: string;
  readonly loss?: string;
  readonly epochs?: string;
  readonly steps?: string;
  readonly batch?: string;
  readonly rate?: string;
  readonly heldOut?: string;
  readonly checkpointing?: boolean;
  readonly memory?: string;
  readonly inputBits?: string;
  readonly cacheBits?: string;
  readonly format?: string;
  readonly formatVersion?: string;
  readonly seed?: string;
  readonly maxShard?: string;
  readonly rotate?: boolean;
  readonly adapter?: string;
  readonly keep?: readonly string[];
  readonly rule?: readonly string[];
  readonly budget?: string;
  readonly candidateBits?: string;
  readonly expertTokens?: string;
}

const methodNames = Object.keys(methods) as [string, ...string[]];
const layoutNames = Object.keys(layouts) as [string, ...string[]];
const transformNames = Object.keys(transforms) as [string, ...string[]];
const importances = ['none', 'diagonal', 'conditional', 'reference'] as const;
const objectives = ['module', 'layer'] as const;
const losses = ['teacher', 'labels'] as const;
const fitNames = Object.keys(fits) as [string, ...string[]];
const levelNames = Object.keys(levels) as [string, ...string[]];

const settings = {
  method: z.enum(methodNames),
  bits: z.int().min(2).max(8),
  group: z.int().min(-1),
  symmetric: z.boolean(),
  actOrder: z.boolean(),
  staticGroups: z.boolean(),
  damping: z.number().positive().lt(1),
  fit: z.enum(fitNames),
  importance: z.enum(importances),
  retarget: z.number().min(0).max(1),
  residual: z.boolean(),
  refineRounds: z.int().min(0).max(100),
  objective: z.enum(objectives),
  clip: z.boolean(),
  alpha: z.union([z.number().min(0).max(1), z.literal('search')]),
  level: z.enum(levelNames),
  threshold: z.number().min(0),
  loss: z.enum(losses),
  epochs: z.int().min(1),
  steps: z.int().min(1),
  batch: z.int().min(1),
  rate: z.number().positive().lt(1),
  heldOut: z.int().min(0),
  checkpointing: z.boolean(),
  memory: z.number().positive(),
  inputBits: z.union([z.int().min(2).max(8), z.literal(16)]),
  cacheBits: z.union([z.int().min(2).max(8), z.literal(16)]),
};

const ruleFile = z.strictObject({
  match: z.string().min(1),
  keep: z.boolean().optional(),
  ...z.object(settings).partial().shape,
});

/** A recipe file: settings for all linears, and rules that go before them. */
const recipeFile = z.strictObject({
  ...z.object(settings).partial().shape,
  layout: z.enum(layoutNames).optional(),
  layoutVersion: z.union([z.literal(1), z.literal(2), z.literal('auto')]).optional(),
  seed: z.int().optional(),
  rotate: z.boolean().optional(),
  transforms: z.array(z.enum(transformNames)).optional(),
  maxShardBytes: z.number().positive().optional(),
  expertTokens: z.int().min(0).optional(),
  rules: z.array(ruleFile).optional(),
  budget: z.union([z.number(), z.string()]).optional(),
  candidateBits: z.array(z.int().min(2).max(8)).min(1).optional(),
});

type RecipeFile = z.infer<typeof recipeFile>;
type Settings = Partial<Pick<RecipeFile, keyof typeof settings>>;

const defaults = { method: 'gptq', bits: 4, group: 128, candidateBits: [2, 3, 4, 5, 6, 7, 8] } as const;

/** A recipe as it was asked for: with a budget, its rules have candidates that are still to be chosen from. */
export interface RequestedRecipe {
  readonly recipe: Recipe;
  readonly budget?: Budget;
  /** The model writes its own calibration text when none is given. */
  readonly writesText: boolean;
}

/**
 * The recipe that the options or the recipe file ask for. Options win over the file's settings, and go before its rules.
 */
export async function recipeFrom(options: RecipeOptions): Promise<RequestedRecipe> {
  const file = options.recipe === undefined ? {} : await readRecipeFile(options.recipe);
  const given = fromOptions(options);
  const base = { ...file, ...given };
  const layoutName = options.format ?? file.layout;
  const expertTokens = wholeNumber('--expert-tokens', options.expertTokens, 0) ?? file.expertTokens;
  const budget = budgetFrom(options, file);
  const candidateBits =
    options.candidateBits === undefined
      ? (file.candidateBits ?? defaults.candidateBits)
      : parseCandidateBits('--candidate-bits', options.candidateBits);
  /** A rule without bits of its own takes part in the budget. */
  const choice = (own: Settings, methodOf: (from: Settings) => RuleMethod) => {
    const from = { ...base, ...own };
    return budget && own.bits === undefined ? withCandidates(from, candidateBits, methodOf) : methodOf(from);
  };
  const main = method(base, layoutName);
  const rules: Rule[] = [
    ...(options.keep ?? []).map((match) => ({ match, keep: true })),
    ...[...(options.rule ?? []).map(ruleOption), ...(file.rules ?? [])].map(({ match, keep, ...own }) =>
      keep ? { match, keep } : { match, ...choice(own, (from) => ruleMethod(match, from, base, layoutName)) },
    ),
    {
      name: 'linears of the blocks',
      match: '*',
      except: ['head'],
      ...choice({}, (from) => applied(method(from, layoutName))),
    },
  ];
  const layout = choose('--format', layoutName ?? main.layout, layouts);
  // Rewrites first: a rotation folds the gains of norms, and would take back what a transform put there.
  // An adapter before them: it belongs to the weights as they were when it was trained.
  const steps = [
    ...(options.adapter === undefined ? [] : [mergedAdapter(await readAdapter(options.adapter), options.adapter)]),
    ...((options.rotate ?? file.rotate) ? [rewrites.rotate()] : []),
    ...(file.transforms ?? []).map((name) => transforms[name]()),
    ...main.steps,
  ];
  const recipe = {
    layout: layout({ version: version(options.formatVersion) ?? file.layoutVersion }),
    ...(steps.length > 0 ? { transforms: steps } : {}),
    rules,
    ...(main.tuner ? { tuner: main.tuner } : {}),
    seed: given.seed ?? file.seed ?? 0,
    ...((given.maxShardBytes ?? file.maxShardBytes)
      ? { maxShardBytes: given.maxShardBytes ?? file.maxShardBytes }
      : {}),
    ...(expertTokens === undefined ? {} : { expertTokens }),
  };
  return { recipe, writesText: main.writesText, ...(budget ? { budget } : {}) };
}

/** One `--rule`, checked like a rule of a recipe file. */
function ruleOption(text: string): z.infer<typeof ruleFile> {
  const result = ruleFile.safeParse(parseRule(text));
  if (result.success) return result.data;
  throw new UsageError(`--rule ${text}: ${explain(result.error.issues[0], true)}`);
}

function budgetFrom(options: RecipeOptions, file: RecipeFile): Budget | undefined {
  const [name, value] = options.budget === undefined ? ['budget', file.budget] : ['--budget', options.budget];
  if (value === undefined) {
    if (options.candidateBits !== undefined)
      throw new UsageError('--candidate-bits: is what a budget chooses from: give --budget too');
    return undefined;
  }
  if (options.bits !== undefined)
    throw new UsageError(
      `--bits ${options.bits} and ${name} ${value} exclude each other: a budget chooses the bits (fix those of some linears with --rule 'PATTERN=bits:${options.bits}')`,
    );
  return parseBudget(name, value);
}

/** A method, and the schemes of several widths in place of one. */
function withCandidates(
  from: Settings,
  bits: readonly number[],
  methodOf: (from: Settings) => RuleMethod,
): Pick<Rule, 'quantizer' | 'candidates'> {
  const name = from.method ?? defaults.method;
  if (choose('--method', name, methods).schemes)
    throw new UsageError(`--method ${name} has one width: a budget has nothing to choose from`);
  const all = bits.map((width) => methodOf({ ...from, bits: width }));
  return { quantizer: all[0].quantizer, candidates: all.map(({ scheme }) => scheme) };
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

/** What goes into a rule. */
const applied = ({ quantizer, scheme, activation }: AppliedMethod) => ({
  quantizer,
  scheme,
  ...(activation ? { activation } : {}),
});

type RuleMethod = ReturnType<typeof applied>;

/** The method of one rule: what changes whole blocks, or trains the model, cannot be asked for by a part of their linears. */
function ruleMethod(match: string, own: Settings, base: Settings, layoutName: string | undefined) {
  const found = method(own, layoutName);
  if ((found.steps.length > 0 || found.tuner) && own.method !== base.method)
    throw new UsageError(
      `rule ${match}: ${own.method} ${found.tuner ? 'trains all linears together' : 'changes whole blocks'}: name it as the method of the recipe, not of a rule`,
    );
  return applied(found);
}

function method(from: Settings, layoutName: string | undefined): AppliedMethod {
  const name = from.method ?? defaults.method;
  const found = choose('--method', name, methods);
  const { make, steps, tuner, schemes, floatZeroPoints, layout = 'gptq', options: known, writesText = false } = found;
  const bits = from.bits ?? defaults.bits;
  const group = from.group ?? defaults.group;
  if (group === 0) throw new UsageError('--group 0: a group has at least 1 column; -1 means one scale per channel');
  const symmetric = from.symmetric ?? false;
  const format: LinearFormat = (symmetric ? signedIntegers : unsignedIntegers)[bits - 2];
  const all: MethodOptions = {
    actOrder: from.actOrder,
    staticGroups: from.staticGroups,
    damping: from.damping,
    fit: from.fit === undefined ? undefined : fits[from.fit](),
    importance: from.importance,
    retarget: from.retarget,
    residual: from.residual,
    refineRounds: from.refineRounds,
    objective: from.objective,
    clip: from.clip,
    alpha: from.alpha,
    level: from.level === undefined ? undefined : levels[from.level],
    threshold: from.threshold,
    loss: from.loss,
    epochs: from.epochs,
    steps: from.steps,
    batch: from.batch,
    rate: from.rate,
    heldOut: from.heldOut,
    checkpointing: from.checkpointing,
    memory: from.memory ?? totalmem(),
    inputBits: from.inputBits,
    cacheBits: from.cacheBits,
  };
  const taken: MethodOptions = Object.fromEntries(
    Object.entries(all).filter(([key, value]) => value !== undefined && known.includes(key as keyof MethodOptions)),
  );
  if (schemes) {
    if ((from.bits ?? 8) !== 8 || from.group !== undefined || from.symmetric === false)
      throw new UsageError(
        `--method ${name}: is symmetric int8 with scales of its own: leave --bits, --group and --asym out`,
      );
    return { quantizer: make(taken), ...schemes(taken), steps: steps?.(taken) ?? [], layout, writesText };
  }
  const asymmetric = floatZeroPoints && floatZeroPointLayouts.includes(layoutName ?? layout) ? 'float' : 'integer';
  return {
    quantizer: make(taken),
    steps: steps?.(taken) ?? [],
    layout,
    writesText,
    ...(tuner ? { tuner: tuner(taken) } : {}),
    scheme: scheme({
      format,
      granularity: group === -1 ? perChannel : perGroup(group),
      zeroPoint: symmetric ? 'none' : asymmetric,
    }),
  };
}

function fromOptions(options: RecipeOptions): Settings & { seed?: number; maxShardBytes?: number } {
  if (options.sym && options.asym) throw new UsageError('--sym and --asym exclude each other: choose one');
  const values = {
    method: options.method,
    bits: wholeNumber('--bits', options.bits, 2, 8),
    group: wholeNumber('--group', options.group, -1),
    symmetric: options.sym ? true : options.asym ? false : undefined,
    actOrder: options.actOrder,
    staticGroups: options.staticGroups,
    damping: decimal('--damping', options.damping),
    fit: options.fit,
    importance: oneOf('--importance', options.importance, importances),
    retarget: options.retarget === '0' ? 0 : options.retarget === '1' ? 1 : decimal('--retarget', options.retarget),
    residual: options.residual,
    refineRounds: wholeNumber('--refine-rounds', options.refineRounds, 0, 100),
    objective: oneOf('--objective', options.objective, objectives),
    clip: options.clip,
    alpha: options.alpha === 'search' ? ('search' as const) : number('--alpha', options.alpha, 0, 1),
    level: oneOf('--level', options.level, levelNames),
    threshold: number('--threshold', options.threshold, 0, Number.MAX_VALUE),
    loss: oneOf('--loss', options.loss, losses),
    epochs: wholeNumber('--epochs', options.epochs, 1),
    steps: wholeNumber('--steps', options.steps, 1),
    batch: wholeNumber('--batch', options.batch, 1),
    rate: decimal('--rate', options.rate),
    heldOut: wholeNumber('--held-out', options.heldOut, 0),
    checkpointing: options.checkpointing,
    memory: wholeNumber('--memory', options.memory, 1),
    inputBits: bitsOrNone('--input-bits', options.inputBits),
    cacheBits: bitsOrNone('--cache-bits', options.cacheBits),
    seed: wholeNumber('--seed', options.seed, Number.MIN_SAFE_INTEGER),
    maxShardBytes: wholeNumber('--max-shard', options.maxShard, 1),
  };
  if (values.fit !== undefined) choose('--fit', values.fit, fits);
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
}

function version(text: string | undefined): 1 | 2 | 'auto' | undefined {
  if (text === undefined || text === 'auto') return text;
  if (text === '1' || text === '2') return text === '1' ? 1 : 2;
  throw new UsageError(`--format-version ${text}: 1, 2 or auto was expected`);
}

/** Integers of 2 to 8 bits, or 16: unquantized. */
function bitsOrNone(option: string, text: string | undefined): number | undefined {
  return text === '16' ? 16 : wholeNumber(option, text, 2, 8);
}

/** An entry of a registry by name. */
export function choose<V>(option: string, name: string, registry: Readonly<Record<string, V>>): V {
  if (Object.hasOwn(registry, name)) return registry[name];
  const slip = closest(name, Object.keys(registry));
  throw new UsageError(
    `${option} ${name}: is not known${slip ? `; did you mean ${slip}?` : ''} (${Object.keys(registry).join(', ')})`,
  );
}

function oneOf<N extends string>(option: string, text: string | undefined, names: readonly N[]): N | undefined {
  if (text === undefined) return undefined;
  return choose(option, text, Object.fromEntries(names.map((name) => [name, name])) as Record<string, N>);
}

/** @throws UsageError when the text is not a number between 0 and 1 */
export function decimal(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !(value > 0 && value < 1))
    throw new UsageError(`${option} ${text}: a number between 0 and 1 was expected`);
  return value;
}

/** @throws UsageError when the text is not a number in range */
export function number(option: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !(value >= min && value <= max)) {
    const range = max < Number.MAX_VALUE ? `from ${min} to ${max}` : `of at least ${min}`;
    throw new UsageError(`${option} ${text}: a number ${range} was expected`);
  }
  return value;
}

async function readRecipeFile(path: string): Promise<RecipeFile> {
  const text = await readFile(path, 'utf8').catch((error) => {
    throw new UsageError(`${path}: the recipe cannot be read (${error.code ?? error.message})`);
  });
  let value: unknown;
  try {
    value = path.endsWith('.json') ? JSON.parse(text) : parseYaml(text);
  } catch (error) {
    throw new UsageError(
      `${path}: is not valid ${path.endsWith('.json') ? 'JSON' : 'YAML'}: ${(error as Error).message.split('\n')[0]}`,
    );
  }
  const result = recipeFile.safeParse(value);
  if (result.success) return result.data;
  throw new UsageError(`${path}: ${explain(result.error.issues[0])}`);
}

/** A validation issue in words, with the nearest allowed key for a misspelt one. */
function explain(issue: z.core.$ZodIssue, inRule = issue.path[0] === 'rules'): string {
  const where = issue.path.length > 0 ? `${issue.path.join('.')}: ` : '';
  if (issue.code !== 'unrecognized_keys') return `${where}${issue.message}`;
  const allowed = Object.keys((inRule ? ruleFile : recipeFile).shape);
  const slip = closest(issue.keys[0], allowed);
  return `${where}unknown key ${JSON.stringify(issue.keys[0])}${slip ? `; did you mean ${slip}?` : ''} Allowed are ${allowed.join(', ')}`;
}
