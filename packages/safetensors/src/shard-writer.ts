import { type FileHandle, open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, type Tensor } from '@q/core';
import type { PlannedFile, PlannedPlace, ShardPlan } from './shard-plan.js';
import { writeError } from './write-error.js';

const indexName = 'model.safetensors.index.json';
const partial = (file: string) => `${file}.partial`;

/** Writes the tensors of a plan, in any order and in pieces, each at its planned place. */
export interface ShardWriter {
  readonly plan: ShardPlan;
  /** Writes a whole tensor; dtype and shape must be those of the plan. */
  write(name: string, tensor: Tensor): Promise<void>;
  /** Writes bytes of a tensor from `offset` (bytes from the tensor's begin). */
  writeBytes(name: string, bytes: Uint8Array, offset?: number): Promise<void>;
  /** Reads back what was written, for a resumed run. */
  readBytes(name: string): Promise<Uint8Array>;
  /** Everything written so far is on the disk when this resolves. */
  sync(): Promise<void>;
  /** Syncs, gives the files their final names, writes the index last. */
  finish(): Promise<readonly string[]>;
  /** Closes the files; they stay, for a later resume. */
  close(): Promise<void>;
  /** Closes and removes everything that was written. */
  abort(): Promise<void>;
}

export interface ShardWriterOptions {
  /** Continue in the partial files that an earlier run of the same plan has left. */
  readonly resume?: boolean;
}

/**
 * Opens the files of a plan under temporary names (`*.partial`) in `folder`.
 * @throws FormatError when resuming and a partial file is not of this plan
 * @throws WriteError naming the file
 */
export async function createShardWriter(
  folder: string,
  plan: ShardPlan,
  options: ShardWriterOptions = {},
): Promise<ShardWriter> {
  const handles = new Map<string, FileHandle>();
  try {
    for (const file of plan.files) handles.set(file.name, await openPartial(folder, file, options.resume ?? false));
  } catch (error) {
    for (const handle of handles.values()) await handle.close();
    throw error;
  }

  const place = (name: string): PlannedPlace => {
    const found = plan.places.get(name);
    if (!found) throw new FormatError(`${folder}: tensor ${name} is not in the plan of this checkpoint`);
    return found;
  };
  const path = (file: string) => join(folder, partial(file));

  async function writeBytes(name: string, bytes: Uint8Array, offset = 0): Promise<void> {
    const { file, begin, end } = place(name);
    if (begin + offset + bytes.length > end) {
      throw new FormatError(
        `${path(file)}: tensor ${name} has room for ${end - begin} bytes, ${offset + bytes.length} were to be written`,
      );
    }
    await writeAll(handles.get(file) as FileHandle, path(file), bytes, begin + offset);
  }

  async function sync(): Promise<void> {
    for (const [file, handle] of handles)
      await handle.datasync().catch((error) => Promise.reject(writeError(path(file), error)));
  }

  async function close(): Promise<void> {
    for (const handle of handles.values()) await handle.close();
    handles.clear();
  }

  return {
    plan,
    async write(name, tensor) {
      const { file, dtype, shape } = place(name);
      if (dtype !== tensor.dtype.toUpperCase() || `${shape}` !== `${tensor.shape}`) {
        throw new FormatError(
          `${path(file)}: tensor ${name} was planned as ${dtype} [${shape}] and came as ${tensor.dtype.toUpperCase()} [${tensor.shape}]`,
        );
      }
      await writeBytes(name, new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
    },
    writeBytes,
    async readBytes(name) {
      const { file, begin, end } = place(name);
      const bytes = new Uint8Array(end - begin);
      const { bytesRead } = await (handles.get(file) as FileHandle).read(bytes, 0, bytes.length, begin);
      if (bytesRead !== bytes.length) throw new FormatError(`${path(file)}: tensor ${name} is not there completely`);
      return bytes;
    },
    sync,
    async finish() {
      await sync();
      await close();
      for (const { name } of plan.files)
        await rename(path(name), join(folder, name)).catch((error) => Promise.reject(writeError(path(name), error)));
      const names = plan.files.map(({ name }) => name);
      if (!plan.index) return names;
      await writeFile(path(indexName), plan.index).catch((error) => Promise.reject(writeError(path(indexName), error)));
      await rename(path(indexName), join(folder, indexName));
      return [...names, indexName];
    },
    close,
    async abort() {
      await close();
      for (const { name } of plan.files) await rm(path(name), { force: true });
      await rm(path(indexName), { force: true });
    },
  };
}

async function openPartial(folder: string, file: PlannedFile, resume: boolean): Promise<FileHandle> {
  const path = join(folder, partial(file.name));
  if (resume) {
    const existing = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw writeError(path, error);
    });
    if (existing) {
      const header = new Uint8Array(file.header.length);
      await existing.read(header, 0, header.length, 0);
      if ((await existing.stat()).size === file.byteLength && Buffer.compare(header, file.header) === 0)
        return existing;
      await existing.close();
      throw new FormatError(`${path}: was left by a run with another plan: remove it, or choose another output folder`);
    }
  }
  const handle = await open(path, 'w+').catch((error) => Promise.reject(writeError(path, error)));
  try {
    await writeAll(handle, path, file.header, 0);
    await handle.truncate(file.byteLength);
    return handle;
  } catch (error) {
    await handle.close();
    await rm(path, { force: true });
    throw error instanceof FormatError ? error : writeError(path, error, file.byteLength);
  }
}

async function writeAll(handle: FileHandle, path: string, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesWritten } = await handle
      .write(bytes, done, bytes.length - done, position + done)
      .catch((error) => Promise.reject(writeError(path, error, bytes.length)));
    done += bytesWritten;
  }
}
