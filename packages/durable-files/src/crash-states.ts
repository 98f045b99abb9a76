import { dirname } from 'node:path';
import type { WriteOperation } from './observed-files.js';

/**
 * The operations that survive a crash. After `kill`: all of them (the system still has them). After `torn`: all, and
 * the first half of the current write. After `powerCut`: names and data that were synced. After `namesFirst`: all
 * names, and synced data (the rest of a file reads as zeros, as on file systems that write names before data).
 */
export type Survivors = 'kill' | 'torn' | 'powerCut' | 'namesFirst';

/** Content by path; `undefined` for a folder. */
export type Disk = ReadonlyMap<string, Uint8Array | undefined>;

interface Inode {
  data: Uint8Array;
  synced: Uint8Array;
}

/** What is at a path: a file, or a folder. */
type Entry = Inode | 'folder';

/**
 * The disk after a crash before each operation of a recorded run, and after the last one; for `torn` within each of its
 * writes. Files from before the run are not in it. A state is valid until the next one is taken.
 * @param operations of {@link recordingFiles}
 */
export function* crashStates(operations: readonly WriteOperation[], survivors: Survivors): Generator<Disk> {
  const now = new Map<string, Entry>();
  const synced = new Map<string, Entry>();
  const made = new Set(operations.filter(({ kind }) => kind === 'makeFolder').map(({ path }) => path));
  if (survivors !== 'torn') yield diskOf(now, made, survivors);
  for (const operation of operations) {
    if (survivors === 'torn' && operation.kind === 'write') {
      const { bytes } = operation;
      apply({ ...operation, bytes: bytes.subarray(0, bytes.length >> 1) }, now, synced);
      yield diskOf(now, made, survivors);
    }
    apply(operation, now, synced);
    if (survivors !== 'torn') yield diskOf(survivors === 'powerCut' ? synced : now, made, survivors);
  }
}

function diskOf(names: ReadonlyMap<string, Entry>, made: ReadonlySet<string>, survivors: Survivors): Disk {
  const disk = new Map<string, Uint8Array | undefined>();
  for (const [path, entry] of [...names].sort(([a], [b]) => (a < b ? -1 : 1)))
    if (!isOrphan(path, names, made)) disk.set(path, entry === 'folder' ? undefined : contentOf(entry, survivors));
  return disk;
}

function contentOf({ data, synced }: Inode, survivors: Survivors): Uint8Array {
  if (survivors === 'kill' || survivors === 'torn') return data;
  if (survivors === 'powerCut') return synced;
  return resized(synced, data.length);
}

/** A synced name in a folder of the run whose own name was not synced: no path leads there. */
function isOrphan(path: string, names: ReadonlyMap<string, Entry>, made: ReadonlySet<string>): boolean {
  for (let parent = dirname(path); parent !== dirname(parent); parent = dirname(parent))
    if (made.has(parent) && !names.has(parent)) return true;
  return false;
}

function resized(data: Uint8Array, bytes: number): Uint8Array {
  const out = new Uint8Array(bytes);
  out.set(data.subarray(0, bytes));
  return out;
}

function apply(operation: WriteOperation, now: Map<string, Entry>, synced: Map<string, Entry>): void {
  const { path } = operation;
  const file = (): Inode => {
    const entry = now.get(path);
    if (!entry || entry === 'folder') throw new Error(`${path}: is ${entry ?? 'not there'} at ${operation.kind}`);
    return entry;
  };
  switch (operation.kind) {
    case 'create': {
      const entry = now.get(path);
      if (entry && entry !== 'folder') entry.data = new Uint8Array(0);
      else now.set(path, { data: new Uint8Array(0), synced: new Uint8Array(0) });
      return;
    }
    case 'write': {
      const inode = file();
      const { bytes, position } = operation;
      if (position + bytes.length > inode.data.length) inode.data = resized(inode.data, position + bytes.length);
      inode.data.set(bytes, position);
      return;
    }
    case 'truncate': {
      const inode = file();
      inode.data = resized(inode.data, operation.bytes);
      return;
    }
    case 'sync': {
      const inode = file();
      inode.synced = inode.data.slice();
      return;
    }
    case 'rename':
      now.set(operation.to, now.get(path) as Entry);
      now.delete(path);
      return;
    case 'remove':
    case 'removeFolder':
      now.delete(path);
      return;
    case 'makeFolder':
      now.set(path, 'folder');
      return;
    case 'syncFolder': {
      for (const name of [...synced.keys()]) if (dirname(name) === path && !now.has(name)) synced.delete(name);
      for (const [name, entry] of now) if (dirname(name) === path) synced.set(name, entry);
      return;
    }
  }
}
