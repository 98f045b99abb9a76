import { noStatistics } from '@q/calib';
import type { CheckpointWriter } from '@q/checkpoint';
import type { Context } from '@q/core';
import { breathe } from './breathe.js';
import type { Journal } from './journal.js';
import { layerRow } from './layer-row.js';
import { rewriteModel } from './model-source.js';
import type { Plan } from './plan.js';
import type { LayerRow } from './report.js';

/** Bytes written between two journal entries: each entry costs a sync. */
const journalBytes = 256e6;

/** Streams tensor by tensor: the model is never loaded, one weight is in memory at a time. */
export async function runDataFree(
  plan: Plan,
  writer: CheckpointWriter,
  journal: Journal<LayerRow>,
  context: Context,
): Promise<void> {
  const done = new Set([...journal.finished.values()].flat().map(({ module }) => module));
  const modules = [...plan.modules.values()];
  const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
  let pending: LayerRow[] = [];
  let bytes = 0;
  const flush = async () => {
    if (pending.length === 0) return;
    await writer.sync();
    await journal.append({ unit: `modules ..${pending[pending.length - 1].module}`, rows: pending });
    pending = [];
    bytes = 0;
  };
  for (const [index, planned] of modules.entries()) {
    await breathe(context.signal);
    const { module } = planned.linear;
    if (done.has(module)) continue;
    const weight = await source.weight(`${module}.weight`);
    const { quantized, report } = await planned.quantizer.quantize(weight, noStatistics, planned.scheme, context);
    await writer.writeModule(module, quantized);
    const { row } = await layerRow(plan, planned, weight, quantized, report, undefined, context.kernels);
    pending.push(row);
    bytes += row.bytesBefore;
    context.progress({ task: 'quantize', done: index + 1, total: modules.length, unit: 'layers', note: module });
    if (bytes > journalBytes) await flush();
  }
  await flush();
}
