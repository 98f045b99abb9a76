import { noStatistics } from '@q/calib';
import { type EncodedModule, encodeModule } from '@q/checkpoint';
import { type Context, SchemeError } from '@q/core';
import { guard } from '../blocks/guard.js';
import type { ModelSource } from '../plan/model-source.js';
import type { Plan, PlannedModule } from '../plan/plan.js';
import { recipeJSON } from '../recipe/recipe.js';
import { moduleRow } from '../report/module-row.js';
import type { ModuleRow } from '../report/report.js';
import { type SolverInputs, solveModule } from './solve-module.js';

/** A linear that another process has quantized and encoded. */
export interface RemoteModule extends EncodedModule {
  readonly row: ModuleRow;
}

/** Has linears quantized elsewhere. They come in the order in which they are given: so the report is the same. */
export type RemoteModules = (plan: Plan, modules: readonly PlannedModule[]) => AsyncIterable<RemoteModule>;

/** Has linears of a calibrated run solved elsewhere, from what this process has collected. */
export interface RemoteSolver {
  /** Linears of one input, in the order in which they are given. */
  solve(inputs: readonly SolverInputs[]): Promise<readonly RemoteModule[]>;
  close(): Promise<void>;
}

/** How linears of a plan are quantized by other processes. */
export interface RemoteRun {
  /** Those of a data-free plan. */
  readonly modules: RemoteModules;
  /** Those of a plan that walks the model. */
  solver(plan: Plan): Promise<RemoteSolver>;
}

/**
 * Why no part of a plan can be carried out on other machines, or nothing.
 */
export function refuseRemote(plan: Plan): string | undefined {
  const { tuner } = plan.recipe;
  if (tuner) return `${tuner.name} trains all linears together: share its batches with --workers`;
  return undefined;
}

/**
 * Everything but its weights that decides the bytes of a linear, as text: linears of different runs that have the same are computed
 * once. Rewrites read other tensors too, so the recipe is a part of it as a whole where there are any.
 */
export function moduleIdentity(plan: Plan, { linear, quantizer, scheme, activation }: PlannedModule): string {
  const { transforms, seed, uses } = recipeJSON(plan.recipe);
  const { layout } = plan.recipe;
  const module = { linear, scheme, ...(activation ? { activation } : {}) };
  // Options of a layout show in its config.
  const { config } = layout.config([module], [], { method: '', options: {} });
  return JSON.stringify({
    linear: { module: linear.module, inFeatures: linear.inFeatures, outFeatures: linear.outFeatures },
    ...{
      transpose: linear.transposed ?? false,
      method: quantizer.name,
      options: quantizer.options,
      scheme,
      activation,
    },
    ...{ seed, transforms, uses, layout: layout.name, config, parts: layout.plan(module) },
  });
}

/**
 * Quantizes and encodes one linear of a data-free plan, for the process that writes the folder.
 * @throws SchemeError when the plan has no such linear; what the method throws
 */
export async function computeModule(
  plan: Plan,
  source: ModelSource,
  name: string,
  context: Context,
): Promise<RemoteModule> {
  const planned = plan.modules.get(name);
  if (!planned) throw new SchemeError(`${name}: the recipe quantizes no such linear`);
  const { quantizer, scheme } = planned;
  const weight = await source.weight(`${name}.weight`);
  const result = await quantizer.quantize(weight, noStatistics, scheme, context);
  const guarded = await guard({ module: name, method: quantizer.name, scheme, weight, result }, context.kernels);
  const encoded = encodeModule(plan.recipe.layout, planned, guarded.quantized, context.kernels.stream);
  return { ...encoded, row: moduleRow(plan, planned, guarded) };
}

/**
 * Quantizes and encodes one linear of a calibrated plan, for the process that writes the folder.
 * @throws CalibrationError when no token has reached it; what the method throws
 */
export async function computeSolved(plan: Plan, inputs: SolverInputs, context: Context): Promise<RemoteModule> {
  const guarded = await solveModule(plan, inputs, context);
  const { planned } = inputs;
  const encoded = encodeModule(plan.recipe.layout, planned, guarded.quantized, context.kernels.stream);
  return { ...encoded, row: moduleRow(plan, planned, guarded) };
}
