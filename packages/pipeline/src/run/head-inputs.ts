import { BlockWalk, embedWindows, type StateStore, walkBlocks } from '@q/blockwise';
import { createCollector, type Windows } from '@q/calib';
import type { BlockDescription, Context, ForwardEngine, ModelDescription, Statistic, Statistics } from '@q/core';
import { collect } from '../blocks/collect.js';
import type { ModelSource } from '../plan/model-source.js';
import type { PlannedModule } from '../plan/plan.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';

/**
 * The most tokens with which a head is calibrated: 16 for each of 1,024 features are more than its Gram matrix needs.
 */
export const headTokens = 16384;

/** The model through which the calibration text goes. */
export interface HeadPass<T> {
  readonly source: ModelSource;
  readonly model: ModelDescription;
  readonly engine: ForwardEngine<T>;
  readonly windows: Windows;
  readonly context: Context;
  /** Windows at a time. */
  readonly batch: number;
  readonly store: () => StateStore;
}

/**
 * Statistics of the inputs of the output projection, which are the final norm's outputs in the unquantized model. A
 * projection that is tied to the table of embeddings is rounded before the blocks, because the blocks are calibrated
 * with the rounded table. So both kinds of projections have a separate pass.
 * @returns undefined if no method reads the statistics, or if the modules that read them are finished
 */
export async function headInputs<T>(
  { tables, heads }: { readonly tables: readonly PlannedModule[]; readonly heads: readonly PlannedModule[] },
  journal: Journal<ModuleRow>,
  { source, model, engine, windows, context, batch, store }: HeadPass<T>,
): Promise<Statistics | undefined> {
  const needs = new Map<string, Statistic<any>>();
  for (const { linear, quantizer } of [...tables, ...heads])
    if (!journal.finished.has(linear.module))
      for (const statistic of quantizer.needs) needs.set(statistic.name, statistic);
  if (needs.size === 0) return undefined;
  const walk = new BlockWalk({
    ...{ model, engine, windows: spreadWindows(windows), batch, signal: context.signal, store: store() },
  });
  const { profile, progress } = context;
  const read = (name: string) => profile.stage('read', () => source.weight(name));
  try {
    await embedWindows([walk], read, {
      profile,
      readRows: (name, ids) => profile.stage('read', () => source.rows(name, ids)),
    });
    const note = ({ prefix }: BlockDescription) => prefix;
    await walkBlocks([walk], { ...{ read, note, progress, profile }, task: 'inputs of the head' });
    const head = `${model.head?.module}.weight`;
    // Only the final norm is computed; nothing is multiplied by the head here.
    const norm = model.headTensors.filter((name) => name !== (model.ties.get(head) ?? head));
    await walk.load(norm, read);
    await profile.stage('forward', () => walk.norm());
    const create = () => createCollector([...needs.values()], model.hiddenSize, model.head?.module ?? 'the head');
    return (await collect(create, walk, context)).statistics;
  } finally {
    walk.clearWeights();
    walk.dispose();
  }
}

/** Windows of about {@link headTokens} tokens, evenly spaced over all windows. */
function spreadWindows(windows: Windows): Windows {
  const { ids, count, length, lengths } = windows;
  const kept = Math.max(1, Math.floor(headTokens / length));
  if (lengths || count <= kept) return windows;
  const some = new Int32Array(kept * length);
  for (let index = 0; index < kept; index++) {
    const from = Math.floor((index * count) / kept) * length;
    some.set(ids.subarray(from, from + length), index * length);
  }
  return { ids: some, count: kept, length };
}
