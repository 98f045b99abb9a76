import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, type Tensor } from '@q/core';
import { type ByteSource, openFile } from './byte-source.js';
import { readHeader, type TensorEntry } from './header.js';
import { readTensor, readTensorBytes } from './read-tensor.js';

/** The tensors of a folder, wherever they are. */
export interface ShardReader {
  readonly entries: ReadonlyMap<string, TensorEntry & { readonly file: string }>;
  /** Names of the weight files, in order. */
  readonly files: readonly string[];
  /**
   * @param out read into where it has room: the tensor is then a view of it
   * @throws FormatError when there is no such tensor
   */
  read(name: string, out?: Uint8Array): Promise<Tensor>;
  /** Bytes `[start, end)` of a tensor's data; all when absent. */
  readBytes(name: string, start?: number, end?: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/**
 * Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names. The index and the shards must name
 * the same tensors, and shards lie in the folder itself.
 * @throws FormatError naming the file and what is wrong
 */
export async function openShards(folder: string): Promise<ShardReader> {
  const files = new Set(await readdir(folder));
  const indexFile = 'model.safetensors.index.json';
  const weightMap = files.has(indexFile) ? await readIndex(join(folder, indexFile)) : undefined;
  const names = weightMap ? [...new Set(weightMap.values())].sort() : ['model.safetensors'];
  for (const name of names) {
    if (!files.has(name)) {
      const why = weightMap
        ? `${join(folder, indexFile)} names shard ${name}`
        : 'a model folder has model.safetensors or model.safetensors.index.json';
      throw new FormatError(`${join(folder, name)} does not exist: ${why}`);
    }
  }
  const sources = new Map<string, ByteSource>();
  const close = async () => {
    for (const source of sources.values()) await source.close();
  };
  try {
    const entries = new Map<string, TensorEntry & { file: string }>();
    for (const file of names) {
      const source = await openFile(join(folder, file));
      sources.set(file, source);
      const { tensors } = await readHeader(source);
      for (const [name, entry] of tensors) {
        if (entries.has(name))
          throw new FormatError(`${source.name}: tensor ${name} is also in ${entries.get(name)?.file}`);
        if (weightMap && weightMap.get(name) !== file) {
          throw new FormatError(
            `${source.name}: holds tensor ${name}, which the index places in ${weightMap.get(name) ?? 'no shard'}`,
          );
        }
        entries.set(name, { ...entry, file });
      }
    }
    for (const [name, file] of weightMap ?? []) {
      if (!entries.has(name))
        throw new FormatError(`${join(folder, file)}: lacks tensor ${name}, which the index places there`);
    }
    const find = (name: string) => {
      const entry = entries.get(name);
      if (!entry) throw new FormatError(`${folder}: has no tensor ${name}`);
      return { entry, source: sources.get(entry.file) as ByteSource };
    };
    return {
      entries,
      files: names,
      read: async (name, out) => {
        const { entry, source } = find(name);
        return readTensor(source, entry, out);
      },
      readBytes: async (name, start = 0, end) => {
        const { entry, source } = find(name);
        if (end === undefined && start === 0) return readTensorBytes(source, entry);
        return source.slice(
          entry.begin + start,
          Math.min(entry.end, end === undefined ? entry.end : entry.begin + end),
        );
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function readIndex(path: string): Promise<Map<string, string>> {
  let index: { weight_map?: unknown };
  try {
    index = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new FormatError(`${path}: is not valid JSON (${(error as Error).message})`);
  }
  const map = index?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new FormatError(`${path}: weight_map must be an object of tensor to file`);
  const entries = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string')
      throw new FormatError(`${path}: tensor ${name} must name a file, found ${JSON.stringify(file)}`);
    // A shard's name is a plain file name: an index must not reach outside of its folder.
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(file))
      throw new FormatError(`${path}: tensor ${name} lies in ${JSON.stringify(file)}, outside of the folder`);
    entries.set(name, file);
  }
  return entries;
}
