import { dirname } from 'node:path';
import { FormatError } from '@q/core';
import {
  type FileOptions,
  type FileRecord,
  type LockFile,
  type LogLine,
  lockFile,
  makeFolders,
  openLineLog,
  readLineLog,
} from '@q/durable-files';
import type { TensorSums } from '@q/safetensors';
import type { TransformRow } from '../report/report.js';
import { toolkitVersion } from './toolkit-version.js';

/** The journal's entry for a finished piece of work: a block, or a single module. */
export interface JournalEntry<Row> {
  readonly unit: string;
  readonly rows: readonly Row[];
  /** The results of transforms for the unit. */
  readonly transforms?: readonly TransformRow[];
  /** Sums of the tensors that reached the disk since the previous entry. */
  readonly tensors?: TensorSums;
  readonly notes?: readonly string[];
}

/**
 * A file with one JSON line for the identity of the run, then one for each finished unit. A line is appended only after
 * its data is on the disk, so everything that the journal names exists after a crash. A torn last line is ignored.
 */
export interface Journal<Row> {
  readonly finished: ReadonlyMap<string, readonly Row[]>;
  readonly transforms: readonly TransformRow[];
  readonly notes: readonly string[];
  /** Sums of the tensors of finished units. A resumed run compares them with the files. */
  readonly tensors: TensorSums;
  /** All files of the result; undefined until the result is whole. */
  readonly files: readonly FileRecord[] | undefined;
  /** The engine and kernels that have computed the run so far. */
  readonly computedWith: string | undefined;
  /**
   * Records the engine and kernels of the run. Engines and kernels differ in the last bits of a sum, so a run must end
   * with those with which it began.
   * @returns the engine and kernels of an earlier part of the run if they are different
   */
  computeWith(name: string): Promise<string | undefined>;
  append(entry: JournalEntry<Row>): Promise<void>;
  /** Records that tensors of finished units will be overwritten, so their sums no longer hold. */
  overwrite(): Promise<void>;
  /** Records that the result is whole. */
  complete(files: readonly FileRecord[]): Promise<void>;
  close(): Promise<void>;
}

export const journalName = 'q-journal.jsonl';

/** The run to which a journal belongs. */
export interface JournalOwner {
  readonly identity: string;
  /** Version of the toolkit that began the run. */
  readonly version: string;
}

/**
 * The run to which a journal belongs; undefined if there is no journal, or it ends within its first line.
 * @throws FormatError when the file is damaged, or not a journal
 */
export async function journalOwner(path: string, options: FileOptions = {}): Promise<JournalOwner | undefined> {
  const [first] = await readLineLog(path, options);
  return first && ownerOf(path, first);
}

function ownerOf(path: string, { identity, version }: LogLine): JournalOwner {
  if (typeof identity !== 'string' || typeof version !== 'string')
    throw new FormatError(`${path}: is not a journal of a run: remove the folder ${dirname(path)} and start again`);
  return { identity, version };
}

/**
 * Opens or makes the journal. `finished` has the units that an earlier run of the same identity finished.
 * @param lock is released when the journal is closed
 */
export async function openJournal<Row>(
  path: string,
  identity: string,
  options: FileOptions = {},
  lock?: LockFile,
): Promise<Journal<Row>> {
  const log = await openLineLog(path, { identity, version: toolkitVersion }, options);
  const finished = new Map<string, readonly Row[]>();
  const transforms: TransformRow[] = [];
  const notes: string[] = [];
  let tensors: Record<string, string> = {};
  let files: readonly FileRecord[] | undefined;
  let computedWith: string | undefined;
  const take = (line: LogLine, number: number) => {
    if (typeof line.computedWith === 'string') computedWith = line.computedWith;
    else if (line.overwrite === true) tensors = {};
    else if (Array.isArray(line.files)) files = line.files as FileRecord[];
    else if (typeof line.unit === 'string' && Array.isArray(line.rows)) {
      const entry = line as unknown as JournalEntry<Row>;
      finished.set(entry.unit, entry.rows);
      transforms.push(...(entry.transforms ?? []));
      notes.push(...(entry.notes ?? []));
      Object.assign(tensors, entry.tensors);
    } else
      throw new FormatError(
        `${path}: line ${number} is not a line of a run's journal: remove ${dirname(path)} and start again`,
      );
  };
  try {
    for (const [index, line] of log.lines.entries()) {
      if (index === 0) ownerOf(path, line);
      else take(line, index + 1);
    }
  } catch (error) {
    await log.close();
    throw error;
  }
  const write = async (line: LogLine) => {
    await log.append(line);
    take(line, 0);
  };
  return {
    finished,
    transforms,
    notes,
    get tensors() {
      return tensors;
    },
    get files() {
      return files;
    },
    get computedWith() {
      return computedWith;
    },
    async computeWith(name) {
      if (computedWith === undefined) await write({ computedWith: name });
      return computedWith === name ? undefined : computedWith;
    },
    append: (entry) => write({ ...entry }),
    async overwrite() {
      if (Object.keys(tensors).length > 0) await write({ overwrite: true });
    },
    complete: (records) => write({ files: records }),
    async close() {
      await log.close();
      await lock?.release();
    },
  };
}

/** Name of the lock of a preparation's file. A process holds it while it works on the file. */
export const preparationLock = (file: string) => `${file}.lock`;

/**
 * The journal of a preparation (sensitivities, written text), which has its own file. Makes the file's folder, and
 * locks the file for other processes until the journal is closed.
 * @param foreign message about a file that belongs to another preparation
 * @throws FormatError when the file is not a journal, or has another identity
 * @throws LockedError when another process works on the file
 */
export async function openPreparation<Row>(
  file: string,
  identity: string,
  foreign: string,
  options: FileOptions = {},
): Promise<Journal<Row>> {
  await makeFolders(dirname(file), options);
  const lock = await lockFile(preparationLock(file), file, options);
  try {
    const found = await journalOwner(file, options);
    if (found !== undefined && found.identity !== identity) throw new FormatError(`${file}: ${foreign}`);
    return await openJournal<Row>(file, identity, options, lock);
  } catch (error) {
    await lock.release().catch(() => {});
    throw error;
  }
}

/** @throws FormatError when another engine or other kernels began the preparation: their last bits differ */
export async function continueWith<Row>(
  journal: Journal<Row>,
  file: string,
  engine: { readonly name: string },
  kernels: { readonly name: string },
): Promise<void> {
  const own = `${engine.name}, ${kernels.name}`;
  const earlier = await journal.computeWith(own);
  if (earlier !== undefined)
    throw new FormatError(
      `${file}: was begun with ${earlier}; this run computes with ${own}: choose the same engine to continue, or another file`,
    );
}
