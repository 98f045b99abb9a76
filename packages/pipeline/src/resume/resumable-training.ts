import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import type { Context, Engine, TrainingStore } from '@q/core';
import { type FileOptions, recordOf } from '@q/durable-files';
import { interrupted, isFinal } from './interrupted-run.js';
import { journalName, openJournal } from './journal.js';
import { OutputFolderError, openOutputFolder, otherEngine } from './output-folder.js';
import { finishedReport, type RunRecord, runRecord } from './run-record.js';
import { hashCheckpoint, hashWindows } from './source-identity.js';
import { trainingStore } from './training-store.js';

export interface ResumableTraining<T, R> extends FileOptions {
  readonly out: string;
  readonly engine: () => Promise<Engine<T>>;
  readonly context: Context;
  readonly checkpoint: Checkpoint;
  readonly windows: Windows;
  /** Everything else that decides the bytes of the result, as plain JSON. */
  readonly options: unknown;
  /** Trains with the engine and the store, and writes its files; called once. */
  readonly work: (engine: Engine<T>, store: TrainingStore) => Promise<R>;
  /** Names of the files that `work` has written. */
  readonly written: (result: R) => readonly string[];
  /**
   * Evaluates, and writes the report with `run` in it, once the files are written. If this is interrupted, the next run
   * of the same arguments does not train again.
   */
  readonly finish: (result: R, outcome: { readonly resumed: boolean; readonly run: RunRecord }) => Promise<void>;
}

/**
 * A training whose result is not a model, but for instance an adapter or a task, in a folder. During the training the
 * folder has its checkpoints. When it is called again with the same arguments after an interruption, it continues from
 * the last checkpoint. A training that failed keeps its last good checkpoint; if it has none, it leaves no folder.
 * @returns the report in the folder if an earlier training of the same arguments has ended: nothing was done
 * @throws OutputFolderError when the folder contains anything else, or another engine began the training
 */
export async function resumableTraining<T, R>(
  training: ResumableTraining<T, R>,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const { out, engine: makeEngine, context, checkpoint, windows, options, files } = training;
  const hash = createHash('sha256');
  hash.update(JSON.stringify(options));
  await hashCheckpoint(hash, checkpoint);
  hashWindows(hash, windows);
  const identity = hash.digest('hex');
  const folder = await openOutputFolder(out, identity, { files });
  try {
    if (folder.state === 'finished') {
      const report = await finishedReport(out, { files });
      await folder.settle();
      await folder.leave();
      return report;
    }
    const journal = await openJournal(join(out, journalName), identity, { files }).catch(async (error) => {
      if (folder.state === 'new') await folder.settle().catch(() => {});
      throw error;
    });
    const store = trainingStore(out, { files });
    try {
      const resumed = (await store.load()) !== undefined;
      const engine = await makeEngine();
      let result: R;
      try {
        const own = `${engine.name}, ${context.kernels.name}`;
        const earlier = await journal.computeWith(own);
        if (earlier !== undefined) throw new OutputFolderError(otherEngine(out, earlier, own));
        result = await training.work(engine, store);
      } finally {
        await engine.dispose();
      }
      const records = [];
      for (const file of training.written(result)) {
        const record = await recordOf(join(out, file), { files });
        if (record) records.push({ file, ...record });
      }
      await journal.complete(records);
      await training.finish(result, { resumed, run: runRecord(identity, records) });
      await journal.close();
      await folder.settle();
      await folder.leave();
      return undefined;
    } catch (error) {
      await journal.close().catch(() => {});
      if (context.signal?.aborted || error instanceof OutputFolderError) throw error;
      if (!isFinal(error)) throw interrupted(error, out);
      if (!(await store.load().catch(() => undefined))) await folder.settle().catch(() => {});
      throw error;
    }
  } catch (error) {
    await folder.leave().catch(() => {});
    throw error;
  }
}
