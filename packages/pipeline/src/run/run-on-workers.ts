import type { CheckpointWriter, EncodedModule } from '@q/checkpoint';
import type { BlockDescription, BlockWeights, Context, ModelDescription } from '@q/core';
import type { EndLoss } from '@q/end-loss';
import type { ModelSource } from '../plan/model-source.js';
import type { Plan } from '../plan/plan.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';
import { type InputRequest, type InputStatistics, plannedIn } from './collect-input.js';
import { outsideBlocks } from './outside-blocks.js';
import { quantizeStage } from './quantize-stage.js';
import type { RemoteSolver } from './remote-modules.js';
import type { RemoteWindows, StagePlace } from './remote-windows.js';

/**
 * Bytes of statistics that a process collects for one job. The experts of a stage have a matrix each, and the states of
 * a shard are computed once for all inputs of a job.
 */
const jobBytes = 256e6;

/** The parts of a run whose windows and linears other processes compute. */
export interface WorkerRun {
  readonly plan: Plan;
  readonly source: ModelSource;
  readonly model: ModelDescription;
  readonly writer: CheckpointWriter;
  readonly journal: Journal<ModuleRow>;
  readonly context: Context;
  readonly endLoss: EndLoss | undefined;
  readonly solver: RemoteSolver;
  readonly windows: RemoteWindows;
}

/**
 * Quantizes the blocks of a plan without running the model here: other processes send shards of the windows through it.
 * This process merges their statistics in order, and writes the linears that are solved from them.
 */
export async function runOnWorkers(run: WorkerRun): Promise<void> {
  const { plan, model, writer, journal, context, windows } = run;
  const tables = new Map<string, EncodedModule>();
  for (const { linear } of outsideBlocks(plan).tables)
    tables.set(linear.module, await writer.readEncoded(linear.module));
  if (tables.size > 0) await windows.written(undefined, tables);
  for (const block of model.blocks) {
    const replayed = journal.finished.has(block.prefix);
    if (replayed) await replay(block, run);
    else {
      const rows = await quantizeBlock(block, run);
      const tensors = await context.profile.stage('pack and write', () => writer.sync());
      await journal.append({ unit: block.prefix, rows, transforms: [], tensors });
    }
    context.progress({
      ...{ task: 'quantize', done: block.index + 1, total: model.blocks.length, unit: 'blocks' },
      note: replayed ? `${block.prefix} (from the journal)` : block.prefix,
    });
  }
  await windows.finish();
}

/** Tells the other processes about the linears of a block that an earlier run has written. */
async function replay(block: BlockDescription, { plan, writer, windows }: WorkerRun): Promise<void> {
  for (const [stage, description] of block.stages.entries()) {
    const modules = new Map<string, EncodedModule>();
    for (const { linear } of plannedIn(description, plan))
      modules.set(linear.module, await writer.readEncoded(linear.module));
    if (modules.size > 0) await windows.written({ block: block.index, stage }, modules);
  }
}

async function quantizeBlock(block: BlockDescription, run: WorkerRun): Promise<ModuleRow[]> {
  const { plan, source, writer, context, endLoss, solver, windows } = run;
  const rows: ModuleRow[] = [];
  for (const [index, stage] of block.stages.entries()) {
    const planned = plannedIn(stage, plan);
    if (planned.length === 0) continue;
    const place: StagePlace = { block: block.index, stage: index };
    const weights: BlockWeights = new Map();
    for (const { linear } of planned) {
      const name = `${linear.module}.weight`;
      weights.set(name, await context.profile.stage('read', () => source.weight(name)));
    }
    const written = new Map<string, EncodedModule>();
    const quantized = await quantizeStage({
      ...{ plan, weights, stage, writer, context, endLoss, solver },
      transformed: { weights: new Map(), clipped: new Map() },
      bytesTogether: jobBytes,
      collect: (inputs) => context.profile.stage('forward', () => merged(windows, place, inputs)),
      replace() {},
      async replaceEncoded(module, encoded) {
        written.set(module, encoded);
      },
    });
    rows.push(...quantized);
    await windows.written(place, written);
  }
  return rows;
}

/** The statistics of all shards, merged in the order of the shards. */
async function merged(
  windows: RemoteWindows,
  place: StagePlace,
  inputs: readonly InputRequest[],
): Promise<readonly InputStatistics[]> {
  let all: readonly InputStatistics[] | undefined;
  for await (const shard of windows.collect(place, inputs)) {
    if (!all) {
      all = shard;
      continue;
    }
    for (const [index, { collector, ranges }] of all.entries()) {
      collector.merge(shard[index].collector);
      if (ranges !== collector) ranges.merge(shard[index].ranges);
    }
  }
  return all ?? [];
}
