import { rm } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import { createContext, type ModelDescription } from '@q/core';
import { evaluate, type LogitsSource, runWindows } from '@q/eval';
import { makeRecipe, OutputFolderError, planRun, readRecipe, runPlan, type Vocabulary } from '@q/pipeline';
import { distance, type LayerMeter, type StudyJob, type StudyResult, type WeightPoint } from '@q/study';
import { endLossOf } from '../end-loss.js';
import type { Compute } from '../engine.js';
import { openModel } from '../open-model.js';

/** The data that all runs of a study share. */
export interface StudyGround {
  readonly path: string;
  readonly checkpoint: Checkpoint;
  readonly model: ModelDescription;
  readonly origin: WeightPoint;
  readonly meter: LayerMeter;
  /** Logits of the unquantized model on the held-out windows. */
  readonly original: LogitsSource;
  readonly heldOut: Windows;
  /** Calibration windows of a seed. */
  calibration(seed: number, count: number): Windows;
  readonly compute: Compute;
  readonly vocabulary: Vocabulary;
  /** Settings of a quick study, by the toolkit's method. */
  readonly shorter: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly folder: string;
  readonly signal: AbortSignal;
}

/** The toolkit's method for a method of the study. */
const methodOf: Readonly<Record<string, string>> = {
  'gptq-end-loss': 'gptq',
  'qaft-labels': 'qaft',
  'qaft-teacher': 'qaft',
};

/** The recipe of a job: a plain layout, which holds every width. */
export function recipeOf(job: StudyJob, { vocabulary, shorter }: Pick<StudyGround, 'vocabulary' | 'shorter'>) {
  const method = methodOf[job.method] ?? job.method;
  const value = {
    ...{ method, bits: job.bits, group: job.group, layout: 'plain', seed: job.seed },
    ...shorter[method],
    ...job.setting,
  };
  const settings = readRecipe(value, vocabulary, (place) => `${job.id}: ${place}`);
  return makeRecipe(settings, vocabulary, { memory: totalmem() }).recipe;
}

/**
 * Quantizes the model for a job, scores it, and removes the written files. An interrupted run goes on, or starts again if
 * another release or engine has begun it.
 */
export async function runJob(job: StudyJob, ground: StudyGround): Promise<StudyResult> {
  const out = join(ground.folder, job.id);
  const { seconds, bytes } = await quantizeFor(job, ground, out);
  const quantized = await openModel(out, ground.vocabulary);
  try {
    const point = await pointOf(quantized, ground);
    const { nll, kl } = await scoreOf(quantized, ground);
    const errors = ground.meter.measure(point);
    return {
      ...{ job, nll, kl: kl as number, bytes, seconds },
      distance: distance(ground.origin, point),
      layerError: errors.plain,
      weightedLayerError: errors.weighted,
      modules: Object.fromEntries([...errors.modules].map(([module, { plain }]) => [module, plain])),
    };
  } finally {
    await quantized.close();
    await rm(out, { recursive: true });
  }
}

/** The final weights of a job, by module. */
export async function solveJob(job: StudyJob, ground: StudyGround): Promise<WeightPoint> {
  const out = join(ground.folder, job.id);
  await quantizeFor(job, ground, out);
  const quantized = await openModel(out, ground.vocabulary);
  try {
    return await pointOf(quantized, ground);
  } finally {
    await quantized.close();
    await rm(out, { recursive: true });
  }
}

async function quantizeFor(job: StudyJob, ground: StudyGround, out: string) {
  const { checkpoint, compute, signal, model } = ground;
  const recipe = recipeOf(job, ground);
  const calibration = ground.calibration(job.seed, job.samples);
  const plan = planRun(checkpoint, recipe, { count: calibration.count, length: calibration.length });
  const context = createContext({ kernels: compute.kernels, seed: job.seed, signal });
  const quantizeInto = () =>
    runPlan(plan, {
      out,
      context,
      ...(plan.calibrated ? { calibration } : {}),
      engine: () => compute.training(model, plan.recipe.tuner?.blockByBlock ?? false),
      forward: () => compute.forward(model),
      endLoss: (windows) => endLossOf(checkpoint, windows, compute, context),
    });
  const { seconds } = await quantizeInto().catch(async (error) => {
    // The folder is the study's own. It cannot be continued when another release or engine has begun it.
    if (!(error instanceof OutputFolderError)) throw error;
    await rm(out, { recursive: true });
    return quantizeInto();
  });
  return { seconds, bytes: plan.bytesAfter };
}

async function pointOf(quantized: Checkpoint, { origin }: StudyGround): Promise<WeightPoint> {
  const point = new Map<string, Float32Array>();
  for (const module of origin.keys()) {
    point.set(module, (await quantized.weight(`${module}.weight`)).data.slice());
  }
  return point;
}

async function scoreOf(quantized: Checkpoint, { heldOut, compute, model, original, signal }: StudyGround) {
  const engine = await compute.forward(model);
  try {
    const logits = await runWindows(model, engine, (name) => quantized.weight(name), heldOut, { signal });
    return await evaluate(logits, heldOut, { against: original, kernels: compute.kernels, signal });
  } finally {
    await engine.dispose();
  }
}
