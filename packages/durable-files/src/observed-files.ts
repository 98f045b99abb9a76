import type { FileSystem, OpenFile } from './file-system.js';

/** An operation that changes the disk, or that makes a change durable. */
export type WriteOperation =
  | { readonly kind: 'create'; readonly path: string }
  | { readonly kind: 'write'; readonly path: string; readonly bytes: Uint8Array; readonly position: number }
  | { readonly kind: 'truncate'; readonly path: string; readonly bytes: number }
  | { readonly kind: 'sync'; readonly path: string }
  | { readonly kind: 'rename'; readonly path: string; readonly to: string }
  | { readonly kind: 'remove'; readonly path: string }
  | { readonly kind: 'makeFolder'; readonly path: string }
  | { readonly kind: 'removeFolder'; readonly path: string }
  | { readonly kind: 'syncFolder'; readonly path: string };

/**
 * A file system that calls `before` with each write operation; when `before` throws, the operation does not happen. For
 * tests of writers: {@link dyingFiles}, {@link fullFiles}, {@link recordingFiles}.
 */
export function observedFiles(files: FileSystem, before: (operation: WriteOperation) => void): FileSystem {
  const observed = (file: OpenFile, path: string): OpenFile => ({
    ...file,
    async write(bytes, position) {
      before({ kind: 'write', path, bytes, position });
      return file.write(bytes, position);
    },
    async truncate(bytes) {
      before({ kind: 'truncate', path, bytes });
      return file.truncate(bytes);
    },
    async sync() {
      before({ kind: 'sync', path });
      return file.sync();
    },
  });
  return {
    ...files,
    async open(path, mode) {
      // An exclusive operation that is refused changes nothing, but `before` is called for it, so the numbering of
      // operations stays the same.
      if (mode === 'create' || mode === 'exclusive') before({ kind: 'create', path });
      return observed(await files.open(path, mode), path);
    },
    async rename(path, to) {
      before({ kind: 'rename', path, to });
      return files.rename(path, to);
    },
    async remove(path) {
      before({ kind: 'remove', path });
      return files.remove(path);
    },
    async makeFolder(path) {
      before({ kind: 'makeFolder', path });
      return files.makeFolder(path);
    },
    async removeFolder(path) {
      before({ kind: 'removeFolder', path });
      return files.removeFolder(path);
    },
    async syncFolder(path) {
      before({ kind: 'syncFolder', path });
      return files.syncFolder(path);
    },
  };
}

/** Every write operation from number `dies` on (the first is 0) fails, and the disk no longer changes. */
export function dyingFiles(files: FileSystem, dies: number): FileSystem {
  let count = 0;
  return observedFiles(files, () => {
    if (count++ >= dies) throw Object.assign(new Error('EIO: the process died here'), { code: 'EIO' });
  });
}

/** Operations that need space on the disk; written data may need its space only when it is synced. */
const allocating = new Set<WriteOperation['kind']>(['create', 'write', 'truncate', 'makeFolder', 'sync']);

/** From write operation number `fullAt` on (the first is 0) the disk has no space left. */
export function fullFiles(files: FileSystem, fullAt: number): FileSystem {
  let count = 0;
  return observedFiles(files, ({ kind, path }) => {
    if (count++ < fullAt || !allocating.has(kind)) return;
    throw Object.assign(new Error(`ENOSPC: no space left on device, ${kind} '${path}'`), { code: 'ENOSPC' });
  });
}

/** Records every write operation, in order, with a copy of its data. */
export function recordingFiles(files: FileSystem): {
  readonly files: FileSystem;
  readonly operations: readonly WriteOperation[];
} {
  const operations: WriteOperation[] = [];
  const recording = observedFiles(files, (operation) => {
    operations.push(operation.kind === 'write' ? { ...operation, bytes: operation.bytes.slice() } : operation);
  });
  return { files: recording, operations };
}
