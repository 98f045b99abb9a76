import { createHash } from 'node:crypto';
import { checkVocabulary, type Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import type { Context, Engine, ForwardEngine, ModelDescription } from '@q/core';
import { type FileOptions, type FileSystem, nodeFiles } from '@q/durable-files';
import {
  estimateSensitivity,
  measureSensitivity,
  type SensitivityOptions,
  type SensitivityUnit,
} from '@q/mixed-precision';
import { rewriteModel } from '../plan/model-source.js';
import { type Recipe, rewritesOf } from '../recipe/recipe.js';
import { continueWith, openPreparation } from '../resume/journal.js';
import { hashCheckpoint, hashWindows } from '../resume/source-identity.js';

/** Name of the file in the output folder that keeps sensitivities during a run. */
export const sensitivityName = 'q-sensitivity.jsonl';

export interface SensitivityRun<T> extends FileOptions {
  readonly context: Context;
  /**
   * The method of finding sensitivities. `walk` runs the model for each unit and candidate, `one-pass` estimates all of
   * them from gradients.
   */
  readonly by:
    | { readonly kind: 'walk'; readonly engine: () => Promise<ForwardEngine<T>> }
    | { readonly kind: 'one-pass'; readonly engine: () => Promise<Engine<T>> };
  readonly windows: Windows;
  /**
   * File for the numbers, which are written as they are measured. Numbers that it has already are not measured again.
   */
  readonly file?: string;
}

/**
 * Measures or estimates the sensitivities of a checkpoint's units, or reads them from `file` if an earlier measurement
 * of the same model, windows, units and methods wrote them. A resumed run reads the same numbers.
 * @throws FormatError when the file holds other sensitivities, or those of another engine
 */
export async function checkpointSensitivity<T>(
  checkpoint: Checkpoint,
  recipe: Recipe,
  units: readonly SensitivityUnit[],
  { context, by, windows, file, files = nodeFiles }: SensitivityRun<T>,
): Promise<ReadonlyMap<string, readonly number[]>> {
  // Rewrites such as rotations change the weights that are rounded, and so the sensitivities.
  const source = rewriteModel(checkpoint, recipe, context.kernels);
  if (!source.model) throw checkpoint.unknownArchitecture as Error;
  const model: ModelDescription = source.model;
  checkVocabulary(windows, model.vocabularySize);
  const journal =
    file === undefined
      ? undefined
      : await openSensitivities(file, checkpoint, recipe, units, { by: by.kind, windows, files });
  const finished = journal?.finished ?? new Map<string, readonly number[]>();
  try {
    if (units.every(({ name }) => finished.has(name))) return finished;
    const measure = async <E extends ForwardEngine<T>>(
      makeEngine: () => Promise<E>,
      find: (options: SensitivityOptions<T> & { engine: E }) => Promise<ReadonlyMap<string, readonly number[]>>,
    ) => {
      const engine = await makeEngine();
      try {
        if (journal) await continueWith(journal, file as string, engine, context.kernels);
        return await find({
          ...{ model, engine, context, windows, units, finished },
          weight: (name) => source.weight(name),
          onMeasured: async (unit, rows) => journal?.append({ unit, rows }),
        });
      } finally {
        await engine.dispose();
      }
    };
    return by.kind === 'walk'
      ? await measure(by.engine, measureSensitivity)
      : await measure(by.engine, estimateSensitivity);
  } catch (error) {
    // Only an interrupted measurement is worth keeping, because an error would occur again.
    if (file !== undefined && !context.signal?.aborted && finished.size === 0) await files.remove(file).catch(() => {});
    throw error;
  } finally {
    await journal?.close();
  }
}

async function openSensitivities(
  file: string,
  checkpoint: Checkpoint,
  recipe: Recipe,
  units: readonly SensitivityUnit[],
  { by, windows, files }: { readonly by: string; readonly windows: Windows; readonly files: FileSystem },
) {
  const hash = createHash('sha256');
  await hashCheckpoint(hash, checkpoint);
  hashWindows(hash, windows);
  hash.update(JSON.stringify([recipe.seed, rewritesOf(recipe).map(({ name, options }) => [name, options])]));
  hash.update(
    JSON.stringify(units.map(({ name, modules, candidates, compensated }) => [name, modules, candidates, compensated])),
  );
  hash.update(by);
  return openPreparation<number>(
    file,
    hash.digest('hex'),
    'holds sensitivities of another model, calibration text, seed, rotation or list of schemes, or found by another method: give the same ones, or another file',
    { files },
  );
}
