import { createHash, type Hash, webcrypto } from 'node:crypto';
import { dirname, join } from 'node:path';
import { FormatError, type Tensor } from '@q/core';
import {
  createDurableFile,
  type DurableFile,
  type FileOptions,
  type FileRecord,
  nodeFiles,
  partialName,
  reopenDurableFile,
  sumOf,
  writeError,
  writeFileDurably,
} from '@q/durable-files';
import type { PlannedFile, PlannedPlace, ShardPlan } from './shard-plan.js';
import { sumOfSums } from './weight-file-sum.js';

const indexName = 'model.safetensors.index.json';

/** SHA-256 of tensors' bytes in their files, hexadecimal, by name. */
export type TensorSums = Readonly<Record<string, string>>;

/** Writes the tensors of a plan, in any order and in pieces, each at its planned offset. */
export interface ShardWriter {
  readonly plan: ShardPlan;
  /** Writes a whole tensor; dtype and shape must be those of the plan. */
  write(name: string, tensor: Tensor): Promise<void>;
  /** Writes bytes of a tensor from `offset` (in bytes from the tensor's start). */
  writeBytes(name: string, bytes: Uint8Array, offset?: number): Promise<void>;
  /** Reads written bytes back, for a resumed run. */
  readBytes(name: string): Promise<Uint8Array>;
  /**
   * When this resolves, all earlier writes are on the disk.
   * @returns checksums of the tensors that were complete when it was called and that no earlier call returned
   */
  sync(): Promise<TensorSums>;
  /**
   * Compares the tensors in the files with the checksums of an earlier run.
   * @throws FormatError naming the first tensor that differs
   */
  verify(sums: TensorSums): Promise<void>;
  /** Syncs, gives the files their final names, writes the index last. */
  finish(): Promise<readonly FileRecord[]>;
  /** Closes the files; they stay, for a later resume. */
  close(): Promise<void>;
  /** Closes and removes all written files. */
  abort(): Promise<void>;
}

export interface ShardWriterOptions extends FileOptions {
  /** Continue in the files of an earlier run of the same plan. */
  readonly resume?: boolean;
  /** Tensors that the earlier run finished: their files must exist. */
  readonly finished?: TensorSums;
}

/**
 * Opens the files of a plan under temporary names (`*.partial`) in `folder`.
 * @throws FormatError when resuming and a file is not of this plan, or a file with finished tensors is absent
 * @throws WriteError naming the file
 */
export async function createShardWriter(
  folder: string,
  plan: ShardPlan,
  { resume = false, finished = {}, files = nodeFiles }: ShardWriterOptions = {},
): Promise<ShardWriter> {
  const place = (name: string): PlannedPlace => {
    const found = plan.places.get(name);
    if (!found) throw new FormatError(`${folder}: tensor ${name} is not in the plan of this checkpoint`);
    return found;
  };
  const partial = (file: string) => partialName(join(folder, file));
  const needed = new Set(Object.keys(finished).map((name) => place(name).file));
  const opened = new Map<string, DurableFile>();
  try {
    for (const file of plan.files) {
      const path = join(folder, file.name);
      const left = resume ? await reopen(path, file, needed.has(file.name), { files }) : undefined;
      opened.set(file.name, left ?? (await create(path, file, { files })));
    }
    // The journal refers to these files, so their names must be on the disk before it.
    await files.syncFolder(folder).catch((error) => Promise.reject(writeError(folder, error)));
  } catch (error) {
    for (const file of opened.values()) await (resume ? file.close() : file.abort()).catch(() => {});
    throw error;
  }
  const fileOf = (name: string) => opened.get(name) as DurableFile;
  const sums = createSums(plan, finished);

  async function put(name: string, bytes: Uint8Array, offset: number): Promise<void> {
    const { file, begin, end } = place(name);
    if (begin + offset + bytes.length > end) {
      throw new FormatError(
        `${partial(file)}: tensor ${name} has ${end - begin} bytes, ${offset + bytes.length} were to be written`,
      );
    }
    await fileOf(file).write(bytes, begin + offset);
  }

  async function readBytes(name: string): Promise<Uint8Array> {
    const { file, begin, end } = place(name);
    const bytes = new Uint8Array(end - begin);
    if ((await fileOf(file).read(bytes, begin)) !== bytes.length)
      throw new FormatError(`${partial(file)}: tensor ${name} is incomplete`);
    return bytes;
  }

  async function sync(): Promise<TensorSums> {
    const complete = sums.take();
    for (const file of opened.values()) await file.sync();
    return complete;
  }

  async function close(): Promise<void> {
    for (const file of opened.values()) await file.close();
  }

  return {
    plan,
    async write(name, tensor) {
      const { file, dtype, shape } = place(name);
      if (dtype !== tensor.dtype.toUpperCase() || `${shape}` !== `${tensor.shape}`) {
        throw new FormatError(
          `${partial(file)}: tensor ${name} was planned as ${dtype} [${shape}] and came as ${tensor.dtype.toUpperCase()} [${tensor.shape}]`,
        );
      }
      const bytes = new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength);
      // Waits for both, so the caller may reuse the memory.
      const [written, sum] = await Promise.allSettled([put(name, bytes, 0), sumOfLarge(bytes)]);
      if (written.status === 'rejected') throw written.reason;
      if (sum.status === 'rejected') throw sum.reason;
      sums.whole(name, sum.value);
    },
    async writeBytes(name, bytes, offset = 0) {
      await put(name, bytes, offset);
      sums.part(name, bytes, offset);
    },
    readBytes,
    sync,
    async verify(noted) {
      for (const [name, sum] of Object.entries(noted)) {
        if (sumOf(await readBytes(name)) === sum) continue;
        throw new FormatError(
          `${partial(place(name).file)}: tensor ${name} is not what the journal of the run says: the file was changed or damaged: ` +
            `remove the folder ${folder} and start again, or restore the file`,
        );
      }
    },
    async finish() {
      await sync();
      const records: FileRecord[] = [];
      for (const { name, byteLength, header } of plan.files) {
        const sum = await fileSum(name, header);
        await fileOf(name).commit();
        records.push({ file: name, bytes: byteLength, sum });
      }
      if (plan.index)
        records.push({ file: indexName, ...(await writeFileDurably(join(folder, indexName), plan.index, { files })) });
      return records;
    },
    close,
    async abort() {
      for (const file of opened.values()) await file.abort();
    },
  };

  async function fileSum(file: string, header: Uint8Array): Promise<string> {
    const own: string[] = [];
    for (const name of tensorsOf(plan, file)) own.push(sums.of(name) ?? sumOf(await readBytes(name)));
    return sumOfSums(header, own);
  }
}

