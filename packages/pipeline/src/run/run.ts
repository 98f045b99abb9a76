import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { checkVocabulary, type Windows } from '@q/calib';
import { type CheckpointWriter, createCheckpointWriter, verifyFiles } from '@q/checkpoint';
import { CalibrationError, type Context, type Engine, type ForwardEngine, yieldToEventLoop } from '@q/core';
import type { FileOptions, FileRecord } from '@q/durable-files';
import type { EndLoss } from '@q/end-loss';
import { endLossCount } from '../plan/end-loss-count.js';
import { rewriteModel } from '../plan/model-source.js';
import { type Plan, walksModel } from '../plan/plan.js';
import { checkShards } from '../plan/window-shards.js';
import { recipeJSON } from '../recipe/recipe.js';
import type { ModuleRow, RunReport, TransformRow } from '../report/report.js';
import { interrupted, isFinal } from '../resume/interrupted-run.js';
import { type Journal, journalName, openJournal } from '../resume/journal.js';
import { type OutputFolder, OutputFolderError, openOutputFolder, otherEngine } from '../resume/output-folder.js';
import { finishedReport, type RunRecord, runRecord } from '../resume/run-record.js';
import { hashCheckpoint, hashWindows } from '../resume/source-identity.js';
import { trainingStore } from '../resume/training-store.js';
import { assemble } from './assemble.js';
import { createHiddenStates } from './hidden-states.js';
import type { RemoteRun } from './remote-modules.js';
import type { WindowSettings } from './remote-windows.js';
import { runCalibrated } from './run-calibrated.js';
import { runDataFree } from './run-data-free.js';
import { runTuner, tunedUnit } from './run-tuner.js';
import { checkSharedTraining, type WorkerGroup } from './shared-training.js';

export interface RunOptions<T, F = T> extends FileOptions {
  readonly out: string;
  readonly context: Context;
  /**
   * Makes the engine for calibrated methods and tuners. It is made on demand, so data-free runs never load an engine.
   */
  readonly engine?: () => Promise<Engine<T>>;
  /**
   * Makes an engine that computes the calibration windows instead of `engine`. Then `engine` is made only for a tuner.
   */
  readonly forward?: () => Promise<ForwardEngine<F>>;
  readonly calibration?: Windows;
  /**
   * Computes statistics of the end loss on windows, for methods that read them (`endLossStatistics` of `@q/end-loss`).
   * It is called once, and only if a block is left to do. It gets all calibration windows if tokens are weighted. If
   * methods only read moments of outputs, it gets a quarter of the windows, because moments need fewer tokens.
   */
  readonly endLoss?: (calibration: Windows) => Promise<EndLoss>;
  /** Quantizes linears in other processes, if the plan allows it ({@link refuseRemote}). The bytes are the same. */
  readonly remote?: RemoteRun;
  /**
   * Processes that share the training. `identity` has the properties of them that decide the bytes: their number and
   * the compression.
   */
  readonly workers?: { readonly identity: string; readonly begin: () => Promise<WorkerGroup> };
  /**
   * Evaluates and writes reports once the model is whole in its folder. If this is interrupted, the next run of the
   * same arguments only repeats this step.
   */
  readonly finish?: (result: RunResult) => Promise<void>;
}

export interface RunResult {
  readonly layers: readonly ModuleRow[];
  readonly transforms: readonly TransformRow[];
  /** Notes of the training. The modules' own notes are in their rows. */
  readonly notes: readonly string[];
  readonly files: readonly string[];
  readonly seconds: number;
  /** True if an earlier, interrupted run was continued. */
  readonly resumed: boolean;
  /** The record of the run for the report. A later run of the same arguments finds there that everything is done. */
  readonly run: RunRecord;
  /** Engine and kernels; absent if no engine was needed. */
  readonly computedWith?: string;
  /** The report that an earlier run of the same arguments has written into the folder. */
  readonly earlier?: RunReport;
}

/** The journal's unit of all tensors that are only copied. */
const copiedUnit = 'copied tensors';

/**
 * Carries out a plan. If it is interrupted at any moment and called again with the same arguments, it gives the same
 * bytes as an uninterrupted run; the journal in the output folder names the finished blocks. A full disk, a missing
 * source and a missing permission are interruptions. After an error that would occur again, the written files are
 * removed.
 * @throws OutputFolderError, LockedError, CalibrationError, WriteError, InterruptedRunError
 */
export async function runPlan<T, F = T>(plan: Plan, options: RunOptions<T, F>): Promise<RunResult> {
  const { out, calibration } = options;
  const started = performance.now();
  if (plan.calibrated) {
    if (!calibration || !(options.engine ?? options.forward) || (plan.recipe.tuner && !options.engine))
      throw new CalibrationError(
        'this recipe needs calibration text: give some, or choose a data-free method such as rtn',
      );
    checkVocabulary(calibration, plan.model?.vocabularySize ?? 0);
    checkShards(plan.recipe.windowShards ?? 1, calibration.count);
  }
  if (options.workers) checkSharedTraining(plan.recipe.tuner);
  const identity = await runIdentity(plan, calibration, options.workers?.identity);
  const folder = await openOutputFolder(out, identity, options);
  try {
    if (folder.state === 'finished') return await finishAgain(identity, folder, options);
    return await carryOut(plan, identity, folder, options, started);
  } catch (error) {
    await folder.leave().catch(() => {});
    throw error;
  }
}

