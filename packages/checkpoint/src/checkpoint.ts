import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type ActivationScheme,
  type Architecture,
  type AttentionDescription,
  allFinite,
  type CacheScales,
  dequantize,
  FormatError,
  type HalfMatrix,
  linearsOf,
  type ModelDescription,
  NumericError,
  plainStream,
  type QuantizedTensor,
  type Scheme,
  SchemeError,
  ShapeError,
  type Tensor,
  type TensorStacks,
  tensor,
  toF32,
  type WeightBuffers,
} from '@q/core';
import { architectures, describeModel, stacksOf } from '@q/models';
import { openShards, type ShardReader, type TensorEntry } from '@q/safetensors';
import { checkCounts } from './counts.js';
import { openGgufFile } from './gguf/gguf-file.js';
import { ggufShapes, ggufShards } from './gguf/gguf-shards.js';
import { readJsonFile } from './json-file.js';
import { parseJsonObject } from './json-text.js';
import { KeySet } from './key-set.js';
import type { QuantizedLayout, TensorLookup } from './layout.js';
import { folderFiles, type ModelFiles, textFiles } from './model-files.js';
import { type FolderListing, listModelFolder } from './model-folder.js';
import { ownHead } from './own-head.js';
import { layoutReader, refuseCodes } from './quantization-settings.js';
import { stackedShards } from './stacks/index.js';
import { storedHalves } from './stored-halves.js';
import { storedRows, takeRows } from './table-rows.js';
import { transpose } from './transpose.js';

/** Static scales of a cache of keys and values that a folder has. */
export interface StoredCache {
  readonly scheme: Scheme;
  /** Names of the tensors that contain the scales. */
  readonly tensors: readonly string[];
  /** @throws FormatError naming the tensor that is absent or not a scale */
  scales(attention: AttentionDescription): Promise<CacheScales>;
}

/** A Hugging Face model folder or a model in a GGUF file, opened for reading. */
export interface Checkpoint {
  readonly path: string;
  /** The files other than the weights. */
  readonly files: ModelFiles;
  /** Paths of the files with the weights. */
  readonly weightFiles: readonly string[];
  /**
   * The format that the weights were rounded to before, if the checkpoint gives them as values: a GGUF file's `Q4_K_M`.
   */
  readonly roundedTo?: string;
  /** Bytes of tensors in their source, if the source has them rounded and `readBytes` gives values. */
  readonly storedBytes?: ReadonlyMap<string, number>;
  /** config.json with `configChanges`. Numbers may be NaN or infinite, as Python writes them. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The correct values of keys of config.json that the weights contradict. A copy of the folder must have them. */
  readonly configChanges: Readonly<Record<string, unknown>>;
  /**
   * Absent when no architecture of this model type is known; then `unknownArchitecture` says so, and tensors can still
   * be read.
   */
  readonly model?: ModelDescription;
  readonly unknownArchitecture?: Error;
  /** The architectures that it was opened with, for describing a rewritten model again. */
  readonly architectures: readonly Architecture[];
  /** Tensors in the files, by the model's names: slices of a stacked tensor have entries of their own. */
  readonly tensors: ReadonlyMap<string, TensorEntry & { readonly file: string }>;
  /** Says which tensors are slices of one tensor in the model's files. Absent if there are no such stacks. */
  readonly stacks?: TensorStacks;
  /** Layout of the quantized linears, when there are any. */
  readonly layout?: string;
  /** Modules that are stored quantized. */
  readonly quantizedModules: readonly string[];
  /** Absent when the folder has no static scales that can be read. */
  readonly cache?: StoredCache;
  /** Files to copy, relative to the folder: all files that are not weights, in order. */
  readonly otherFiles: readonly string[];
  /** Weight files of other kinds, which are not copied. */
  readonly ignoredFiles: readonly string[];
  /** Sentences about everything unusual in the folder, and how it was handled. Show them with the result. */
  readonly notes: readonly string[];
  /** Bytes of all tensors. */
  readonly bytes: number;
  /** Codes of a GGUF file, for products that take them as they are; `weight` gives their values. */
  readonly coded?: { readonly modules: readonly string[]; codes(module: string): Promise<QuantizedTensor | undefined> };
  read(name: string): Promise<Tensor>;
  readBytes(name: string, start?: number, end?: number): Promise<Uint8Array>;
  /**
   * A tensor as f32: linears `[out, in]` for any order in the file, ties resolved, quantized modules dequantized.
   * @param into memory to reuse: the tensor may be a view of it
   * @throws FormatError when absent, NumericError naming the first NaN or infinity
   */
  weight(name: string, into?: WeightBuffers): Promise<Tensor<'f32'>>;
  /**
   * Rows of a table of two dimensions, as `weight` gives them: `[rows.length, width]`. Of a table that the files store as
   * values, a chunk is in memory at a time.
   * @param rows rising
   * @throws as `weight`; ShapeError naming a row that the table does not have
   */
  rows(name: string, rows: Int32Array): Promise<Tensor<'f32'>>;
  /**
   * A matrix that the files store in 16 bits, `[out, in]`, ties resolved. Undefined for all others: codes, f32, and linears
   * that the files store `[in, out]`.
   */
  halves(name: string): HalfMatrix | undefined;
  quantized(module: string): Promise<QuantizedTensor | undefined>;
  /** The quantization of a module's inputs at run time; undefined when only its weight is quantized. */
  activation(module: string): Promise<ActivationScheme | undefined>;
  close(): Promise<void>;
}

