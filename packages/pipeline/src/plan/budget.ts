import type { Checkpoint } from '@q/checkpoint';
import {
  describeScheme,
  elementCount,
  type LinearDescription,
  type ModelDescription,
  type Quantizer,
  referenceKernels,
  SchemeError,
} from '@q/core';
import { chooseWithinBudget, type SensitivityUnit } from '@q/mixed-precision';
import { byteLength } from '@q/safetensors';
import { describeRule, type Recipe, type Rule, ruleTest } from '../recipe/recipe.js';
import { embeddingTables, isHead } from './embedding-tables.js';
import { findLinears } from './find-linears.js';
import { type ModelSource, rewriteModel } from './model-source.js';
import { planRun } from './plan.js';
import { refuseModule } from './refuse-module.js';

/** The largest allowed size of the result. */
export type Budget =
  /** Bits per weight over all quantized linears, scales and zero points included. A plan prints this number. */
  | { readonly bitsPerWeight: number }
  /** Bytes of all tensors of the written folder. */
  | { readonly bytes: number };

/** Weights that get one scheme from a budget: a fusion group, a single linear, a table of tokens or the head. */
export interface BudgetUnit extends SensitivityUnit {
  /** The rule from which the unit comes. It names the method that quantizes the unit. */
  readonly rule: Rule;
  /** The method, if it is not the rule's: that of a head which is rounded by its inputs. */
  readonly head?: Quantizer;
  /** Bytes in the layout, for each candidate. */
  readonly bytes: readonly number[];
  /** Bytes if the weight is kept as it is. Absent if it has to be quantized. */
  readonly keptBytes?: number;
  /** Number of weights. */
  readonly weights: number;
}

/** The choice for a unit, with its alternatives. It is copied into the report. */
export interface BudgetChoice {
  readonly unit: string;
  readonly modules: readonly string[];
  readonly options: readonly {
    /** In words; {@link keptScheme} for a weight that is not quantized. */
    readonly scheme: string;
    readonly bits: number;
    readonly bytes: number;
    readonly kl: number;
  }[];
  /** Index of the chosen option. */
  readonly chosen: number;
}

/** The name of the option that leaves a weight as it is. */
export const keptScheme = 'kept';

export interface BudgetedRecipe {
  /**
   * The recipe with one rule for each unit, which comes before the rule of the unit's linears. No rule has candidates.
   */
  readonly recipe: Recipe;
  readonly choices: readonly BudgetChoice[];
  /**
   * Sum of the chosen options' KL divergences, in nats per token. This is the measurement's prediction, not a
   * measurement of the result.
   */
  readonly predictedKl: number;
}

/**
 * The units of the rules that have candidates. Each has the candidates that its layout can hold.
 * @throws SchemeError when different rules match a fusion group, or no candidate can be stored
 */
export function budgetUnits(checkpoint: Checkpoint, recipe: Recipe): readonly BudgetUnit[] {
  if (!checkpoint.model) throw checkpoint.unknownArchitecture as Error;
  const { blocks } = checkpoint.model;
  const source = rewriteModel(checkpoint, recipe, referenceKernels);
  const tests = recipe.rules.map((rule) => ruleTest(rule, source.model));
  const ruleOf = (linear: LinearDescription) => recipe.rules[tests.findIndex((applies) => applies(linear))];
  const units: BudgetUnit[] = [];
  for (const block of blocks) {
    const linears = new Map(block.linears.map((linear) => [linear.module, linear]));
    const groupOf = new Map(block.fusionGroups.flatMap((group) => group.map((module) => [module, group] as const)));
    const groups = new Set(block.linears.map(({ module }) => groupOf.get(module) ?? linears.get(module)));
    for (const group of groups) {
      const modules = Array.isArray(group) ? (group as string[]) : [(group as LinearDescription).module];
      const members = modules.map((module) => linears.get(module) as LinearDescription);
      const rule = ruleOf(members[0]);
      const odd = members.find((linear) => ruleOf(linear) !== rule);
      if (odd && (rule?.candidates || ruleOf(odd)?.candidates))
        throw new SchemeError(
          `${modules[0]} and ${odd.module} are fused by runtimes and must share one scheme: let one rule match both`,
        );
      if (!rule?.candidates || rule.keep) continue;
      units.push(unitOf(members, rule, recipe));
    }
  }
  for (const linear of endsOf(checkpoint, source)) {
    const rule = ruleOf(linear);
    if (rule?.candidates && !rule.keep) units.push(endUnit(linear, rule, recipe, { checkpoint, source }));
  }
  if (units.length === 0) throw new SchemeError('a budget was given, but every linear is kept or has bits of its own');
  return units;
}