/** Completes a run whose files are all written and whose report exists. `finish` does the parts that are missing. */
async function finishAgain<T, F>(
  identity: string,
  folder: OutputFolder,
  { out, files, finish }: RunOptions<T, F>,
): Promise<RunResult> {
  const earlier = (await finishedReport(out, { files })) as (RunReport & { readonly run: RunRecord }) | undefined;
  if (earlier?.run.identity !== identity) throw new Error(`${out}: its report has gone`);
  await verifyFiles(out, earlier.run.files, { files });
  const { layers, transforms, seconds, resumed, run } = earlier;
  const result = { layers, transforms, notes: [], files: earlier.files, seconds, resumed, run, earlier };
  await finish?.(result);
  await folder.settle();
  await folder.leave();
  return result;
}

async function carryOut<T, F>(
  plan: Plan,
  identity: string,
  folder: OutputFolder,
  options: RunOptions<T, F>,
  started: number,
): Promise<RunResult> {
  const { out, context, files, finish } = options;
  const resumed = folder.state === 'interrupted';
  const journal = await openJournal<ModuleRow>(join(out, journalName), identity, { files }).catch(async (error) => {
    if (!resumed) await folder.settle().catch(() => {});
    throw error;
  });
  let writer: CheckpointWriter | undefined;
  const progress = { training: false };
  try {
    if (journal.files) await verifyFiles(out, journal.files, { files });
    else {
      writer = await createCheckpointWriter(plan.checkpoint, out, plan.recipe.layout, plan.files, {
        ...{ resume: resumed, finished: journal.tensors, stream: context.kernels.stream, files },
        warn: (message) => context.logger.warn(message),
      });
      await writer.verify(journal.tensors);
      await journal.complete(await writeAll(plan, writer, journal, options, progress));
    }
    const records = journal.files ?? [];
    const result: RunResult = {
      layers: [...(journal.finished.get(tunedUnit) ?? [...journal.finished.values()].flat())],
      transforms: journal.transforms,
      notes: journal.notes,
      files: records.map(({ file }) => file),
      seconds: (performance.now() - started) / 1000,
      resumed,
      run: runRecord(identity, records),
      ...(journal.computedWith === undefined ? {} : { computedWith: journal.computedWith }),
    };
    await finish?.(result);
    await journal.close();
    await folder.settle();
    await folder.leave();
    return result;
  } catch (error) {
    await journal.close().catch(() => {});
    // After an abort, a crash or a correctable error the run can be resumed. After an error that would occur again
    // nothing half-written is left; a failed training leaves its last good checkpoint if it has one.
    const kept =
      context.signal?.aborted ||
      journal.files !== undefined ||
      (journal.finished.size > 0 && !isFinal(error)) ||
      (progress.training && (await trainingStore(out, { files }).load()));
    // A run of another engine is not this run's to remove.
    if (kept || error instanceof OutputFolderError) await writer?.close().catch(() => {});
    else {
      await writer?.abort().catch(() => {});
      await folder.settle().catch(() => {});
    }
    const says = !kept || context.signal?.aborted || error instanceof OutputFolderError || isFinal(error);
    throw says ? error : interrupted(error, out);
  }
}