/**
 * Opens a folder with config.json and safetensors, or a GGUF file, whose tensors then have the names and shapes of a
 * folder. Checks that every tensor of the architecture exists, has its shape and has values.
 * @param known architectures; the first with the folder's `model_type` is used; those of `@q/models` when absent
 * @throws FormatError or ShapeError naming the file or tensor
 */
export async function openCheckpoint(
  path: string,
  layouts: readonly QuantizedLayout[],
  known: readonly Architecture[] = architectures,
): Promise<Checkpoint> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile()) return openGguf(path, known);
  if (!info?.isDirectory())
    throw new FormatError(
      `${path}: is not a folder; a model folder in Hugging Face layout or a .gguf file was expected`,
    );
  const config = await readJsonFile(join(path, 'config.json'), 'a model folder has config.json');
  const shards = await openShards(path);
  try {
    const listing = await listModelFolder(path);
    const weightFiles = shards.files.map((file) => join(path, file));
    return await describe({ path, files: folderFiles(path), config, shards, listing, weightFiles }, layouts, known);
  } catch (error) {
    await shards.close();
    throw error;
  }
}

async function openGguf(path: string, known: readonly Architecture[]): Promise<Checkpoint> {
  const file = await openGgufFile(path);
  const { files, names, model } = file;
  const shards = await ggufShards(path, file, known);
  try {
    const listing = { others: names, weights: [], left: [] };
    const config = { ...model.config };
    const opened = await describe({ path, files, config, shards, listing, weightFiles: [path] }, [], known);
    const storedBytes = new Map(
      [...model.tensors(ggufShapes(opened.model as ModelDescription))].flatMap(({ name, from }) => {
        const tensor = file.header.tensors.get(name);
        return from.map((each) => [each, tensor ? (tensor.end - tensor.begin) / from.length : 0] as const);
      }),
    );
    const bytes = [...storedBytes.values()].reduce((sum, each) => sum + each, 0);
    const { quantizedAs } = model;
    const coded = { modules: shards.codedModules, codes: shards.codes };
    return { ...opened, bytes, storedBytes, coded, ...(quantizedAs === undefined ? {} : { roundedTo: quantizedAs }) };
  } catch (error) {
    await shards.close();
    throw error;
  }
}

/** A model whose weights do not come from files. */
export interface ModelParts {
  /** For messages. */
  readonly name: string;
  /** Text of config.json. */
  readonly config: string;
  readonly shards: ShardReader;
}

/**
 * Opens a model that is in no folder: it has no files to copy.
 * @throws FormatError or ShapeError naming the tensor
 */
export async function openModelParts(
  { name, config: text, shards }: ModelParts,
  layouts: readonly QuantizedLayout[],
  known: readonly Architecture[] = architectures,
): Promise<Checkpoint> {
  const config = parseJsonObject(text, `${name}: config.json`).values;
  const listing = { others: [], weights: [], left: [] };
  const files = textFiles(name, new Map([['config.json', text]]));
  return describe({ path: name, files, config, shards, listing, weightFiles: [] }, layouts, known);
}

/** The data for the description of a model. */
interface Opened {
  readonly path: string;
  readonly files: ModelFiles;
  readonly config: Record<string, unknown>;
  readonly shards: ShardReader;
  readonly listing: FolderListing;
  readonly weightFiles: readonly string[];
}