/** Names of the tensors in a file, in the order of their bytes. */
function tensorsOf(plan: ShardPlan, file: string): readonly string[] {
  return [...plan.places]
    .filter(([, place]) => place.file === file)
    .sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
    .map(([name]) => name);
}

/** Runs off the main thread. Memory that other threads can write to is copied first: WebCrypto refuses it. */
async function sumOfLarge(bytes: Uint8Array): Promise<string> {
  const own = bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : Uint8Array.from(bytes);
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', own)).toString('hex');
}

/** Checksums of tensors as they are written: whole, or in consecutive pieces. */
function createSums(plan: ShardPlan, finished: TensorSums) {
  const known = new Map<string, string>(Object.entries(finished));
  const parts = new Map<string, { readonly hash: Hash; done: number }>();
  let fresh: string[] = [];
  const whole = (name: string, sum: string) => {
    known.set(name, sum);
    fresh.push(name);
  };
  return {
    whole,
    part(name: string, bytes: Uint8Array, offset: number): void {
      const { begin, end } = plan.places.get(name) as PlannedPlace;
      known.delete(name);
      if (offset === 0) parts.set(name, { hash: createHash('sha256'), done: 0 });
      const part = parts.get(name);
      if (part?.done !== offset) {
        parts.delete(name);
        return;
      }
      part.hash.update(bytes);
      part.done += bytes.length;
      if (part.done < end - begin) return;
      parts.delete(name);
      whole(name, part.hash.digest('hex'));
    },
    of: (name: string) => known.get(name),
    take(): TensorSums {
      const taken = fresh;
      fresh = [];
      return Object.fromEntries(taken.flatMap((name) => (known.has(name) ? [[name, known.get(name) as string]] : [])));
    },
  };
}

async function reopen(
  path: string,
  planned: PlannedFile,
  needed: boolean,
  options: FileOptions,
): Promise<DurableFile | undefined> {
  const file = await reopenDurableFile(path, options);
  const partial = partialName(path);
  if (!file) {
    if (!needed) return undefined;
    throw new FormatError(
      `${partial}: does not exist, although the journal of the run says that tensors in it are finished: ` +
        `put the file back, or remove the folder ${dirname(path)} and start again`,
    );
  }
  const header = new Uint8Array(planned.header.length);
  await file.read(header, 0);
  if ((await file.size()) === planned.byteLength && Buffer.compare(header, planned.header) === 0) return file;
  await file.close();
  // A crash while the file was made left zeros or too few bytes, and no finished tensor is in it.
  if (!needed && header.every((byte, i) => byte === 0 || byte === planned.header[i])) return undefined;
  throw new FormatError(`${partial}: was left by a run with another plan: remove it, or choose another output folder`);
}

async function create(path: string, planned: PlannedFile, options: FileOptions): Promise<DurableFile> {
  const file = await createDurableFile(path, options);
  try {
    await file.write(planned.header, 0);
    await file.truncate(planned.byteLength);
    return file;
  } catch (error) {
    await file.abort().catch(() => {});
    throw error;
  }
}
