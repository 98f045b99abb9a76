import { noStatistics } from '@q/calib';
import { type EncodedModule, encodeModule } from '@q/checkpoint';
import { type Context, SchemeError } from '@q/core';
import { guard } from '../blocks/guard.js';
import type { ModelSource } from '../plan/model-source.js';
import type { Plan, PlannedModule } from '../plan/plan.js';
import { recipeJSON, transformsOf } from '../recipe/recipe.js';
import { layerRow } from '../report/layer-row.js';
import type { LayerRow } from '../report/report.js';

/** A linear that another process has quantized and encoded. */
export interface RemoteModule extends EncodedModule {
  readonly row: LayerRow;
}

/** Has linears quantized elsewhere. They come in the order in which they are given: so the report is the same. */
export type RemoteModules = (plan: Plan, modules: readonly PlannedModule[]) => AsyncIterable<RemoteModule>;

/**
 * Why a plan cannot be carried out linear by linear on other machines, or nothing.
 */
export function refuseRemote(plan: Plan): string | undefined {
  const { tuner } = plan.recipe;
  if (tuner) return `${tuner.name} trains all linears together: share its batches with --workers`;
  const calibrated = [...plan.modules.values()].find(({ quantizer }) => quantizer.needs.length > 0);
  if (calibrated) return `${calibrated.quantizer.name} learns from text, block after block: run it on one machine`;
  const [transform] = transformsOf(plan.recipe);
  if (transform) return `${transform.name} learns from text, block after block: run it on one machine`;
  if (plan.calibrated) return 'static scales of inputs are learnt from text: run it on one machine';
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
  return { ...encoded, row: layerRow(plan, planned, guarded) };
}