async function describe(
  { path, files: modelFiles, config: stated, shards: inFiles, listing, weightFiles }: Opened,
  layouts: readonly QuantizedLayout[],
  known: readonly Architecture[],
): Promise<Checkpoint> {
  const notes = [...inFiles.notes];
  const configFile = modelFiles.where('config.json');
  checkCounts(stated, inFiles.entries, configFile);
  const stacks = stacksOf(stated, known);
  const shards = stacks ? stackedShards(inFiles, stacks) : inFiles;
  const names = new KeySet(shards.entries);
  let model: ModelDescription | undefined;
  let unknownArchitecture: Error | undefined;
  let configChanges: Readonly<Record<string, unknown>> = {};
  try {
    model = describeModel(stated, known, names);
    configChanges = await ownHead(path, model, shards, notes);
    if (Object.keys(configChanges).length > 0) model = describeModel({ ...stated, ...configChanges }, known, names);
  } catch (error) {
    if (error instanceof FormatError && !error.message.startsWith(path))
      throw new FormatError(`${path}: ${error.message}`);
    if (!(error instanceof SchemeError)) throw error;
    unknownArchitecture = new SchemeError(`${configFile}: ${error.message}`);
  }
  const config = { ...stated, ...configChanges };
  const lookup: TensorLookup = {
    has: (name) => shards.entries.has(name),
    shape: (name) => {
      const entry = shards.entries.get(name);
      if (!entry) throw new FormatError(`${path}: has no tensor ${name}`);
      return entry.shape;
    },
    read: (name) => shards.read(name),
  };
  const reader = await layoutReader(path, config, layouts, shards.entries, notes);
  if (reader?.note) notes.push(reader.note);
  const quantizedModules = reader
    ? [...new Set([...names].map((name) => name.replace(/\.[^.]*$/, '')))].filter((module) =>
        reader.has(module, lookup),
      )
    : [];
  const isQuantized = new Set(quantizedModules);
  if (model && isHeadless(model, names)) {
    unknownArchitecture = new SchemeError(
      `${path}: the model was published without its head (${model.head?.module}.weight and what belongs to it are absent): it cannot be run as ${model.architecture}`,
    );
    model = undefined;
  }
  if (model) checkExpected(path, model, shards, isQuantized);
  /** Linears that the file stores `[in, out]`; computed when the first weight is read. */
  let turned: ReadonlySet<string> | undefined;
  const isTurned = (module: string) => {
    turned ??= new Set(model ? linearsOf(model).flatMap((linear) => (linear.transposed ? [linear.module] : [])) : []);
    return turned.has(module);
  };
  for (const name of listing.left)
    notes.push(
      name.endsWith('/')
        ? `${name} holds weights of its own and is not copied`
        : `${name} leads to no file${name.includes('\ufffd') ? ' (its name is not UTF-8)' : ''} and is not copied`,
    );
  const files = new Set(shards.files);
  let bytes = 0;
  for (const { begin, end } of shards.entries.values()) bytes += end - begin;
  const inFolder = <T>(work: Promise<T>): Promise<T> =>
    work.catch((error) => {
      throw error instanceof FormatError && !error.message.startsWith(path)
        ? new FormatError(`${path}: ${error.message}`)
        : error;
    });
  const quantized = async (module: string) =>
    reader && isQuantized.has(module) ? inFolder(reader.read(module, lookup)) : undefined;
  const weight: Checkpoint['weight'] = async (name, into) => {
    const module = name.replace(/\.weight$/, '');
    const equal = model?.ties.get(name);
    // A tied head reads the table of embeddings, quantized or not.
    for (const each of equal === undefined ? [name] : [name, equal]) {
      const packed = each.endsWith('.weight') ? await quantized(each.replace(/\.weight$/, '')) : undefined;
      if (packed) {
        const values = dequantize(packed);
        // Finite scales times codes may still overflow f32.
        const bad = allFinite(values.data) ? -1 : values.data.findIndex((value) => !Number.isFinite(value));
        if (bad >= 0)
          throw new NumericError(
            `${path}: ${module} holds ${values.data[bad]} at element ${bad}: its scales are beyond f32: repair the checkpoint first`,
          );
        return values;
      }
    }
    const stored = shards.entries.has(name) ? name : equal;
    const entry = stored === undefined ? undefined : shards.entries.get(stored);
    if (stored === undefined || !entry) throw new FormatError(`${path}: has no tensor ${name}`);
    refuseCodes(path, stored, entry.dtype, shards.entries);
    const read = await shards.read(stored, into?.bytes);
    const values = finiteValues(path, stored, read, into);
    return name.endsWith('.weight') && isTurned(module)
      ? transpose(tensor('f32', read.shape, values))
      : tensor('f32', read.shape, values);
  };
  /** The entry of a weight whose rows the files store as they are: as values, and not `[in, out]`. Ties are resolved. */
  const entryOfRows = (name: string) => {
    const stored = shards.entries.has(name) ? name : model?.ties.get(name);
    const entry = stored === undefined ? undefined : shards.entries.get(stored);
    if (stored === undefined || !entry) return undefined;
    const modules = [name, stored].map((each) => each.replace(/\.weight$/, ''));
    return modules.some((module) => isQuantized.has(module) || isTurned(module)) ? undefined : entry;
  };
  const cache = reader?.cache;
  return {
    path,
    files: modelFiles,
    weightFiles,
    config,
    configChanges,
    ...(model ? { model } : { unknownArchitecture }),
    architectures: known,
    tensors: shards.entries,
    ...(stacks ? { stacks } : {}),
    ...(reader ? { layout: reader.layout } : {}),
    quantizedModules,
    ...(cache && model
      ? {
          cache: {
            scheme: cache.scheme,
            tensors: model.blocks.flatMap(({ attention }) => (attention ? cache.tensors(attention) : [])),
            scales: (attention) => inFolder(cache.read(attention, lookup)),
          },
        }
      : {}),
    otherFiles: listing.others,
    ignoredFiles: listing.weights.filter((name) => !files.has(name) && name !== 'model.safetensors.index.json'),
    notes,
    bytes,
    read: (name) => shards.read(name),
    readBytes: (name, start, end) => shards.readBytes(name, start, end),
    weight,
    async rows(name, rows) {
      const entry = entryOfRows(name);
      const some = entry && storedRows(path, shards, entry, rows);
      return some ?? takeRows(await weight(name), rows);
    },
    halves(name) {
      const entry = entryOfRows(name);
      return entry && storedHalves(path, shards, entry);
    },
    quantized,
    activation: async (module) =>
      reader?.activation && isQuantized.has(module) ? inFolder(reader.activation(module, lookup)) : undefined,
    close: () => shards.close(),
  };
}

