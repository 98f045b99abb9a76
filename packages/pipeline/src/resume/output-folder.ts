import { dirname, join, resolve } from 'node:path';
import { QuantError } from '@q/core';
import { type FileOptions, type LockFile, lockFile, makeFolders, nodeFiles, removeFolders } from '@q/durable-files';
import { activationFiles } from '../blocks/activation-files.js';
import { sensitivityName } from '../blocks/sensitivity.js';
import { type JournalOwner, journalName, journalOwner, preparationLock } from './journal.js';
import { finishedRun } from './run-record.js';
import { toolkitVersion } from './toolkit-version.js';
import { trainingName } from './training-store.js';
import { writtenTextName } from './written-text.js';

/**
 * Thrown when the output folder exists and is neither empty nor a run of the same recipe, model and calibration data,
 * or when another engine began the run.
 */
export class OutputFolderError extends QuantError {
  override name = 'OutputFolderError';
}

/** Name of the lock file. The process that writes into the folder holds the lock. */
const lockName = 'q-lock.json';

/** Files that are made before the run and kept in its folder until it ends. */
const preparations = [sensitivityName, writtenTextName];

/** Files that are in the folder during a run, in addition to its journal. */
const transient = [...preparations, ...activationFiles];

/**
 * Whether a file may be in a folder in which no run has begun yet. While a lock is taken over, its file has a longer
 * name for a moment.
 */
const isBeforeRun = (name: string) =>
  name.startsWith(lockName) ||
  preparations.some((preparation) => name === preparation || name.startsWith(preparationLock(preparation)));

/**
 * Refuses an output folder that contains anything except a run, before anything is computed for it.
 * @throws OutputFolderError
 */
export async function checkOutputFolder(out: string, { files = nodeFiles }: FileOptions = {}): Promise<void> {
  const info = await files.info(out);
  if (!info) return;
  if (!info.isFolder) throw new OutputFolderError(`${out}: is a file; an output folder was expected`);
  const names = (await files.list(out)) ?? [];
  const ours = [journalName, ...preparations].some((name) => names.includes(name)) || names.every(isBeforeRun);
  if (!ours && !(await finishedRun(out, { files }))) throw new OutputFolderError(notOurs(out));
}

const notOurs = (out: string) =>
  `${out}: exists, is not empty and is not an interrupted run: choose another output folder or remove it`;

/** The message for a run that another engine or other kernels began. */
export const otherEngine = (out: string, earlier: string, own: string) =>
  `${out}: holds an interrupted run that was computed with ${earlier}; this one computes with ${own}, whose last bits differ: choose the same engine to resume it, or another folder`;

/** An output folder into which only this process writes. */
export interface OutputFolder {
  /**
   * `interrupted`: the folder has a journal of the same run. `finished`: it has a report of the same run and no
   * journal.
   */
  readonly state: 'new' | 'interrupted' | 'finished';
  /** Removes the files that a run keeps in its folder until it ends, the journal last. */
  settle(): Promise<void>;
  /** Unlocks the folder for other processes; removes it if it is empty. */
  leave(): Promise<void>;
}

/**
 * Makes the folder, or finds a run of the same identity in it, and locks it.
 * @throws OutputFolderError when the folder contains anything else
 * @throws LockedError when another process writes into it
 * @throws FormatError when its journal is damaged
 */
export async function openOutputFolder(
  out: string,
  identity: string,
  options: FileOptions = {},
): Promise<OutputFolder> {
  const { files = nodeFiles } = options;
  const info = await files.info(out);
  if (info && !info.isFolder) throw new OutputFolderError(`${out}: is a file; an output folder was expected`);
  if (!info) await makeFolders(resolve(out), options);
  let lock: LockFile | undefined;
  const leave = async () => {
    await lock?.release();
    if ((await files.list(out))?.length !== 0) return;
    await files.removeFolder(out);
    await files.syncFolder(dirname(resolve(out)));
  };
  try {
    // The first check is before the lock, because nothing is written into a folder of another run. The second one is
    // after it: another process may have finished meanwhile.
    await stateOf(out, identity, options);
    lock = await lockFile(join(out, lockName), out, options);
    const state = await stateOf(out, identity, options);
    return {
      state,
      async settle() {
        for (const name of transient) await files.remove(join(out, name));
        await removeFolders(join(out, trainingName), options);
        await files.remove(join(out, journalName));
        await files.syncFolder(out);
      },
      leave,
    };
  } catch (error) {
    if (lock || !info) await leave().catch(() => {});
    throw error;
  }
}

async function stateOf(out: string, identity: string, options: FileOptions): Promise<OutputFolder['state']> {
  const { files = nodeFiles } = options;
  const names = (await files.list(out)) ?? [];
  if (names.every(isBeforeRun)) return 'new';
  if (names.includes(journalName)) {
    const owner = await journalOwner(join(out, journalName), options);
    if (owner) {
      refuseOther(out, owner, identity, 'an interrupted');
      return 'interrupted';
    }
    // The journal ends within its first line, so no other line was written.
    if (names.every((name) => name === journalName || isBeforeRun(name))) return 'new';
    throw new OutputFolderError(
      `${join(out, journalName)}: is damaged, and the folder is not empty: choose another output folder or remove ${out}`,
    );
  }
  const finished = await finishedRun(out, options);
  if (!finished) throw new OutputFolderError(notOurs(out));
  refuseOther(out, finished, identity, 'a finished');
  return 'finished';
}

/** @throws OutputFolderError when it is another run */
function refuseOther(out: string, { identity, version }: JournalOwner, own: string, what: string): void {
  if (identity === own) return;
  throw new OutputFolderError(
    version === toolkitVersion
      ? `${out}: exists, is not empty, and holds ${what} run of another recipe, model or calibration text: give the same ones to resume it, or choose another folder`
      : `${out}: holds ${what} run of version ${version}, and this is ${toolkitVersion}: finish it with that version, or choose another folder`,
  );
}