/** The head, if it has a tensor of its own, and the tables of tokens. */
function endsOf(checkpoint: Checkpoint, source: ModelSource): readonly LinearDescription[] {
  const { linears } = findLinears(checkpoint, source, []);
  const tables = embeddingTables(checkpoint, source).filter(({ roles = [] }) => roles.includes('embedding'));
  return [...linears.filter((linear) => isHead(linear, source.model)), ...tables];
}

/** The unit of a table of tokens or a head. */
function endUnit(
  linear: LinearDescription,
  rule: Rule,
  recipe: Recipe,
  { checkpoint, source }: { readonly checkpoint: Checkpoint; readonly source: ModelSource },
): BudgetUnit {
  const unit = unitOf([linear], rule, recipe);
  const head = isHead(linear, source.model as ModelDescription) ? rule.head : undefined;
  const name = `${linear.module}.weight`;
  const entry = checkpoint.tensors.get(name);
  // A tensor whose values a rewrite changes is written in f32.
  const stored = source.rewritten.has(name) || !entry ? 4 * unit.weights : entry.end - entry.begin;
  return { ...unit, ...(head ? { head } : {}), ...(rule.keepable ? { keptBytes: stored } : {}) };
}

function unitOf(linears: readonly LinearDescription[], rule: Rule, recipe: Recipe): BudgetUnit {
  const { quantizer, activation, candidates: all = [] } = rule;
  const modules = linears.map(({ module }) => module);
  if (!quantizer) throw new SchemeError(`${describeRule(rule, recipe.rules.indexOf(rule))}: needs a method`);
  let reason = '';
  const candidates = all.filter((scheme) => {
    const refused = linears
      .map((linear) => refuseModule({ linear, scheme, quantizer, ...(activation ? { activation } : {}) }, recipe, rule))
      .find(Boolean);
    reason = refused ? `${refused.reason}. ${refused.advice}` : reason;
    return !refused;
  });
  if (candidates.length === 0) throw new SchemeError(`${modules[0]}: no candidate of the budget fits: ${reason}`);
  const bytes = candidates.map((scheme) =>
    linears
      .flatMap((linear) => recipe.layout.plan({ linear, scheme }))
      .reduce((sum, part) => sum + byteLength(part), 0),
  );
  const weights = linears.reduce(
    (sum, { inFeatures, outFeatures }) => sum + elementCount([outFeatures, inFeatures]),
    0,
  );
  const compensated = quantizer.compensates ? { compensated: true } : {};
  return { name: unitName(modules), modules, rule, candidates, bytes, weights, ...compensated };
}

/** Bytes of each option of a unit: its candidates, and the kept weight. */
const costsOf = ({ bytes, keptBytes }: BudgetUnit): readonly number[] =>
  keptBytes === undefined ? bytes : [...bytes, keptBytes];

/** `model.layers.0.self_attn.{q_proj,k_proj,v_proj}`; a long list is shortened to the common part of the names. */
function unitName(modules: readonly string[]): string {
  if (modules.length === 1) return modules[0];
  const parts = modules.map((module) => module.split('.'));
  let common = 0;
  while (parts.every((part) => part[common] !== undefined && part[common] === parts[0][common])) common++;
  const prefix = parts[0].slice(0, common).join('.');
  if (modules.length > 4) return `${prefix}.* (${modules.length} linears)`;
  return `${prefix}.{${parts.map((part) => part.slice(common).join('.')).join(',')}}`;
}

/**
 * Chooses a scheme for each unit so that the sum of their KL divergences is smallest and the result is within the
 * budget.
 * @param measure KL of the whole model with only one unit quantized, for each candidate of the unit
 * @throws SchemeError naming the smallest possible size when the budget is smaller
 */
