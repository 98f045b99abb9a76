import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Windows } from '@q/calib';
import type { Checkpoint } from '@q/checkpoint';
import type { Context, Engine, TrainingStore } from '@q/core';
import { journalName, openJournal } from './journal.js';
import { OutputFolderError, otherEngine, prepareFolder } from './output-folder.js';
import { hashCheckpoint, hashWindows } from './source-identity.js';
import { trainingStore } from './training-store.js';

export interface ResumableTraining<T> {
  readonly out: string;
  readonly engine: () => Promise<Engine<T>>;
  readonly context: Context;
  readonly checkpoint: Checkpoint;
  readonly windows: Windows;
  /** What else decides the bytes of the result, as plain JSON. */
  readonly options: unknown;
}

/**
 * A training that writes something else than a model (an adapter, a task) into a folder. While it lasts the folder keeps its
 * checkpoints; called again with the same arguments after an interruption it goes on from the last one. A training that failed
 * keeps its last good checkpoint, and when there is none it leaves no folder.
 * @param work trains with the engine and the store, and writes its files; called once
 * @throws OutputFolderError when the folder holds something else, or was begun with another engine
 */
export async function resumableTraining<T, R>(
  { out, engine: makeEngine, context, checkpoint, windows, options }: ResumableTraining<T>,
  work: (engine: Engine<T>, store: TrainingStore) => Promise<R>,
): Promise<{ readonly result: R; readonly resumed: boolean }> {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(options));
  await hashCheckpoint(hash, checkpoint);
  hashWindows(hash, windows);
  const identity = hash.digest('hex');
  await prepareFolder(out, identity);
  const journal = await openJournal(join(out, journalName), identity);
  const store = trainingStore(out);
  const resumed = (await store.load()) !== undefined;
  try {
    const engine = await makeEngine();
    let result: R;
    try {
      const own = `${engine.name}, ${context.kernels.name}`;
      const earlier = await journal.computeWith(own);
      if (earlier !== undefined) throw new OutputFolderError(otherEngine(out, earlier, own));
      result = await work(engine, store);
    } finally {
      await engine.dispose();
    }
    await journal.close();
    await rm(join(out, journalName));
    await store.remove();
    return { result, resumed };
  } catch (error) {
    await journal.close().catch(() => {});
    if (!context.signal?.aborted && !(await store.load())) {
      await rm(join(out, journalName), { force: true });
      await store.remove();
      if ((await readdir(out)).length === 0) await rm(out, { recursive: true });
    }
    throw error;
  }
}
