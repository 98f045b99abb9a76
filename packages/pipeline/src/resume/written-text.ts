import { createHash } from 'node:crypto';
import { selfGeneratedWindows, type Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import { CalibrationError, type Context, type Engine } from '@q/core';
import { type FileOptions, nodeFiles } from '@q/durable-files';
import { createDecoder, createRuntime } from '@q/models';
import { continueWith, openPreparation } from './journal.js';
import { hashCheckpoint } from './source-identity.js';

/**
 * Name of the file in the output folder that keeps the text which a model writes for its own calibration, until the run
 * ends.
 */
export const writtenTextName = 'q-written-text.jsonl';

export interface WrittenTextRun<T> extends FileOptions {
  readonly context: Context;
  readonly seed: number;
  readonly engine: () => Promise<Engine<T>>;
  readonly count: number;
  readonly length: number;
  /** Windows that are written together. */
  readonly batch?: number;
  /** Tokens that the tokenizer puts before a text. Default: none. */
  readonly opening?: readonly number[];
  /** File for the windows, which are written as they are made. Windows that it has already are not made again. */
  readonly file?: string;
}

/**
 * Calibration windows that the unquantized model writes itself (LLM-QAT), for calibration without data. After an
 * interruption it continues after the last batch in `file`.
 * @throws CalibrationError when the windows are longer than the model's positions
 * @throws FormatError when the file holds text of another model, seed or shape, or of another engine
 */
export async function writtenText<T>(checkpoint: Checkpoint, run: WrittenTextRun<T>): Promise<Windows> {
  const { model } = checkpoint;
  const { context, count, length, batch = 64, opening = [], file, files = nodeFiles } = run;
  if (!model) throw checkpoint.unknownArchitecture as Error;
  if (length > model.maxPositions)
    throw new CalibrationError(
      `windows of ${length} tokens are longer than the model's ${model.maxPositions} positions`,
    );
  const journal = file === undefined ? undefined : await openText(file, checkpoint, { ...run, batch, opening });
  const finished = new Map(
    [...(journal?.finished ?? [])].map(([unit, ids]) => [Number(unit), Int32Array.from(ids)] as const),
  );
  try {
    if (finished.size === count) {
      const ids = new Int32Array(count * length);
      for (const [i, window] of finished) ids.set(window, i * length);
      return { ids, count, length };
    }
    const engine = await run.engine();
    try {
      if (journal) await continueWith(journal, file as string, engine, context.kernels);
      const { ops } = engine;
      const weights = new Map<string, T>();
      for (const name of model.expected.keys())
        weights.set(name, ops.keep(ops.fromTensor(await checkpoint.weight(name))));
      const runtime = createRuntime(ops, weights, { ties: model.ties });
      return await selfGeneratedWindows(
        {
          ops,
          vocabularySize: model.vocabularySize,
          decoder: (size) => createDecoder(model, runtime, size),
        },
        {
          ...{ count, length, batch, opening, finished },
          async onBatch(first, windows) {
            for (const [i, ids] of windows.entries()) await journal?.append({ unit: `${first + i}`, rows: [...ids] });
          },
        },
        context,
      );
    } finally {
      await engine.dispose();
    }
  } catch (error) {
    if (file !== undefined && !context.signal?.aborted && finished.size === 0) await files.remove(file).catch(() => {});
    throw error;
  } finally {
    await journal?.close();
  }
}

async function openText(
  file: string,
  checkpoint: Checkpoint,
  run: { seed: number; count: number; length: number; batch: number; opening: readonly number[] } & FileOptions,
) {
  const { seed, count, length, batch, opening } = run;
  const hash = createHash('sha256');
  await hashCheckpoint(hash, checkpoint);
  hash.update(JSON.stringify(['written text', seed, count, length, batch, opening]));
  return openPreparation<number>(
    file,
    hash.digest('hex'),
    'holds text written by another model, or with another seed, length or number of windows: give the same ones, or another folder',
    { files: run.files },
  );
}
