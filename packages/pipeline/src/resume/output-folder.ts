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
 * The output folder exists and is neither empty nor a run of the same recipe, model and calibration data, or it was begun with
 * another engine.
 */
export class OutputFolderError extends QuantError {
  override name = 'OutputFolderError';
}

/** Held by the process that writes into the folder. */
const lockName = 'q-lock.json';

/** What is made before the run, and kept in its folder while it lasts. */
const preparations = [sensitivityName, writtenTextName];

/** Files that wait in the folder while a run lasts, beside its journal. */
const transient = [...preparations, ...activationFiles];

/** What may lie in a folder in which no run has begun yet. A lock that is taken over has more letters behind its name for a moment. */
const isBeforeRun = (name: string) =>
  name.startsWith(lockName) ||
  preparations.some((preparation) => name === preparation || name.startsWith(preparationLock(preparation)));

/**
 * Refuses an output folder that holds something else than a run, before anything is computed for it.
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

/** What is said when a run was begun with another engine or other kernels. */
export const otherEngine = (out: string, earlier: string, own: string) =>
  `${out}: holds an interrupted run that was computed with ${earlier}; this one computes with ${own}, whose last bits differ: choose the same engine to resume it, or another folder`;

/** An output folder that this process alone writes into. */
export interface OutputFolder {
  /** `interrupted`: a journal of the same run lies in it; `finished`: a report of the same run and no journal. */
  readonly state: 'new' | 'interrupted' | 'finished';
  /** Removes what a run keeps in its folder while it lasts, the journal last of all. */
  settle(): Promise<void>;
  /** Lets other processes in; removes the folder when nothing is in it. */
  leave(): Promise<void>;
}

/**
 * Makes the folder, or finds a run of the same identity in it, and locks it.
 * @throws OutputFolderError when it holds something else
 * @throws LockedError when another process writes into it
 * @throws FormatError when the journal in it is damaged
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
    // Before the lock: nothing is written into a folder that is not ours. After it: a process that was there has left.
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
    // Torn within its first line: nothing can have followed it.
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
