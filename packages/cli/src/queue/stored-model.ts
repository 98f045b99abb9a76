import { realpath } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { type Checkpoint, openModelParts } from '@q/checkpoint';
import { type ProgressEvent, viewBytes } from '@q/core';
import { objectName, type Store, StoreError, sumOfParts } from '@q/distributed';
import { sumOf } from '@q/durable-files';
import type { Vocabulary } from '@q/pipeline';
import { coreDtype, readTensor, type ShardReader, type TensorEntry } from '@q/safetensors';
import { readersOf } from '../registry.js';

/** A tensor of a model, with the position of its bytes in the store. */
interface StoredTensor extends Pick<TensorEntry, 'name' | 'dtype' | 'shape'> {
  readonly bytes: number;
  /** SHA-256 of the bytes; absent if the store does not have them. */
  readonly sum?: string;
  /** A part of a file of the store; absent: the object named by the checksum. */
  readonly at?: { readonly object: string; readonly begin: number };
}

/** The data about a model that a worker needs before it reads a weight. */
export interface StoredModel {
  readonly name: string;
  /** Text of config.json. */
  readonly config: string;
  readonly tensors: readonly StoredTensor[];
}

/** Number of tensors that are uploaded at the same time. */
const uploads = 4;

/**
 * Puts the tensors of a model into a store, each with the checksum of its bytes as name. A model whose files are in the
 * store's own folder is read there, without a copy.
 */
export async function storeModel(
  checkpoint: Checkpoint,
  store: Store,
  { signal, progress }: { signal?: AbortSignal; progress(event: ProgressEvent): void },
): Promise<StoredModel> {
  const places = new Map<string, string | undefined>();
  // For a GGUF file the store has values, which are not the bytes of the file.
  for (const file of new Set([...checkpoint.tensors.values()].map((entry) => entry.file)))
    places.set(file, checkpoint.storedBytes ? undefined : await placeInStore(join(checkpoint.path, file), store));
  const entries = [...checkpoint.tensors.values()];
  const tensors: StoredTensor[] = [];
  let [next, done] = [0, 0];
  const work = async () => {
    while (next < entries.length) {
      const index = next++;
      const { name, dtype, shape, file, begin, end } = entries[index];
      signal?.throwIfAborted();
      const bytes = await checkpoint.readBytes(name);
      const sum = sumOf(bytes);
      const object = places.get(file);
      if (object === undefined) await store.publish(objectName('tensors', sum), bytes);
      tensors[index] = {
        ...{ name, dtype, shape, bytes: end - begin, sum },
        ...(object === undefined ? {} : { at: { object, begin } }),
      };
      progress({ task: 'store', done: ++done, total: entries.length, unit: 'tensors', note: name });
    }
  };
  // After one failure the others end at their next tensor.
  const all = await Promise.allSettled(
    Array.from({ length: uploads }, () =>
      work().catch((error) => {
        next = entries.length;
        throw error;
      }),
    ),
  );
  for (const each of all) if (each.status === 'rejected') throw each.reason;
  return { name: checkpoint.path, config: (await checkpoint.files.text('config.json')) as string, tensors };
}

/** The data of a model for a plan: its tensors are not in the store. */
export async function describeModel(checkpoint: Checkpoint): Promise<StoredModel> {
  const tensors = [...checkpoint.tensors.values()].map(({ name, dtype, shape, begin, end }) => ({
    ...{ name, dtype, shape, bytes: end - begin },
  }));
  return { name: checkpoint.path, config: (await checkpoint.files.text('config.json')) as string, tensors };
}

/** The name of a file as an object of a folder store; undefined when it is elsewhere. */
async function placeInStore(path: string, store: Store): Promise<string | undefined> {
  const root = await realpath(store.name).catch(() => undefined);
  if (root === undefined) return undefined;
  const inside = relative(root, await realpath(path));
  return inside === '' || inside.startsWith('..') || inside.startsWith(sep) ? undefined : inside.split(sep).join('/');
}

/**
 * Puts a JSON text into the store, with its checksum as name.
 * @returns the name of the object
 */
export async function publishText(store: Store, value: unknown): Promise<string> {
  const text = JSON.stringify(value);
  const name = objectName('runs', sumOfParts(text));
  await store.publish(name, new TextEncoder().encode(text));
  return name;
}

/**
 * Reads the value of {@link publishText}.
 * @throws StoreError when the store lacks it, or has another text with this name
 */
export async function readText<T>(store: Store, name: string, what: string): Promise<T> {
  const bytes = await store.read(name);
  if (!bytes) throw new StoreError(`${store.name}: lacks ${name}, ${what}: is it the store of the run?`);
  const text = new TextDecoder().decode(bytes);
  if (objectName('runs', sumOfParts(text)) !== name)
    throw new StoreError(`${store.name}: ${name}, ${what}, is damaged: its checksum differs`);
  return JSON.parse(text);
}

/**
 * Opens a model whose weights are in a store. Each tensor is verified by its checksum when it is read.
 * @throws StoreError naming the tensor that the store lacks, or has with other bytes
 */
export function openStoredModel(model: StoredModel, store: Store, vocabulary: Vocabulary): Promise<Checkpoint> {
  const byName = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  // The last one: rows of a tensor are read one after the other.
  let last: { readonly name: string; readonly bytes: Promise<Uint8Array> } | undefined;
  const bytesOf = (name: string): Promise<Uint8Array> => {
    const tensor = byName.get(name);
    if (!tensor) throw new StoreError(`${model.name}: has no tensor ${name}`);
    if (last?.name !== name) {
      const bytes = readStored(tensor, model, store);
      last = { name, bytes };
      bytes.catch(() => {
        last = undefined;
      });
    }
    return last.bytes;
  };
  const entries = new Map(
    model.tensors.map(({ name, dtype, shape, bytes }) => [
      name,
      { name, dtype, shape, begin: 0, end: bytes, file: 'the store' },
    ]),
  );
  const shards: ShardReader = {
    entries,
    files: [],
    notes: [],
    async read(name) {
      const entry = entries.get(name) as TensorEntry;
      const bytes = await bytesOf(name);
      const dtype = coreDtype(entry.dtype);
      if (dtype) return { dtype, shape: entry.shape, data: viewBytes(dtype, bytes) };
      const source = { name: store.name, byteLength: bytes.length, slice: async () => bytes, close: async () => {} };
      return readTensor(source, entry);
    },
    readBytes: async (name, start = 0, end) => (await bytesOf(name)).subarray(start, end),
    close: async () => {},
  };
  return openModelParts(
    { name: model.name, config: model.config, shards },
    readersOf(vocabulary),
    vocabulary.architectures,
  );
}

async function readStored({ name, sum, bytes, at }: StoredTensor, model: StoredModel, store: Store) {
  if (sum === undefined) throw new StoreError(`${store.name}: the run has put no weights of ${name} into it`);
  const object = at?.object ?? objectName('tensors', sum);
  const found = await (at ? store.read(object, at.begin, at.begin + bytes) : store.read(object));
  if (!found) throw new StoreError(`${store.name}: lacks ${object}, the weights of ${name} of ${model.name}`);
  if (sumOf(found) !== sum)
    throw new StoreError(
      `${store.name}: ${object} has other bytes for ${name} than when the run began: the file was changed or damaged`,
    );
  return found;
}
