import type { Windows } from '@q/calib';
import {
  type Engine,
  type ModelDescription,
  NumericError,
  type QuantizedTensor,
  type TrainingStore,
  type Tuner,
} from '@q/core';
import { judge } from '../blocks/guard.js';
import { rewriteModel } from '../plan/model-source.js';
import { moduleRow } from '../report/module-row.js';
import type { ModuleRow } from '../report/report.js';
import type { RunWork } from './run-work.js';
import { sendStart, type WorkerGroup } from './shared-training.js';

/** The parts with which a training runs. */
export interface TunerRun<T> {
  readonly tuner: Tuner;
  readonly engine: Engine<T>;
  readonly windows: Windows;
  readonly store: TrainingStore;
  /** Hidden states of blocks of the unquantized model, by the index of the block, which the calibration has kept. */
  readonly hiddenStates?: ReadonlyMap<number, Float32Array>;
  /** Processes that share the training. */
  readonly workers?: WorkerGroup;
}

/** The journal's name of the training as a whole. Its rows replace the quantizers' rows. */
export const tunedUnit = 'training';

/**
 * Trains the linears that the quantizers have written, and writes them again into the same places. The training
 * checkpoint serves as its journal: the last checkpoint is on the disk before the first tensor is overwritten. So a run
 * that ends during the writing continues from the checkpoint, not from half-written tensors.
 */
export async function runTuner<T>(
  { plan, writer, journal, context }: RunWork,
  { tuner, engine, windows, store, hiddenStates, workers }: TunerRun<T>,
): Promise<void> {
  if (journal.finished.has(tunedUnit)) return;
  const model = plan.model as ModelDescription;
  const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
  const start = new Map<string, QuantizedTensor>();
  for (const module of plan.modules.keys()) start.set(module, await writer.readModule(module));
  if (workers) await sendStart(workers, windows, start);
  const { modules, figures, notes } = await tuner.tune(
    { model, engine, source, start, windows, store, hiddenStates },
    workers ? { ...context, group: workers.group } : context,
  );
  const rows: ModuleRow[] = [];
  await journal.overwrite();
  for (const [module, quantized] of modules) {
    const planned = plan.modules.get(module);
    if (!planned) throw new Error(`${tuner.name} returned ${module}, which is not planned`);
    await writer.writeModule(module, quantized);
    const weight = await source.weight(`${module}.weight`);
    const report = { method: tuner.name, tokens: windows.count * windows.length, figures, notes: [] };
    // A training lowers the loss of a block or the model, not the error of each weight, so its result is not replaced
    // by round-to-nearest.
    const judged = await judge({ weight }, quantized, context.kernels);
    if (!judged)
      throw new NumericError(`${module}: ${tuner.name} gave values that are not finite: use a smaller learning rate`);
    rows.push(moduleRow(plan, planned, { quantized, report, ...judged }));
  }
  const tensors = await writer.sync();
  await journal.append({ unit: tunedUnit, rows, tensors, notes });
  for (const note of notes) context.logger.warn(note);
}
