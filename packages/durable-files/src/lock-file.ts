import { randomUUID } from 'node:crypto';
import { basename, dirname, join, resolve } from 'node:path';
import { QuantError } from '@q/core';
import type { FileOptions, FileSystem } from './file-system.js';
import { nodeFiles } from './node-files.js';
import { isRunning, type ProcessIdentity, thisProcess } from './running-process.js';
import { writeError } from './write-error.js';

/** Another process works on the same output. */
export class LockedError extends QuantError {
  override name = 'LockedError';
}

/** Held while a process writes; other processes that want the same lock are refused. */
export interface LockFile {
  release(): Promise<void>;
}

/**
 * Locks that this process holds. A lock of this process that is not in this set comes from a run that ended without
 * removing it.
 */
const held = new Set<string>();

/** Number of tries before an unreadable lock counts as stale: a process writes its lock within milliseconds. */
const tries = 20;
const pauseMilliseconds = 10;

/** A killed process exists until its memory is freed: 0.2 s for a run of SmolLM2-135M. */
const waitMilliseconds = 500;

/** The content of a lock's file. */
interface LockOwner extends ProcessIdentity {
  /** Identifies this use of the lock, since a process may take the same lock again. */
  readonly id?: string;
}

/**
 * Takes a lock: a file with the identity of the process that holds it. A lock whose process no longer runs is taken
 * over. A lock that is held is tried again for half a second.
 * @param what the locked thing, for the message
 * @throws LockedError naming the process
 */
export async function lockFile(path: string, what: string, options: FileOptions = {}): Promise<LockFile> {
  const { files = nodeFiles } = options;
  const key = resolve(path);
  const own: LockOwner = { ...(await thisProcess()), id: randomUUID() };
  const started = performance.now();
  for (let attempt = 0; ; attempt++) {
    if (held.has(key)) throw inUse(path, what, own);
    held.add(key);
    try {
      if (await create(path, own, files)) {
        await removeAsides(path, own, files);
        break;
      }
      const owner = await ownerOf(path, files);
      if (owner && (await isHeld(owner, own))) {
        if (performance.now() - started > waitMilliseconds) throw inUse(path, what, owner);
      } else if (owner || attempt >= tries) await removeStale(path, owner, files);
    } catch (error) {
      held.delete(key);
      throw error;
    }
    held.delete(key);
    if (attempt > 4 * tries + waitMilliseconds / pauseMilliseconds) throw inUse(path, what, own);
    await new Promise((resolve) => setTimeout(resolve, attempt < 2 ? 0 : pauseMilliseconds));
  }
  return {
    async release() {
      if (held.delete(key)) await files.remove(path);
    },
  };
}

async function create(path: string, own: LockOwner, files: FileSystem): Promise<boolean> {
  let made = false;
  try {
    const file = await files.open(path, 'exclusive');
    made = true;
    try {
      await file.write(new TextEncoder().encode(`${JSON.stringify(own)}\n`), 0);
    } finally {
      await file.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    if (made) await files.remove(path).catch(() => {});
    throw writeError(path, error);
  }
}

/** Undefined when the file has been removed meanwhile, or is not written yet. */
async function ownerOf(path: string, files: FileSystem): Promise<LockOwner | undefined> {
  const text = new TextDecoder().decode(await files.readFile(path));
  try {
    const { host, pid, started, id } = JSON.parse(text) as LockOwner;
    return typeof host === 'string' && Number.isInteger(pid) && typeof started === 'string'
      ? { host, pid, started, id }
      : undefined;
  } catch {
    return undefined;
  }
}

/**
 * A lock of this process would be in `held`. A process of another machine counts as running, since this machine cannot
 * check it.
 */
async function isHeld(owner: ProcessIdentity, own: ProcessIdentity): Promise<boolean> {
  if (owner.host === own.host && owner.pid === own.pid) return false;
  return (await isRunning(owner)) ?? true;
}

/**
 * Two processes may find the same stale lock, so it is renamed first. If it turns out to be a new lock, it gets its
 * name back.
 */
async function removeStale(path: string, stale: LockOwner | undefined, files: FileSystem): Promise<void> {
  const aside = `${path}.${randomUUID()}`;
  try {
    await files.rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw writeError(path, error);
  }
  const moved = await ownerOf(aside, files);
  if (moved && JSON.stringify(moved) !== JSON.stringify(stale)) await files.rename(aside, path);
  else await files.remove(aside);
}

/**
 * Removes the renamed locks of processes that died in {@link removeStale}. The caller holds the lock. A renamed lock
 * with the caller's own id stays: another process has renamed it by mistake, and is about to rename it back.
 */
async function removeAsides(path: string, own: LockOwner, files: FileSystem): Promise<void> {
  const start = `${basename(path)}.`;
  for (const name of (await files.list(dirname(path))) ?? []) {
    if (!name.startsWith(start) || !isId.test(name.slice(start.length))) continue;
    const aside = join(dirname(path), name);
    const owner = await ownerOf(aside, files);
    if (owner && (owner.id === own.id || (await isHeld(owner, own)))) continue;
    await files.remove(aside);
  }
}

const isId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const inUse = (path: string, what: string, { host, pid }: ProcessIdentity) =>
  new LockedError(
    `${what}: process ${pid} on ${host} is writing there: wait until it has ended, or choose another output ` +
      `(if there is no such process any more, remove ${path})`,
  );
