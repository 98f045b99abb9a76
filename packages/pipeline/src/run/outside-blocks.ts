import { noStatistics } from '@q/calib';
import type { CheckpointWriter } from '@q/checkpoint';
import { CalibrationError, type Context, dequantize, type Tensor } from '@q/core';
import { guard } from '../blocks/guard.js';
import { isTable } from '../plan/embedding-tables.js';
import type { ModelSource } from '../plan/model-source.js';
import { isStatic, type Plan, type PlannedModule } from '../plan/plan.js';
import { layerRow } from '../report/layer-row.js';
import type { LayerRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';

/** The planned modules that no block has: tables of embeddings, and heads. */
export function outsideBlocks({ modules, model }: Plan): {
  readonly tables: readonly PlannedModule[];
  readonly heads: readonly PlannedModule[];
} {
  const inside = new Set(model?.blocks.flatMap(({ linears }) => linears.map(({ module }) => module)));
  const outside = [...modules.values()].filter(({ linear }) => !inside.has(linear.module));
  return {
    tables: outside.filter(({ linear }) => isTable(linear)),
    heads: outside.filter(({ linear }) => !isTable(linear)),
  };
}

/**
 * Quantizes modules outside of the blocks, by data-free methods. What an earlier run has finished is read back.
 * @returns what was written, by tensor name
 * @throws CalibrationError when a method needs statistics
 */
export async function quantizeOutside(
  modules: readonly PlannedModule[],
  { plan, source, writer, journal, context }: OutsideWork,
): Promise<ReadonlyMap<string, Tensor<'f32'>>> {
  const written = new Map<string, Tensor<'f32'>>();
  for (const planned of modules) {
    const { module } = planned.linear;
    const name = `${module}.weight`;
    if (journal.finished.has(module)) {
      written.set(name, dequantize(await writer.readModule(module)));
      continue;
    }
    if (planned.quantizer.needs.length > 0 || isStatic(planned.activation))
      throw new CalibrationError(
        `${module}: calibrated methods quantize the linears of blocks; use a data-free method for embeddings and heads`,
      );
    const weight = await source.weight(name);
    const { quantizer, scheme } = planned;
    const result = await quantizer.quantize(weight, noStatistics, scheme, context);
    const guarded = await guard({ module, method: quantizer.name, scheme, weight, result }, context.kernels);
    await writer.writeModule(module, guarded.quantized);
    const tensors = await writer.sync();
    await journal.append({ unit: module, rows: [layerRow(plan, planned, guarded)], tensors });
    written.set(name, dequantize(guarded.quantized));
  }
  return written;
}

export interface OutsideWork {
  readonly plan: Plan;
  readonly source: ModelSource;
  readonly writer: CheckpointWriter;
  readonly journal: Journal<LayerRow>;
  readonly context: Context;
}
