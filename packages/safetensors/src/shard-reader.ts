import { FormatError, type Tensor } from '@q/core';
import type { ByteSource } from './byte-source.js';
import { readShardHeader, type ShardEntry } from './header.js';
import { type ModelFolder, modelFolder } from './model-folder.js';
import { readTensor, readTensorBytes } from './read-tensor.js';

/** The tensors of a folder, in any of its files. */
export interface ShardReader {
  readonly entries: ReadonlyMap<string, ShardEntry>;
  /** Names of the weight files, in order. */
  readonly files: readonly string[];
  /** Sentences about everything unusual in the folder, and how it was handled. */
  readonly notes: readonly string[];
  /**
   * @param out receives the bytes if it is large enough: the tensor is then a view of it
   * @throws FormatError when there is no such tensor
   */
  read(name: string, out?: Uint8Array): Promise<Tensor>;
  /**
   * Bytes `[start, end)` of a tensor's data; all when absent.
   * @param out receives them if it is large enough and the reader supports it; the result is then a view of it
   */
  readBytes(name: string, start?: number, end?: number, out?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

const singleFile = 'model.safetensors';
const indexFile = 'model.safetensors.index.json';

/**
 * Opens the weights of a folder like transformers: `model.safetensors` if it exists, else the shards that
 * `model.safetensors.index.json` names, which are in the folder itself. If a tensor is in two shards, the index
 * decides. Tensors that the index does not name are also read. `notes` say which files were ignored or differ from the
 * index.
 * @param from path of a folder on the disk, or its files elsewhere
 * @throws FormatError naming the file and the problem
 */
export async function openShards(from: string | ModelFolder): Promise<ShardReader> {
  const folder = typeof from === 'string' ? modelFolder(from) : from;
  const files = new Set(await folder.names());
  const notes: string[] = [];
  const weightMap = files.has(indexFile) && !files.has(singleFile) ? await readIndex(folder) : undefined;
  if (!weightMap && !files.has(singleFile)) throw new FormatError(absentWeights(folder, [...files].sort()));
  if (!weightMap && files.has(indexFile)) {
    const beside = await readIndex(folder).catch(() => undefined);
    if (!beside || [...beside.values()].some((file) => file !== singleFile))
      notes.push(`${singleFile} is read, as in transformers; ${indexFile} and the shards that it names are not`);
  }
  const names = weightMap ? [...new Set(weightMap.values())].sort() : [singleFile];
  for (const name of names)
    if (!files.has(name))
      throw new FormatError(`${folder.where(name)} does not exist: ${folder.where(indexFile)} names shard ${name}`);
  const sources = new Map<string, ByteSource>();
  const close = async () => {
    for (const source of sources.values()) await source.close();
  };
  try {
    const merged = new Map<string, ShardEntry>();
    let entries: ReadonlyMap<string, ShardEntry> = merged;
    const [unnamed, doubled]: [string[], string[]] = [[], []];
    for (const file of names) {
      const source = await folder.open(file);
      sources.set(file, source);
      const { tensors } = await readShardHeader(source, file);
      if (!weightMap) {
        entries = tensors;
        continue;
      }
      for (const [name, entry] of tensors) {
        const other = merged.get(name)?.file;
        const chosen = weightMap.get(name);
        if (chosen === undefined) unnamed.push(name);
        if (other !== undefined) {
          if (chosen !== file && chosen !== other)
            throw new FormatError(
              `${source.name}: tensor ${name} is also in ${other}, and ${indexFile} names neither: remove one of them`,
            );
          doubled.push(name);
          if (chosen === other) continue;
        }
        merged.set(name, entry);
      }
    }
    const elsewhere: string[] = [];
    for (const [name, file] of weightMap ?? []) {
      const found = entries.get(name)?.file;
      if (found === undefined)
        throw new FormatError(`${folder.where(file)}: lacks tensor ${name}, which the index places there`);
      if (found !== file) elsewhere.push(name);
    }
    const note = (of: readonly string[], what: string) => {
      if (of.length > 0) notes.push(`${of[0]}${of.length > 1 ? ` and ${of.length - 1} more` : ''}: ${what}`);
    };
    note(unnamed, `${indexFile} does not name it, a shard has it: it is read`);
    note(doubled, `is in two shards: the one that ${indexFile} names is read`);
    note(elsewhere, `is not in the shard that ${indexFile} names: it is read from the one that has it`);
    const find = (name: string) => {
      const entry = entries.get(name);
      if (!entry) throw new FormatError(`${folder.path}: has no tensor ${name}`);
      return { entry, source: sources.get(entry.file) as ByteSource };
    };
    return {
      entries,
      files: names,
      notes,
      read: async (name, out) => {
        const { entry, source } = find(name);
        return readTensor(source, entry, out);
      },
      readBytes: async (name, start = 0, end, out) => {
        const { entry, source } = find(name);
        if (end === undefined && start === 0) return readTensorBytes(source, entry, out);
        return source.slice(
          entry.begin + start,
          Math.min(entry.end, end === undefined ? entry.end : entry.begin + end),
          out,
        );
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The message for a folder without readable weights: its contents, and what to do. */
function absentWeights(folder: ModelFolder, files: readonly string[]): string {
  const what = `${folder.where(singleFile)} does not exist, nor does ${indexFile}`;
  const list = (names: readonly string[]) => `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''}`;
  const adapter = files.find((name) => name === 'adapter_model.safetensors');
  if (adapter)
    return `${what}, but ${adapter}: it is an adapter: give the folder of its model, and this one with --adapter`;
  const shards = files.filter((name) => name.endsWith('.safetensors'));
  if (shards.length === 1)
    return `${what}, but ${shards[0]}: rename it to ${singleFile} if it holds the whole model, else get the other shards and the index`;
  if (shards.length > 1) return `${what}, but ${list(shards)}: get ${indexFile}, which says where each tensor is`;
  const gguf = files.filter((name) => /\.gguf$/i.test(name));
  if (gguf.length > 0) return `${what}, but ${list(gguf)}: give the path of that file instead of its folder`;
  const others = files.filter((name) => /\.(bin|pt|pth|h5|msgpack|onnx)$/i.test(name));
  if (others.length > 0)
    return `${what}, but ${list(others)}, which is not read: convert it to safetensors first (in transformers: from_pretrained, then save_pretrained)`;
  return `${what}: a model folder has one of them`;
}

async function readIndex(folder: ModelFolder): Promise<Map<string, string>> {
  const path = folder.where(indexFile);
  let index: { weight_map?: unknown };
  try {
    index = JSON.parse(await folder.text(indexFile));
  } catch (error) {
    if (!(error instanceof SyntaxError))
      throw new FormatError(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
    throw new FormatError(`${path}: is not valid JSON (${(error as Error).message})`);
  }
  const map = index?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map))
    throw new FormatError(`${path}: weight_map must be an object of tensor to file`);
  const entries = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== 'string')
      throw new FormatError(`${path}: tensor ${name} must name a file, found ${JSON.stringify(file)}`);
    // A shard's name must be a plain file name, so an index cannot name files outside of its folder.
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(file))
      throw new FormatError(`${path}: tensor ${name} lies in ${JSON.stringify(file)}, outside of the folder`);
    entries.set(name, file);
  }
  return entries;
}
