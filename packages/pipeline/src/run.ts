import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { checkVocabulary, type Windows } from '@q/calib';
import { type CheckpointWriter, createCheckpointWriter } from '@q/checkpoint';
import { CalibrationError, type Context, type Engine, type ForwardEngine, type StreamKernels } from '@q/core';
import { activationFiles } from './activation-files.js';
import { breathe } from './breathe.js';
import { createHiddenStates } from './hidden-states.js';
import { journalName, openJournal } from './journal.js';
import { rewriteModel } from './model-source.js';
import { OutputFolderError, otherEngine, preparations, prepareFolder } from './output-folder.js';
import { type Plan, walksModel } from './plan.js';
import { recipeJSON } from './recipe.js';
import type { LayerRow, TransformRow } from './report.js';
import { runCalibrated } from './run-calibrated.js';
import { runDataFree } from './run-data-free.js';
import { runTuner, tunedUnit } from './run-tuner.js';
import { hashCheckpoint, hashWindows } from './source-identity.js';
import { trainingStore } from './training-store.js';

export interface RunOptions<T, F = T> {
  readonly out: string;
  readonly context: Context;
  /** Needed by calibrated methods and tuners. Made on demand: data-free runs never load an engine. */
  readonly engine?: () => Promise<Engine<T>>;
  /** Computes the calibration windows in place of `engine`, which is then made for a tuner alone. */
  readonly forward?: () => Promise<ForwardEngine<F>>;
  readonly calibration?: Windows;
}

export interface RunResult {
  readonly layers: readonly LayerRow[];
  readonly transforms: readonly TransformRow[];
  /** What the training has to say; the layers' own notes are in their rows. */
  readonly notes: readonly string[];
  readonly files: readonly string[];
  readonly seconds: number;
  /** True when an earlier, interrupted run was continued. */
  readonly resumed: boolean;
}

/**
 * Carries out a plan. Interrupted at any moment and called again with the same arguments, it gives the same bytes as an
 * undisturbed run; the journal in the output folder says which blocks are done.
 * @throws OutputFolderError, CalibrationError, WriteError
 */