/**
 * Whether only the head is absent, and the name prefix of the whole model: embedding models and classifiers of a known
 * type are published in this form.
 */
function isHeadless(model: ModelDescription, names: ReadonlySet<string>): boolean {
  const { head } = model;
  if (!head) return false;
  const output = `${head.module}.weight`;
  if (!model.expected.has(output) || names.has(output)) return false;
  const absent: string[] = [];
  for (const name of model.expected.keys()) if (!names.has(name)) absent.push(name);
  return absent.every((name) => name === output || names.has(name.replace(/^(model|transformer|decoder)\./, '')));
}

function checkExpected(
  path: string,
  model: ModelDescription,
  shards: ShardReader,
  quantized: ReadonlySet<string>,
): void {
  for (const [name, shape] of model.expected) {
    if (quantized.size > 0 && name.endsWith('.weight') && quantized.has(name.slice(0, -'.weight'.length))) continue;
    const entry = shards.entries.get(name);
    if (!entry)
      throw new FormatError(`${path}: tensor ${name} of shape [${shape}] is absent: ${model.architecture} needs it`);
    if (entry.shape.length !== shape.length || entry.shape.some((size, i) => size !== shape[i])) {
      throw new ShapeError(
        `${path}: tensor ${name} in ${entry.file} has shape [${entry.shape}], config.json asks for [${shape}]`,
      );
    }
    refuseCodes(path, name, entry.dtype, shards.entries);
  }
}

function finiteValues(path: string, name: string, read: Tensor, into: WeightBuffers | undefined): Float32Array {
  const count = read.data.length;
  const room = into && into.values.length >= count ? into.values.subarray(0, count) : undefined;
  const half = read.dtype === 'f16' || read.dtype === 'bf16';
  const values = half ? (room ?? new Float32Array(count)) : toF32(read);
  const finite = half
    ? (into ?? { stream: plainStream }).stream.decodeHalf({
        dtype: read.dtype as 'f16' | 'bf16',
        patterns: read.data as Uint16Array,
        values,
      })
    : allFinite(values);
  if (finite) return values;
  const index = values.findIndex((x) => !Number.isFinite(x));
  throw new NumericError(
    `${path}: tensor ${name} holds ${values[index]} at element ${index}: repair the checkpoint first`,
  );
}