/** Computes and writes everything that the journal does not have as finished. */
async function writeAll<T, F>(
  plan: Plan,
  writer: CheckpointWriter,
  journal: Journal<ModuleRow>,
  options: RunOptions<T, F>,
  progress: { training: boolean },
): Promise<readonly FileRecord[]> {
  const { out, context, calibration, files } = options;
  const { tuner } = plan.recipe;
  const work = { plan, writer, journal, context };
  // A resumed run must not mix the bytes of two engines. The engine that walks the model counts; without a walk, the
  // tuner's engine.
  const claim = async ({ name }: { readonly name: string }) => {
    const own = `${name}, ${context.kernels.name}`;
    const earlier = await journal.computeWith(own);
    if (earlier !== undefined) throw new OutputFolderError(otherEngine(out, earlier, own));
  };
  // Copying comes first, so a tensor that cannot be used is found before hours of work, not by the evaluation at the
  // end.
  await context.profile.stage('copy', () => copyTensors(plan, writer, journal, context));
  const walks = walksModel(plan.recipe, plan.modules);
  const { remote } = options;
  if (!walks)
    await context.profile.stage('round', () =>
      remote ? assemble(plan, writer, journal, context, remote.modules) : runDataFree(plan, writer, journal, context),
    );
  // Activations are on the disk only if memory is short, so hidden states are not kept then.
  const hiddenStates = tuner?.readsHiddenStates && plan.forecast.disk === undefined ? createHiddenStates() : undefined;
  let walkedWith: string | undefined;
  if (plan.calibrated && walks) {
    const walk = async <E>(engine: ForwardEngine<E>) => {
      await claim(engine);
      walkedWith = engine.name;
      const left = engine.independentSequences ? hiddenStates : undefined;
      const windows = calibration as Windows;
      const solver = await remote?.solver(plan);
      try {
        const openWindows = remote && ((settings: WindowSettings) => remote.windows(plan, settings));
        await runCalibrated(work, { engine, windows, out, hiddenStates: left, endLoss, solver, openWindows });
      } finally {
        await solver?.close();
      }
    };
    const wantsEndLoss = [...plan.modules.values()].some(({ quantizer }) => quantizer.endLoss);
    const unfinished = plan.model?.blocks.some(({ prefix }) => !journal.finished.has(prefix));
    if (wantsEndLoss && !options.endLoss)
      throw new CalibrationError('this recipe reads gradients of the end loss: endLoss must be handed in');
    const endLoss =
      wantsEndLoss && unfinished ? await options.endLoss?.(endLossWindows(plan, calibration as Windows)) : undefined;
    if (options.forward) await using(options.forward, walk);
    else await using(options.engine as () => Promise<Engine<T>>, walk);
  }
  if (tuner && !journal.finished.has(tunedUnit)) {
    progress.training = true;
    const store = trainingStore(out, { files });
    await using(options.engine as () => Promise<Engine<T>>, async (engine) => {
      if (!walks) await claim(engine);
      const left = engine.name === walkedWith ? hiddenStates?.kept : undefined;
      const windows = calibration as Windows;
      const workers = await options.workers?.begin();
      try {
        await context.profile.stage('train', () =>
          runTuner(work, { tuner, engine, windows, store, hiddenStates: left, workers }),
        );
        await workers?.close();
      } catch (error) {
        await workers?.close((error as Error).message);
        throw error;
      }
    });
    progress.training = false;
  }
  await context.profile.stage('rewrite', () => writeRewritten(plan, writer, context));
  const quantizer = [...plan.modules.values()][0]?.quantizer;
  const steps = [...(plan.recipe.transforms ?? []), ...(quantizer ? [quantizer] : []), ...(tuner ? [tuner] : [])];
  return context.profile.stage('pack and write', () =>
    writer.finish({
      method: steps.map(({ name }) => name).join('+'),
      options: quantizer?.options ?? {},
    }),
  );
}

/** {@link endLossCount} windows, evenly spaced. */
function endLossWindows({ modules }: Plan, windows: Windows): Windows {
  const { count, length, ids } = windows;
  const wanted = endLossCount(modules.values(), count);
  if (windows.lengths || count <= wanted) return windows;
  const chosen = Array.from({ length: wanted }, (_, i) => Math.floor((i * count) / wanted));
  const parts = chosen.map((index) => ids.subarray(index * length, (index + 1) * length));
  const out = new Int32Array(wanted * length);
  for (const [i, part] of parts.entries()) out.set(part, i * length);
  return { ...windows, ids: out, count: wanted };
}

/** Makes an engine, and disposes of it after success and failure. */
async function using<E extends { dispose(): Promise<void> }>(
  make: () => Promise<E>,
  use: (engine: E) => Promise<void>,
): Promise<void> {
  const engine = await make();
  try {
    await use(engine);
  } finally {
    await engine.dispose();
  }
}

async function copyTensors(
  plan: Plan,
  writer: CheckpointWriter,
  journal: Journal<ModuleRow>,
  context: Context,
): Promise<void> {
  if (journal.finished.has(copiedUnit)) return;
  const { copied } = plan.files;
  for (const [index, name] of copied.entries()) {
    context.signal?.throwIfAborted();
    await writer.copyTensor(name);
    context.progress({ task: 'copy', done: index + 1, total: copied.length, unit: 'tensors' });
  }
  await journal.append({ unit: copiedUnit, rows: [], tensors: await writer.sync() });
}

/**
 * Writes tensors whose values follow from the checkpoint alone. Tensors that transforms have scaled were written with
 * their block.
 */
async function writeRewritten(plan: Plan, writer: CheckpointWriter, context: Context): Promise<void> {
  const names = [...plan.files.rewritten.keys()].filter((name) => !plan.changed.get(name)?.scaled);
  if (names.length === 0) return;
  const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
  for (const [index, name] of names.entries()) {
    await yieldToEventLoop(context.signal);
    await writer.writeTensor(name, await source.weight(name));
    context.progress({ task: 'rewrite', done: index + 1, total: names.length, unit: 'tensors' });
  }
}

/** Hash of everything that decides the bytes of the result. */
async function runIdentity(plan: Plan, calibration: Windows | undefined, workers: string | undefined): Promise<string> {
  const hash = createHash('sha256');
  if (workers !== undefined) hash.update(workers);
  hash.update(JSON.stringify(recipeJSON(plan.recipe)));
  if (calibration) hash.update(`${plan.forecast.batch} at a time`);
  await hashCheckpoint(hash, plan.checkpoint);
  if (calibration) hashWindows(hash, calibration);
  return hash.digest('hex');
}