export async function runPlan<T, F = T>(plan: Plan, options: RunOptions<T, F>): Promise<RunResult> {
  const { out, context, calibration } = options;
  const started = performance.now();
  if (plan.calibrated) {
    if (!calibration || !(options.engine ?? options.forward) || (plan.recipe.tuner && !options.engine))
      throw new CalibrationError(
        'this recipe needs calibration text: give some, or choose a data-free method such as rtn',
      );
    checkVocabulary(calibration, plan.model?.vocabularySize ?? 0);
  }
  const identity = await runIdentity(plan, calibration);
  const resumed = await prepareFolder(out, identity);
  const writer = await openWriter(plan, out, resumed, context.kernels.stream);
  const journal = await openJournal<LayerRow>(join(out, journalName), identity);
  const { tuner } = plan.recipe;
  const store = trainingStore(out);
  let training = false;
  const notes: string[] = [];
  try {
    // A resumed run must not mix the bytes of two engines. What walks the model says which one it is, else the tuner's.
    const claim = async ({ name }: { readonly name: string }) => {
      const own = `${name}, ${context.kernels.name}`;
      const earlier = await journal.computeWith(own);
      if (earlier !== undefined) throw new OutputFolderError(otherEngine(out, earlier, own));
    };
    const walks = walksModel(plan.recipe, plan.modules);
    if (!walks) await runDataFree(plan, writer, journal, context);
    // Activations on the disk are there because memory is short.
    const hiddenStates =
      tuner?.readsHiddenStates && plan.forecast.disk === undefined ? createHiddenStates() : undefined;
    let walkedWith: string | undefined;
    if (plan.calibrated && walks) {
      const walk = async <E>(engine: ForwardEngine<E>) => {
        await claim(engine);
        walkedWith = engine.name;
        const left = engine.independentSequences ? hiddenStates : undefined;
        await runCalibrated(plan, writer, journal, engine, calibration as Windows, context, out, left);
      };
      if (options.forward) await using(options.forward, walk);
      else await using(options.engine as () => Promise<Engine<T>>, walk);
    }
    if (tuner) {
      training = true;
      await using(options.engine as () => Promise<Engine<T>>, async (engine) => {
        if (!walks) await claim(engine);
        const left = engine.name === walkedWith ? hiddenStates?.kept : undefined;
        const said = await runTuner(plan, tuner, writer, journal, engine, calibration as Windows, store, context, left);
        notes.push(...said);
      });
      training = false;
    }
    for (const [index, name] of plan.files.copied.entries()) {
      context.signal?.throwIfAborted();
      await writer.copyTensor(name);
      context.progress({ task: 'copy', done: index + 1, total: plan.files.copied.length, unit: 'tensors' });
    }
    await writeRewritten(plan, writer, context);
    const quantizer = [...plan.modules.values()][0]?.quantizer;
    const steps = [...(plan.recipe.transforms ?? []), ...(quantizer ? [quantizer] : []), ...(tuner ? [tuner] : [])];
    const records = await writer.finish({
      method: steps.map(({ name }) => name).join('+'),
      options: quantizer?.options ?? {},
    });
    await journal.close();
    await rm(join(out, journalName));
    for (const name of [...preparations, ...activationFiles]) await rm(join(out, name), { force: true });
    await store.remove();
    return {
      layers: [...(journal.finished.get(tunedUnit) ?? [...journal.finished.values()].flat())],
      transforms: journal.transforms,
      notes,
      files: records.map(({ file }) => file),
      seconds: (performance.now() - started) / 1000,
      resumed: resumed && journal.finished.size > 0,
    };
  } catch (error) {
    await journal.close().catch(() => {});
    // An abort and a crash leave a run that can be resumed; an error would come again, so nothing half-written stays.
    // A training that failed leaves its last good checkpoint, where it has one. A run of another engine is not ours to remove.
    if (context.signal?.aborted || error instanceof OutputFolderError || (training && (await store.load())))
      await writer.close();
    else {
      await writer.abort();
      for (const name of [journalName, ...preparations, ...activationFiles]) await rm(join(out, name), { force: true });
      await store.remove();
      if ((await readdir(out)).length === 0) await rm(out, { recursive: true });
    }
    throw error;
  }
}

/** Makes an engine, and disposes of it whatever happens. */
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

/** Tensors whose values follow from the checkpoint alone; those that transforms have scaled were written with their block. */
async function writeRewritten(plan: Plan, writer: CheckpointWriter, context: Context): Promise<void> {
  const names = [...plan.files.rewritten.keys()].filter((name) => !plan.changed.get(name)?.scaled);
  if (names.length === 0) return;
  const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
  for (const [index, name] of names.entries()) {
    await breathe(context.signal);
    await writer.writeTensor(name, await source.weight(name));
    context.progress({ task: 'rewrite', done: index + 1, total: names.length, unit: 'tensors' });
  }
}

async function openWriter(
  plan: Plan,
  out: string,
  resume: boolean,
  stream: StreamKernels | undefined,
): Promise<CheckpointWriter> {
  try {
    return await createCheckpointWriter(plan.checkpoint, out, plan.recipe.layout, plan.files, { resume, stream });
  } catch (error) {
    if (!resume && (await readdir(out)).length === 0) await rm(out, { recursive: true });
    throw error;
  }
}

/** Hash of everything that decides the bytes of the result. */
async function runIdentity(plan: Plan, calibration: Windows | undefined): Promise<string> {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(recipeJSON(plan.recipe)));
  if (calibration) hash.update(`${plan.forecast.batch} at a time`);
  await hashCheckpoint(hash, plan.checkpoint);
  if (calibration) hashWindows(hash, calibration);
  return hash.digest('hex');
}