export async function fitToBudget(
  checkpoint: Checkpoint,
  recipe: Recipe,
  budget: Budget,
  measure: (units: readonly BudgetUnit[]) => Promise<ReadonlyMap<string, readonly number[]>>,
): Promise<BudgetedRecipe> {
  const units = budgetUnits(checkpoint, recipe);
  const limit = limitOf(checkpoint, recipe, units, budget);
  const kl = await measure(units);
  const options = units.map((unit) => {
    const { name, candidates } = unit;
    const losses = kl.get(name);
    if (losses?.length !== candidates.length)
      throw new SchemeError(`${name}: ${losses?.length ?? 'no'} sensitivities for ${candidates.length} candidates`);
    return costsOf(unit).map((cost, i) => ({ cost, loss: losses[i] ?? 0 }));
  });
  const { chosen, loss } = chooseWithinBudget(options, limit);
  const choices = units.map(
    ({ name, modules, candidates, weights }, i): BudgetChoice => ({
      unit: name,
      modules,
      options: options[i].map(({ cost: bytes, loss: kl }, j) =>
        candidates[j]
          ? { scheme: describeScheme(candidates[j]), bits: candidates[j].format.bits, bytes, kl }
          : { scheme: keptScheme, bits: (8 * bytes) / weights, bytes, kl },
      ),
      chosen: chosen[i],
    }),
  );
  return { recipe: withSchemes(recipe, units, chosen), choices, predictedKl: loss };
}

/** The smallest result that the units' options give. */
interface Smallest {
  readonly size: number;
  readonly unit: 'bytes' | 'bits per weight';
  /** Bytes of the units alone. */
  readonly bytesOfUnits: number;
  /** Bytes for each unit of the size. */
  readonly bytesPerSize: number;
}

function smallestOf(
  checkpoint: Checkpoint,
  recipe: Recipe,
  units: readonly BudgetUnit[],
  of: 'bytes' | 'bits per weight',
): Smallest {
  const costs = units.map(costsOf);
  const cheapest = costs.map((each) => each.indexOf(Math.min(...each)));
  const { bytesAfter, bitsPerWeight, bytesOfModules } = planRun(checkpoint, withSchemes(recipe, units, cheapest));
  const bytesOfUnits = costs.reduce((sum, each, i) => sum + each[cheapest[i]], 0);
  return of === 'bytes'
    ? { size: bytesAfter, unit: of, bytesOfUnits, bytesPerSize: 1 }
    : { size: bitsPerWeight, unit: of, bytesOfUnits, bytesPerSize: bytesOfModules / bitsPerWeight };
}

/** Bytes of all tensors when a recipe's budget takes the cheapest option of each unit. */
export const smallestBytes = (checkpoint: Checkpoint, recipe: Recipe): number =>
  smallestOf(checkpoint, recipe, budgetUnits(checkpoint, recipe), 'bytes').size;

/** Bytes that the units may take: the budget minus everything else that counts. */
function limitOf(checkpoint: Checkpoint, recipe: Recipe, units: readonly BudgetUnit[], budget: Budget): number {
  const asked = 'bytes' in budget ? budget.bytes : budget.bitsPerWeight;
  const of = 'bytes' in budget ? 'bytes' : 'bits per weight';
  const { size, unit, bytesOfUnits, bytesPerSize } = smallestOf(checkpoint, recipe, units, of);
  if (!(asked >= size)) {
    const kept = unit === 'bytes' && !units.some(({ keptBytes }) => keptBytes !== undefined);
    throw new SchemeError(
      `the budget is ${asked} ${unit}, but the smallest that this recipe gives is ${size} ${unit} (scales and zero points included): allow more, or coarser groups or fewer bits${kept ? ', or quantize the embeddings too (--embeddings auto)' : ''}`,
    );
  }
  return bytesOfUnits + (asked - size) * bytesPerSize;
}

/** The recipe with a rule for each unit before the rules from which the units came. */
function withSchemes(recipe: Recipe, units: readonly BudgetUnit[], chosen: readonly number[]): Recipe {
  const rules = units.map(({ modules, candidates, head, rule }, i): Rule => {
    const scheme = candidates[chosen[i]];
    const { quantizer, activation, only } = rule;
    // A scheme that the head's method refuses, such as one with a scale for several rows, is rounded like a table.
    const takes = scheme && head && head.refuse?.(scheme, []) === undefined;
    return {
      name: 'chosen within the budget',
      match: new RegExp(`^(?:${modules.map((module) => module.replace(/[.]/g, '\\.')).join('|')})$`),
      ...(only ? { only } : {}),
      ...(scheme ? { quantizer, scheme, ...(takes ? { head } : {}) } : { keep: true }),
      ...(activation ? { activation } : {}),
    };
  });
  // Every weight that a rule with candidates matches is in a unit, so the rule is not needed.
  return { ...recipe, rules: [...rules, ...recipe.rules.filter(({ candidates }) => !candidates)] };
}
