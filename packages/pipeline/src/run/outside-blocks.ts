import { noStatistics } from '@q/calib';
import type { CheckpointWriter } from '@q/checkpoint';
import {
  CalibrationError,
  type Context,
  dequantize,
  type Statistic,
  type Statistics,
  type Tensor,
  tokenFrequencies,
} from '@q/core';
import { guard } from '../blocks/guard.js';
import { metricOf } from '../blocks/metric-of.js';
import { isHead, isTable } from '../plan/embedding-tables.js';
import type { ModelSource } from '../plan/model-source.js';
import { isStatic, type Plan, type PlannedModule } from '../plan/plan.js';
import { moduleRow } from '../report/module-row.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';
import { inRows } from './in-rows.js';

/** The planned modules that are in no block: tables of embeddings, and heads. */
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
 * Quantizes modules outside of the blocks. The output projection is quantized by its inputs if its method reads them;
 * all other modules by data-free methods. Modules that an earlier run has finished are read back.
 * @returns the written weights, by tensor name
 * @throws CalibrationError when a method needs statistics that do not exist
 */
export async function quantizeOutside(
  modules: readonly PlannedModule[],
  { plan, source, writer, journal, context, inputs, frequencies }: OutsideWork,
): Promise<Map<string, Tensor<'f32'>>> {
  const written = new Map<string, Tensor<'f32'>>();
  for (const planned of modules) {
    const { module } = planned.linear;
    const name = `${module}.weight`;
    if (journal.finished.has(module)) {
      written.set(name, dequantize(await writer.readModule(module)));
      continue;
    }
    const learns = planned.quantizer.needs.length > 0;
    if ((learns && !(inputs && isHead(planned.linear, plan.model))) || isStatic(planned.activation))
      throw new CalibrationError(
        `${module}: calibrated methods quantize the linears of blocks and the output projection; use a data-free method for other tables and heads`,
      );
    const weight = await source.weight(name);
    const { quantizer, scheme } = planned;
    const statistics = learns ? (inputs as Statistics) : tableStatistics(planned, frequencies);
    const result = await inRows(weight, scheme, (part) => quantizer.quantize(part, statistics, scheme, context));
    const metric = learns ? metricOf(quantizer.needs, statistics) : undefined;
    const guarded = await guard(
      { module, method: quantizer.name, scheme, weight, result, ...(metric ? { hessian: metric } : {}) },
      context.kernels,
    );
    await writer.writeModule(module, guarded.quantized);
    const tensors = await writer.sync();
    await journal.append({ unit: module, rows: [moduleRow(plan, planned, guarded)], tensors });
    written.set(name, dequantize(guarded.quantized));
  }
  return written;
}

export interface OutsideWork {
  readonly plan: Plan;
  readonly source: ModelSource;
  readonly writer: CheckpointWriter;
  readonly journal: Journal<ModuleRow>;
  readonly context: Context;
  /** Statistics of the output projection's inputs, if its method reads them. */
  readonly inputs?: Statistics;
  /** Frequencies of the tokens in the calibration text, `[vocabulary]`; see {@link tokenFrequencies}. */
  readonly frequencies?: Float32Array;
}

/** Statistics of a table's rows: how often each token of the text looks one up. */
function tableStatistics({ linear }: PlannedModule, frequencies: Float32Array | undefined): Statistics {
  if (!frequencies || !linear.roles?.includes('embedding') || linear.outFeatures !== frequencies.length)
    return noStatistics;
  return {
    has: ({ name }) => name === tokenFrequencies.name,
    get: <State>(statistic: Statistic<State>) =>
      statistic.name === tokenFrequencies.name ? (frequencies as State) : noStatistics.get(statistic),
  };
}
