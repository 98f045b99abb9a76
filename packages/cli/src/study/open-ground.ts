import { cutWindows, type Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import { createContext, createRandom, type ModelDescription, type ProgressEvent } from '@q/core';
import { runWindows } from '@q/eval';
import type { Vocabulary } from '@q/pipeline';
import { createLayerMeter, type WeightPoint } from '@q/study';
import type { Compute } from '../engine.js';
import type { StudyGround } from './run-job.js';

/** The settings from a study's flags that all of its runs share. */
export interface StudySetting {
  readonly length: number;
  /** Windows for methods, and the usual number for a run. */
  readonly learnable: number;
  readonly samples: number;
  /** Later windows, on which results are scored. */
  readonly heldOut: number;
  readonly quick: boolean;
  /** The source of the text, for messages. */
  readonly data: string;
}

export interface GroundOptions extends StudySetting {
  readonly path: string;
  readonly checkpoint: Checkpoint;
  readonly model: ModelDescription;
  /** Of the text, `[learnable + heldOut, length]`. */
  readonly ids: Int32Array;
  readonly compute: Compute;
  readonly vocabulary: Vocabulary;
  /** The folder for runs. */
  readonly folder: string;
  readonly signal: AbortSignal;
  readonly progress?: (event: ProgressEvent) => void;
}

/** Trainings of a quick study: enough steps to see a direction. */
const shorter = { qaft: { epochs: 4 }, signround: { steps: 50 } } as const;

/** Windows of a study: for calibration by seed, and for scoring. */
function studyWindows({
  ids,
  length,
  learnable,
  heldOut,
  data,
}: Omit<StudySetting, 'samples' | 'quick'> & Pick<GroundOptions, 'ids'>) {
  const pool = cutWindows(ids, length, { count: learnable, name: data });
  return {
    heldOut: cutWindows(ids, length, { skip: learnable, count: heldOut, name: data }),
    calibration: (seed: number, count: number): Windows =>
      cutWindows(pool.ids, length, {
        count: Math.min(count, learnable),
        ...(seed === 0 ? {} : { shuffle: createRandom(seed).fork('windows of a study') }),
      }),
  };
}

/**
 * Computes the data that all runs of a study share: the original's weights, its logits, and a function that measures
 * layers.
 */
export async function openGround(
  options: GroundOptions,
): Promise<{ readonly ground: StudyGround; close(): Promise<void> }> {
  const { path, checkpoint, model, samples, quick, compute, vocabulary, folder, signal } = options;
  const { heldOut, calibration } = studyWindows(options);
  const { progress } = options;
  const context = createContext({ kernels: compute.kernels, signal, ...(progress ? { progress } : {}) });
  const origin = new Map<string, Float32Array>();
  for (const { module } of model.blocks.flatMap(({ linears }) => linears))
    origin.set(module, (await checkpoint.weight(`${module}.weight`)).data.slice());
  const meterEngine = await compute.training(model, false);
  const meter = await createLayerMeter(
    { model, engine: meterEngine, source: checkpoint, windows: calibration(0, Math.min(samples, 32)) },
    context,
  ).finally(() => meterEngine.dispose());
  const engine = await compute.forward(model);
  // Only the head is computed for each comparison: the logits of all windows may take gigabytes.
  const original = await runWindows(model, engine, (name) => checkpoint.weight(name), heldOut, { signal });
  return {
    ground: {
      ...{ path, checkpoint, model, origin: origin as WeightPoint, meter, original, heldOut, calibration },
      ...{ compute, vocabulary, shorter: quick ? shorter : {}, folder, signal },
    },
    close: () => engine.dispose(),
  };
}
