import { noStatistics } from '@q/calib';
import { type EncodedModule, encodeModule } from '@q/checkpoint';
import { type Context, SchemeError } from '@q/core';
import { guard } from '../blocks/guard.js';
import type { ModelSource } from '../plan/model-source.js';
import type { Plan, PlannedModule } from '../plan/plan.js';
import { recipeJSON } from '../recipe/recipe.js';
import { moduleRow } from '../report/module-row.js';
import type { ModuleRow } from '../report/report.js';
import type { RemoteWindows, WindowSettings } from './remote-windows.js';
import { type SolverInputs, solveModule } from './solve-module.js';

/** A linear that another process has quantized and encoded. */
export interface RemoteModule extends EncodedModule {
  readonly row: ModuleRow;
}

/** Quantizes linears in other processes. The results come in the order of `modules`, so the report stays the same. */
export type RemoteModules = (plan: Plan, modules: readonly PlannedModule[]) => AsyncIterable<RemoteModule>;

/** Solves linears of a calibrated run in other processes, from the statistics of this process. */
export interface RemoteSolver {
  /** Solves linears of one input. The results are in the order of `inputs`. */
  solve(inputs: readonly SolverInputs[]): Promise<readonly RemoteModule[]>;
  close(): Promise<void>;
}

/** The functions that quantize linears of a plan in other processes. */
export interface RemoteRun {
  /** For a data-free plan. */
  readonly modules: RemoteModules;
  /** For a plan that walks the model. */
  solver(plan: Plan): Promise<RemoteSolver>;
  /** For a plan whose windows have several shards. */
  windows(plan: Plan, settings: WindowSettings): Promise<RemoteWindows>;
}

/** The reason why no part of a plan can run on other machines; undefined if one can. */
export function refuseRemote(plan: Plan): string | undefined {
  const { tuner } = plan.recipe;
  if (tuner) return `${tuner.name} trains all linears together: share its batches with --workers`;
  return undefined;
}

/**
 * Everything except its weights that decides the bytes of a linear, as text. Linears of different runs with the same
 * text are computed once. Rewrites read other tensors too, so the whole recipe is part of the text if it has rewrites.
 */
export function moduleIdentity(plan: Plan, { linear, quantizer, scheme, activation }: PlannedModule): string {
  const { transforms, seed, uses } = recipeJSON(plan.recipe);
  const { layout } = plan.recipe;
  const module = { linear, scheme, ...(activation ? { activation } : {}) };
  // Options of a layout appear in its config.
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
 * @throws SchemeError when the plan has no such linear; and the errors of the method
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
 * @throws CalibrationError when no token has reached it; and the errors of the method
 */
export async function computeSolved(plan: Plan, inputs: SolverInputs, context: Context): Promise<RemoteModule> {
  const guarded = await solveModule(plan, inputs, context);
  const { planned } = inputs;
  const encoded = encodeModule(plan.recipe.layout, planned, guarded.quantized, context.kernels.stream);
  return { ...encoded, row: moduleRow(plan, planned, guarded) };
}
