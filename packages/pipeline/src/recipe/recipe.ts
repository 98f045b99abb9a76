import type { QuantizedLayout } from '@q/checkpoint';
import {
  type ActivationScheme,
  type LinearDescription,
  type LinearRole,
  type ModelDescription,
  type ModelStep,
  type Quantizer,
  type Rewrite,
  type Scheme,
  SchemeError,
  type Transform,
  type Tuner,
} from '@q/core';
import { isTable } from '../plan/embedding-tables.js';
import { wildcard } from './wildcard.js';

/** The settings for the linears whose module name matches. The first rule that matches applies. */
export interface Rule {
  /** Name of the rule in the plan. Default: its index and pattern. */
  readonly name?: string;
  /** A regular expression, or a pattern in which `*` stands for any characters. */
  readonly match: string | RegExp;
  /** Linears with one of these roles are left to the following rules. */
  readonly except?: readonly LinearRole[];
  /**
   * The rule applies only to matrices with one of these roles. Tables of embeddings are quantized only by rules that
   * name their role here.
   */
  readonly only?: readonly LinearRole[];
  /** The rule applies only to linears of these blocks: 0 is the first, -1 the last. */
  readonly blocks?: readonly number[];
  /** Keeps the linear unquantized. */
  readonly keep?: boolean;
  readonly quantizer?: Quantizer;
  /** Replaces `quantizer` for the output projection and the table that is tied to it. It reads the head's inputs. */
  readonly head?: Quantizer;
  readonly scheme?: Scheme;
  /**
   * Scheme of the linear's inputs when it runs; absent: only weights are quantized. Static scales come from
   * calibration.
   */
  readonly activation?: ActivationScheme;
  /** Replaces `scheme`: schemes from which a budget chooses, for each unit of the model ({@link fitToBudget}). */
  readonly candidates?: readonly Scheme[];
  /** With candidates: the budget may also keep the weight as it is. */
  readonly keepable?: boolean;
}

/** Everything that decides the bytes of the result, except the model and the calibration data. */
export interface Recipe {
  readonly layout: QuantizedLayout;
  /** Steps that change the weights before they are quantized and keep the function, in this order. */
  readonly transforms?: readonly ModelStep[];
  /** Linears that no rule matches are kept. */
  readonly rules: readonly Rule[];
  /** Trains all quantized linears. The rules' quantizers compute the initial values. */
  readonly tuner?: Tuner;
  /**
   * Static scales of the cache are calibrated and written (`staticCacheSchemes`). The dtype of the scales follows the
   * model.
   */
  readonly kvCache?: Scheme;
  readonly seed: number;
  /** Round weights that a source has rounded already. Without it such a source is refused. */
  readonly requantize?: boolean;
  readonly maxShardBytes?: number;
  /**
   * Calibration tokens that an expert needs. An expert with fewer is rounded to nearest. Default: {@link
   * defaultExpertTokens}.
   */
  readonly expertTokens?: number;
  /**
   * Shards of the calibration windows. Each has statistics of its own, which are added in the order of the shards, so
   * workers can compute them. Default: 1.
   */
  readonly windowShards?: number;
  /** Outside modules from which parts of the recipe come: other code may give other bytes under the same names. */
  readonly uses?: readonly { readonly module: string; readonly identity: string }[];
}

/**
 * Whether a step is a rewrite. A rewrite changes the whole model before anything runs; a transform works block by block
 * on calibration inputs.
 */
export const isRewrite = (step: ModelStep): step is Rewrite => !('edges' in step);

export const rewritesOf = ({ transforms = [] }: Recipe): readonly Rewrite[] => transforms.filter(isRewrite);

export const transformsOf = ({ transforms = [] }: Recipe): readonly Transform[] =>
  transforms.filter((step): step is Transform => !isRewrite(step));

/**
 * Whether a rule applies to linears of a model.
 * @param model undefined for an unknown architecture
 * @throws SchemeError for a rule of blocks that the model does not have
 */
export function ruleTest(rule: Rule, model: ModelDescription | undefined): (linear: LinearDescription) => boolean {
  const { match, only, except = [] } = rule;
  const fits = match instanceof RegExp ? (module: string) => match.test(module) : wildcard(match);
  const inBlocks = rule.blocks && modulesOf(rule.blocks, model);
  return (linear) => {
    const { module, roles = [] } = linear;
    if (roles.some((role) => except.includes(role))) return false;
    if (inBlocks && !inBlocks.has(module)) return false;
    if (only ? !roles.some((role) => only.includes(role)) : isTable(linear)) return false;
    return fits(module);
  };
}

/** Linears of some blocks. */
function modulesOf(wanted: readonly number[], model: ModelDescription | undefined): ReadonlySet<string> {
  if (!model) throw new SchemeError('a rule names blocks, and the architecture of this model is not known');
  const { blocks } = model;
  return new Set(
    wanted.flatMap((index) => {
      const block = blocks.at(index);
      if (!block) throw new SchemeError(`a rule names block ${index}, and the model has ${blocks.length} blocks`);
      return block.linears.map(({ module }) => module);
    }),
  );
}

/** The rule in words, for the plan. */
export function describeRule(rule: Rule, index: number): string {
  if (rule.name !== undefined) return rule.name;
  const parts = [
    ...(rule.only ? [`roles ${rule.only.join(', ')}`] : []),
    ...(rule.blocks ? [`blocks ${rule.blocks.join(', ')}`] : []),
  ];
  // Roles and blocks alone have the pattern of all names.
  if (rule.match !== '*' || parts.length === 0)
    parts.unshift(rule.match instanceof RegExp ? `${rule.match}` : JSON.stringify(rule.match));
  return `rule ${index + 1} (${parts.join(', ')})`;
}

/** The recipe as plain JSON: it is the recipe's identity, and a part of the report. */
export function recipeJSON(recipe: Recipe): Record<string, unknown> {
  const {
    layout,
    transforms = [],
    rules,
    tuner,
    kvCache,
    seed,
    requantize,
    maxShardBytes,
    expertTokens,
    windowShards,
    uses,
  } = recipe;
  return {
    layout: layout.name,
    seed,
    ...(requantize ? { requantize } : {}),
    ...(maxShardBytes === undefined ? {} : { maxShardBytes }),
    ...(expertTokens === undefined ? {} : { expertTokens }),
    ...(windowShards === undefined ? {} : { windowShards }),
    ...(uses === undefined ? {} : { uses }),
    ...(transforms.length > 0 ? { transforms: transforms.map(({ name, options }) => ({ name, options })) } : {}),
    ...(kvCache ? { kvCache: JSON.parse(JSON.stringify(kvCache)) } : {}),
    ...(tuner ? { tuner: { method: tuner.name, options: tuner.options } } : {}),
    rules: rules.map(({ match, only, except, blocks, keep, quantizer, scheme, activation }) => ({
      match: match instanceof RegExp ? `${match}` : match,
      ...(only ? { only } : {}),
      ...(except ? { except } : {}),
      ...(blocks ? { blocks } : {}),
      ...(keep ? { keep } : {}),
      ...(quantizer ? { method: quantizer.name, options: quantizer.options } : {}),
      ...(scheme ? { scheme: JSON.parse(JSON.stringify(scheme)) } : {}),
      ...(activation ? { activation: JSON.parse(JSON.stringify(activation)) } : {}),
    })),
  };
}
