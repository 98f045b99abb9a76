import type { CheckpointWriter } from '@q/checkpoint';
import type { Context } from '@q/core';
import type { Plan } from '../plan/plan.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';
import type { RemoteModules } from './remote-modules.js';
import { journalBytes } from './run-data-free.js';

/**
 * Writes the linears that other processes compute, in the order of the plan, except those that the journal has as
 * finished.
 */
export async function assemble(
  plan: Plan,
  writer: CheckpointWriter,
  journal: Journal<ModuleRow>,
  context: Context,
  remote: RemoteModules,
): Promise<void> {
  const done = new Set([...journal.finished.values()].flat().map(({ module }) => module));
  const modules = [...plan.modules.values()].filter(({ linear }) => !done.has(linear.module));
  if (modules.length === 0) return;
  let pending: ModuleRow[] = [];
  let bytes = 0;
  let count = done.size;
  for await (const { row, ...encoded } of remote(plan, modules)) {
    context.signal?.throwIfAborted();
    await writer.writeEncoded(row.module, encoded);
    for (const text of row.notes) context.logger.warn(`${row.module}: ${text}`);
    pending.push(row);
    bytes += row.bytesBefore;
    context.progress({
      ...{ task: 'quantize', done: ++count, total: plan.modules.size },
      ...{ unit: 'modules', note: row.module },
    });
    if (bytes <= journalBytes && count < plan.modules.size) continue;
    const tensors = await writer.sync();
    await journal.append({ unit: `modules ..${row.module}`, rows: pending, tensors });
    pending = [];
    bytes = 0;
  }
}
