import type { Checkpoint } from '@q/checkpoint';
import { describeScheme, type LinearDescription, type Quantizer, SchemeError } from '@q/core';
import { chooseWithinBudget, type SensitivityUnit } from '@q/mixed-precision';
import { byteLength } from '@q/safetensors';
import { describeRule, matches, type Recipe, type Rule } from '../recipe/recipe.js';
import { planRun } from './plan.js';
import { refuseModule } from './refuse-module.js';

/** The largest allowed size of the result. */
export type Budget =
  /** Bits per weight over all quantized linears, scales and zero points included. A plan prints this number. */
  | { readonly bitsPerWeight: number }
  /** Bytes of all tensors of the written folder. */
  | { readonly bytes: number };

/** Linears that get one scheme from a budget: a fusion group, or a single linear. */
export interface BudgetUnit extends SensitivityUnit {
  /** The method that quantizes the unit. */
  readonly quantizer: Quantizer;
  /** The scheme of the unit's inputs. */
  readonly activation?: Rule['activation'];
  /** Bytes in the layout, for each candidate. */
  readonly bytes: readonly number[];
}

/** The choice for a unit, with its alternatives. It is copied into the report. */
export interface BudgetChoice {
  readonly unit: string;
  readonly modules: readonly string[];
  readonly options: readonly {
    readonly scheme: string;
    readonly bits: number;
    readonly bytes: number;
    readonly kl: number;
  }[];
  /** Index of the chosen option. */
  readonly chosen: number;
}

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
  const { blocks, head } = checkpoint.model;
  const ruleOf = (linear: LinearDescription) => recipe.rules.find((rule) => matches(rule, linear));
  const untied = head && !checkpoint.model.ties.has(`${head.module}.weight`);
  const headRule = untied ? ruleOf(head) : undefined;
  if (headRule?.candidates && !headRule.keep)
    throw new SchemeError(
      `${head?.module}: a budget chooses for the linears of the blocks; give the head a rule with bits of its own, or keep it`,
    );
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
  if (units.length === 0) throw new SchemeError('a budget was given, but every linear is kept or has bits of its own');
  return units;
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
    reason = refused?.reason ?? reason;
    return !refused;
  });
  if (candidates.length === 0) throw new SchemeError(`${modules[0]}: no candidate of the budget fits: ${reason}`);
  const bytes = candidates.map((scheme) =>
    linears
      .flatMap((linear) => recipe.layout.plan({ linear, scheme }))
      .reduce((sum, part) => sum + byteLength(part), 0),
  );
  return { name: unitName(modules), modules, quantizer, candidates, bytes, ...(activation ? { activation } : {}) };
}

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
  const options = units.map(({ name, bytes }) => {
    const losses = kl.get(name);
    if (losses?.length !== bytes.length)
      throw new SchemeError(`${name}: ${losses?.length ?? 'no'} sensitivities for ${bytes.length} candidates`);
    return bytes.map((cost, i) => ({ cost, loss: losses[i] }));
  });
  const { chosen, loss } = chooseWithinBudget(options, limit);
  const choices = units.map(
    ({ name, modules, candidates }, i): BudgetChoice => ({
      unit: name,
      modules,
      options: candidates.map((scheme, j) => ({
        scheme: describeScheme(scheme),
        bits: scheme.format.bits,
        bytes: options[i][j].cost,
        kl: options[i][j].loss,
      })),
      chosen: chosen[i],
    }),
  );
  return { recipe: withSchemes(recipe, units, chosen), choices, predictedKl: loss };
}

/** Bytes that the units may take: the budget minus everything else that counts. */
function limitOf(checkpoint: Checkpoint, recipe: Recipe, units: readonly BudgetUnit[], budget: Budget): number {
  const cheapest = units.map(({ bytes }) => bytes.indexOf(Math.min(...bytes)));
  const least = units.reduce((sum, { bytes }, i) => sum + bytes[cheapest[i]], 0);
  const smallest = planRun(checkpoint, withSchemes(recipe, units, cheapest));
  const [asked, possible, bytesPerUnit, name] =
    'bytes' in budget
      ? [budget.bytes, smallest.bytesAfter, 1, 'bytes']
      : [
          budget.bitsPerWeight,
          smallest.bitsPerWeight,
          smallest.bytesOfModules / smallest.bitsPerWeight,
          'bits per weight',
        ];
  if (!(asked >= possible))
    throw new SchemeError(
      `the budget is ${asked} ${name}, but the smallest that this recipe gives is ${possible} ${name} (scales and zero points included): allow more, or coarser groups or fewer bits`,
    );
  return least + (asked - possible) * bytesPerUnit;
}

/** The recipe with a rule for each unit before the rules from which the units came. */
function withSchemes(recipe: Recipe, units: readonly BudgetUnit[], chosen: readonly number[]): Recipe {
  const rules = units.map(
    ({ modules, quantizer, activation, candidates }, i): Rule => ({
      name: 'chosen within the budget',
      match: new RegExp(`^(?:${modules.map((module) => module.replace(/[.]/g, '\\.')).join('|')})$`),
      quantizer,
      scheme: candidates[chosen[i]],
      ...(activation ? { activation } : {}),
    }),
  );
  // Every linear that a rule with candidates matches is in a unit, so the rule is not needed.
  return { ...recipe, rules: [...rules, ...recipe.rules.filter(({ candidates }) => !candidates)] };
}
