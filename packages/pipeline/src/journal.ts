import { type FileHandle, mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { FormatError } from '@q/core';
import type { TransformRow } from './report.js';

/** What a finished piece of work (a block, or a single module) leaves in the journal. */
export interface JournalEntry<Row> {
  readonly unit: string;
  readonly rows: readonly Row[];
  /** What transforms did to the unit. */
  readonly transforms?: readonly TransformRow[];
}

/**
 * One JSON line for the identity of the run, then one for each finished unit. A line is appended only after the data it
 * speaks of is on the disk, so whatever the journal names can be relied on after a crash; a torn last line is ignored.
 */
export interface Journal<Row> {
  readonly finished: ReadonlyMap<string, readonly Row[]>;
  readonly transforms: readonly TransformRow[];
  /**
   * Notes what computes the run. Engines and kernels differ in the last bits of a sum, so a run must be ended on what it was
   * begun with.
   * @returns what an earlier part of the run was computed with when that is something else
   */
  computeWith(name: string): Promise<string | undefined>;
  append(entry: JournalEntry<Row>): Promise<void>;
  close(): Promise<void>;
}

export const journalName = 'q-journal.jsonl';

/** The identity in a journal, or nothing when there is no journal or it is torn before its first line ended. */
export async function journalIdentity(path: string): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const end = text.indexOf('\n');
  if (end < 0) return undefined;
  const first = JSON.parse(text.slice(0, end));
  if (typeof first?.identity !== 'string') throw new FormatError(`${path}: is not a journal of a run`);
  return first.identity;
}

/** Opens or makes the journal. What an earlier run of the same identity finished is in `finished`. */
export async function openJournal<Row>(path: string, identity: string): Promise<Journal<Row>> {
  const found = await journalIdentity(path);
  const finished = new Map<string, readonly Row[]>();
  const transforms: TransformRow[] = [];
  let computedWith: string | undefined;
  const handle: FileHandle = await open(path, found === undefined ? 'w+' : 'r+');
  let position = 0;
  const write = async (value: unknown) => {
    const line = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
    await handle.write(line, 0, line.length, position);
    await handle.datasync();
    position += line.length;
  };
  if (found === undefined) {
    await write({ identity });
  } else {
    const text = await readFile(path, 'utf8');
    const whole = text.slice(0, text.lastIndexOf('\n') + 1);
    for (const line of whole.split('\n').slice(1)) {
      if (!line) continue;
      const entry = JSON.parse(line) as JournalEntry<Row> | { readonly computedWith: string };
      if ('computedWith' in entry) {
        computedWith = entry.computedWith;
        continue;
      }
      finished.set(entry.unit, entry.rows);
      transforms.push(...(entry.transforms ?? []));
    }
    position = new TextEncoder().encode(whole).length;
    await handle.truncate(position);
  }
  return {
    finished,
    transforms,
    async computeWith(name) {
      if (computedWith === undefined) {
        computedWith = name;
        await write({ computedWith });
      }
      return computedWith === name ? undefined : computedWith;
    },
    async append(entry) {
      await write(entry);
      finished.set(entry.unit, entry.rows);
      transforms.push(...(entry.transforms ?? []));
    },
    close: () => handle.close(),
  };
}

/**
 * The journal of a preparation (sensitivities, written text) that lies in a file of its own; its folder is made.
 * @param foreign what to say of a file that holds another one
 * @throws FormatError when it is not a journal, or that of another identity
 */
export async function openPreparation<Row>(file: string, identity: string, foreign: string): Promise<Journal<Row>> {
  await mkdir(dirname(file), { recursive: true });
  const found = await journalIdentity(file);
  if (found !== undefined && found !== identity) throw new FormatError(`${file}: ${foreign}`);
  return openJournal<Row>(file, identity);
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
