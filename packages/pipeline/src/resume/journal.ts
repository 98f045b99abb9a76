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

/** What a finished piece of work (a block, or a single module) leaves in the journal. */
export interface JournalEntry<Row> {
  readonly unit: string;
  readonly rows: readonly Row[];
  /** What transforms did to the unit. */
  readonly transforms?: readonly TransformRow[];
  /** Sums of the tensors that are on the disk since the entry before. */
  readonly tensors?: TensorSums;
  readonly notes?: readonly string[];
}

/**
 * One JSON line for the identity of the run, then one for each finished unit. A line is appended only after the data it
 * speaks of is on the disk, so whatever the journal names can be relied on after a crash; a torn last line is ignored.
 */
export interface Journal<Row> {
  readonly finished: ReadonlyMap<string, readonly Row[]>;
  readonly transforms: readonly TransformRow[];
  readonly notes: readonly string[];
  /** Sums of what the finished units have written: a resumed run compares it with the files. */
  readonly tensors: TensorSums;
  /** All files of the result; nothing before the last one has its name. */
  readonly files: readonly FileRecord[] | undefined;
  /** What the run was computed with so far. */
  readonly computedWith: string | undefined;
  /**
   * Notes what computes the run. Engines and kernels differ in the last bits of a sum, so a run must be ended on what it was
   * begun with.
   * @returns what an earlier part of the run was computed with when that is something else
   */
  computeWith(name: string): Promise<string | undefined>;
  append(entry: JournalEntry<Row>): Promise<void>;
  /** Tensors of finished units are going to be written over: their sums no longer hold. */
  overwrite(): Promise<void>;
  /** Notes that the result is whole. */
  complete(files: readonly FileRecord[]): Promise<void>;
  close(): Promise<void>;
}

export const journalName = 'q-journal.jsonl';

/** Whose run a journal is of. */
export interface JournalOwner {
  readonly identity: string;
  /** Version of the toolkit that began it. */
  readonly version: string;
}

/**
 * The run that a journal is of, or nothing when there is no journal or it is torn before its first line ended.
 * @throws FormatError when it is damaged, or no journal
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
 * Opens or makes the journal. What an earlier run of the same identity finished is in `finished`.
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
    } else throw new FormatError(`${path}: line ${number} is none of a run: remove ${dirname(path)} and start again`);
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

/** What belongs to a preparation's file while a process works on it. */
export const preparationLock = (file: string) => `${file}.lock`;

/**
 * The journal of a preparation (sensitivities, written text) that lies in a file of its own; its folder is made, and other
 * processes are kept away from it until it is closed.
 * @param foreign what to say of a file that holds another one
 * @throws FormatError when it is not a journal, or that of another identity
 * @throws LockedError when another process is at it
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

/** @throws FormatError when a preparation was begun with another engine or other kernels: their last bits differ */
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
      `${file}: was begun with ${earlier}; this run computes with ${own}: choose the same engine to go on, or another file`,
    );
}
