import type { QuantizedLayout } from '@q/checkpoint';
import type {
  ActivationScheme,
  LinearDescription,
  LinearRole,
  ModelStep,
  Quantizer,
  Rewrite,
  Scheme,
  Transform,
  Tuner,
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

/** Whether a rule applies to a linear. */
export const matches = (rule: Rule, linear: LinearDescription): boolean => ruleTest(rule)(linear);

/** The same for many linears; the pattern is parsed once. */
export function ruleTest({ match, only, except = [] }: Rule): (linear: LinearDescription) => boolean {
  const fits = match instanceof RegExp ? (module: string) => match.test(module) : wildcard(match);
  return (linear) => {
    const { module, roles = [] } = linear;
    if (roles.some((role) => except.includes(role))) return false;
    if (only ? !roles.some((role) => only.includes(role)) : isTable(linear)) return false;
    return fits(module);
  };
}

/** The rule in words, for the plan. */
export function describeRule(rule: Rule, index: number): string {
  return rule.name ?? `rule ${index + 1} (${rule.match instanceof RegExp ? rule.match : JSON.stringify(rule.match)})`;
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
    rules: rules.map(({ match, only, except, keep, quantizer, scheme, activation }) => ({
      match: match instanceof RegExp ? `${match}` : match,
      ...(only ? { only } : {}),
      ...(except ? { except } : {}),
      ...(keep ? { keep } : {}),
      ...(quantizer ? { method: quantizer.name, options: quantizer.options } : {}),
      ...(scheme ? { scheme: JSON.parse(JSON.stringify(scheme)) } : {}),
      ...(activation ? { activation: JSON.parse(JSON.stringify(activation)) } : {}),
    })),
  };
}
