import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  type ActivationScheme,
  type CacheScales,
  FormatError,
  NumericError,
  plainStream,
  type QuantizedTensor,
  type Scheme,
  SchemeError,
  type StreamKernels,
  type Tensor,
} from '@q/core';
import {
  type FileOptions,
  type FileRecord,
  type FileSystem,
  makeFolders,
  nodeFiles,
  WriteError,
  writeFileDurably,
} from '@q/durable-files';
import { conventionalHead } from '@q/models';
import {
  coreDtype,
  createShardWriter,
  type FileDtype,
  type PlannedTensor,
  planShards,
  readTensor,
  type ShardPlan,
  type ShardWriter,
  type TensorEntry,
  type TensorSums,
} from '@q/safetensors';
import type { Checkpoint } from './checkpoint.js';
import { editedConfigText } from './config-text.js';
import { firstNotFinite } from './first-not-finite.js';
import { refuseLostScales } from './held-scales.js';
import type {
  CacheScaleLayout,
  LayoutReader,
  LayoutRecord,
  QuantizedLayout,
  QuantizedModule,
  TensorLookup,
} from './layout.js';
import { copyModelFile } from './model-files.js';
import { joinStacks } from './stacks/index.js';
import { transpose } from './transpose.js';

/** A tensor that is not quantized and whose values change; it is written in f32. */
export interface RewrittenTensor {
  /** Linears `[out, in]`, as in memory. */
  readonly shape: readonly number[];
  /** The file stores it `[in, out]`. */
  readonly transposed: boolean;
}

/** Static scales of a cache that a folder gets. */
export interface PlannedCache {
  /** `scaleStorage` is the dtype of the scales in the file. */
  readonly scheme: Scheme;
  /** Modules of the attentions (`CacheScaleLayout.module`), in the order of the blocks. */
  readonly modules: readonly string[];
}

export interface CheckpointPlan {
  readonly shards: ShardPlan;
  /** Tensors of the source that are copied byte for byte. */
  readonly copied: readonly string[];
  /** Tensors with new values, by name; ones that the source does not have come last. */
  readonly rewritten: ReadonlyMap<string, RewrittenTensor>;
  /** Keys of config.json that change. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Quantized modules by name. */
  readonly modules: ReadonlyMap<string, QuantizedModule>;
  /** Linears that runtimes expect in quantized form and that are not quantized. */
  readonly kept: readonly string[];
  readonly cache?: PlannedCache;
}

export interface CheckpointPlanOptions {
  readonly maxShardBytes?: number;
  readonly kept?: readonly string[];
  readonly rewritten?: ReadonlyMap<string, RewrittenTensor>;
  readonly config?: Readonly<Record<string, unknown>>;
  /** Only for a layout with `cacheScales`. */
  readonly cache?: PlannedCache;
}

/**
 * The contents of the folder to write: the source's tensors in their order, each quantized weight replaced by its
 * layout's tensors, rewritten ones in f32. Reads only headers.
 */
export function planCheckpoint(
  source: Checkpoint,
  layout: QuantizedLayout,
  modules: readonly QuantizedModule[],
  options: CheckpointPlanOptions = {},
): CheckpointPlan {
  const { kept = [], rewritten = new Map<string, RewrittenTensor>(), config = {}, cache } = options;
  const inFile = ({ shape, transposed }: RewrittenTensor) => (transposed ? [...shape].reverse() : shape);
  const byWeight = new Map(modules.map((module) => [`${module.linear.module}.weight`, module]));
  const planned: PlannedTensor[] = [];
  const copied: string[] = [];
  for (const [name, { dtype, shape }] of source.tensors) {
    const module = byWeight.get(name);
    const anew = rewritten.get(name);
    if (module) planned.push(...layout.plan(module));
    else if (anew) planned.push({ name, dtype: 'F32', shape: inFile(anew) });
    else {
      planned.push({ name, dtype, shape });
      copied.push(name);
    }
  }
  for (const [name, anew] of rewritten)
    if (!source.tensors.has(name)) planned.push({ name, dtype: 'F32', shape: inFile(anew) });
  for (const [weight, module] of byWeight) if (!source.tensors.has(weight)) planned.push(...layout.plan(module));
  if (cache) for (const module of cache.modules) planned.push(...cacheScalesOf(layout).plan(module, cache.scheme));
  return {
    shards: planShards(joinStacks(planned, source.stacks), options),
    copied,
    rewritten,
    config,
    modules: new Map(modules.map((module) => [module.linear.module, module])),
    kept,
    ...(cache ? { cache } : {}),
  };
}

/** @throws SchemeError when the layout stores no static scales of a cache */
function cacheScalesOf({ name, cacheScales }: QuantizedLayout): CacheScaleLayout {
  if (!cacheScales) throw new SchemeError(`the ${name} layout stores no static scales of a cache`);
  return cacheScales;
}

/** A quantized module in the form of its layout. */
export interface EncodedModule {
  /** By their names in the files. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  /** See {@link QuantizedModule.reordered}. */
  readonly reordered: boolean;
}

/**
 * Encodes a module for its layout.
 * @throws ScaleRangeError when the layout's scales cannot represent those of the module
 */
export function encodeModule(
  layout: QuantizedLayout,
  module: QuantizedModule,
  quantized: QuantizedTensor,
  stream: StreamKernels,
): EncodedModule {
  refuseLostScales(module.linear.module, quantized);
  const reordered = module.reordered === true || quantized.groupIndex !== undefined;
  return { tensors: layout.encode({ ...module, reordered }, quantized, stream), reordered };
}

/** The codes and scales of a module that {@link encodeModule} has encoded. */
export async function decodeModule(
  layout: QuantizedLayout,
  module: QuantizedModule,
  { tensors }: EncodedModule,
): Promise<QuantizedTensor> {
  const find = (name: string): Tensor => {
    const found = tensors.get(name);
    if (!found) throw new FormatError(`${module.linear.module}: its layout ${layout.name} needs ${name}`);
    return found;
  };
  return readerOf(layout, module).read(module.linear.module, {
    has: (name) => tensors.has(name),
    shape: (name) => find(name).shape,
    read: async (name) => find(name),
  });
}

/** The layout's reader of a folder that has only this module. */
function readerOf(layout: QuantizedLayout, module: QuantizedModule): LayoutReader {
  const { config } = layout.config([module], [], { method: '', options: {} });
  const reader = layout.reader(config);
  if (!reader) throw new FormatError(`layout ${layout.name} does not read its own config`);
  return reader;
}

/** Writes a planned folder piece by piece. */
export interface CheckpointWriter {
  readonly plan: CheckpointPlan;
  /** @param activation of the module, with its static scale if it has one */
  writeModule(module: string, quantized: QuantizedTensor, activation?: ActivationScheme): Promise<void>;
  /** Writes a module that another process has encoded ({@link encodeModule}). */
  writeEncoded(module: string, encoded: EncodedModule): Promise<void>;
  /** Reads a written module back, for a resumed run. */
  readModule(module: string): Promise<QuantizedTensor>;
  /** Reads a written module back in the form of its layout. */
  readEncoded(module: string): Promise<EncodedModule>;
  /** Writes the static scales of the cache of one attention. */
  writeCacheScales(attention: string, scales: CacheScales): Promise<void>;
  /** Writes a rewritten tensor; linears `[out, in]`. */
  writeTensor(name: string, values: Tensor<'f32'>): Promise<void>;
  /** Reads a rewritten tensor back, for a resumed run. */
  readTensor(name: string): Promise<Tensor<'f32'>>;
  /**
   * Copies a tensor of the source, in chunks.
   * @throws NumericError when the model reads the tensor and it has NaN or infinity
   */
  copyTensor(name: string): Promise<void>;
  /**
   * When this resolves, all earlier writes are on the disk.
   * @returns checksums of the newly complete tensors, for the journal
   */
  sync(): Promise<TensorSums>;
  /** @throws FormatError naming the first tensor that differs from the record of an earlier run */
  verify(sums: TensorSums): Promise<void>;
  /** Gives the weight files their final names, copies all other files, and writes config.json last. */
  finish(record: LayoutRecord): Promise<readonly FileRecord[]>;
  close(): Promise<void>;
  abort(): Promise<void>;
}

const chunkBytes = 16 * 2 ** 20;

export interface CheckpointWriterOptions extends FileOptions {
  /** Continue with the files of an earlier run of the plan. */
  readonly resume?: boolean;
  /** Tensors that the earlier run finished: their files must exist. */
  readonly finished?: TensorSums;
  /** `kernels.stream` of a run, which packs on all threads. Default: `plainStream`. */
  readonly stream?: StreamKernels;
  /** Called for copied tensors with NaN or infinity that the model does not read. */
  readonly warn?: (message: string) => void;
}

/**
 * @param out an existing folder
 * @throws WriteError when the disk has less free space than the plan needs
 * @throws FormatError when an earlier run has left other content than `finished`
 */
export async function createCheckpointWriter(
  source: Checkpoint,
  out: string,
  layout: QuantizedLayout,
  plan: CheckpointPlan,
  options: CheckpointWriterOptions = {},
): Promise<CheckpointWriter> {
  const { files: system = nodeFiles, stream = plainStream } = options;
  if (!options.resume) await checkSpace(system, out, plan.shards.byteLength + (await otherBytes(source)));
  // A folder with config.json is complete, so config.json is removed before its files are opened again.
  else await system.remove(join(out, 'config.json'));
  const shards = await createShardWriter(out, plan.shards, options);
  // Known once a module has been written, or read back from an earlier run.
  const reordered = new Set<string>();
  const moduleOf = (name: string): QuantizedModule => {
    const module = plan.modules.get(name);
    if (!module) throw new FormatError(`${out}: module ${name} is not planned to be quantized`);
    return module;
  };
  const writeEncoded = async (name: string, encoded: EncodedModule) => {
    moduleOf(name);
    if (encoded.reordered) reordered.add(name);
    // Starts all writes together: while the caller computes, none waits for the one before. All end before this
    // returns.
    const writes = await Promise.allSettled([...encoded.tensors].map(([part, tensor]) => shards.write(part, tensor)));
    for (const write of writes) if (write.status === 'rejected') throw write.reason;
  };
  const readModule = async (name: string) => {
    const quantized = await readerOf(layout, moduleOf(name)).read(name, partialLookup(shards, plan.shards));
    if (quantized.groupIndex) reordered.add(name);
    return quantized;
  };
  return {
    plan,
    async writeModule(name, quantized, activation) {
      const module = { ...moduleOf(name), reordered: reordered.has(name), ...(activation ? { activation } : {}) };
      await writeEncoded(name, encodeModule(layout, module, quantized, stream));
    },
    writeEncoded,
    readModule,
    async readEncoded(name) {
      await readModule(name);
      const lookup = partialLookup(shards, plan.shards);
      const tensors = new Map<string, Tensor>();
      for (const { name: part } of layout.plan(moduleOf(name))) tensors.set(part, await lookup.read(part));
      return { tensors, reordered: reordered.has(name) };
    },
    async writeCacheScales(attention, scales) {
      if (!plan.cache) throw new FormatError(`${out}: no static scales of a cache are planned`);
      const { encode } = cacheScalesOf(layout);
      for (const [name, scale] of encode(attention, plan.cache.scheme, scales)) await shards.write(name, scale);
    },
    async writeTensor(name, values) {
      await shards.write(name, plan.rewritten.get(name)?.transposed ? transpose(values) : values);
    },
    async readTensor(name) {
      const values = (await partialLookup(shards, plan.shards).read(name)) as Tensor<'f32'>;
      return plan.rewritten.get(name)?.transposed ? transpose(values) : values;
    },
    async copyTensor(name) {
      const { begin, end, dtype } = source.tensors.get(name) as TensorEntry;
      let finite = true;
      for (let start = 0; start < end - begin; start += chunkBytes) {
        const stop = Math.min(start + chunkBytes, end - begin);
        const bytes = await source.readBytes(name, start, stop);
        const index = finite ? firstNotFinite(dtype, bytes) : -1;
        if (index >= 0) {
          finite = false;
          const found = `${source.path}: tensor ${name} holds NaN or infinity at byte ${start + index}`;
          if (isRead(source, name)) throw new NumericError(`${found}: repair the checkpoint first`);
          options.warn?.(`${found}: the model does not read it, and it was copied as it is`);
        }
        await shards.writeBytes(name, bytes, start);
      }
    },
    sync: () => shards.sync(),
    verify: (sums) => shards.verify(sums),
    async finish(record) {
      const records = [...(await shards.finish())];
      const modules = [...plan.modules].map(([name, module]) => ({ ...module, reordered: reordered.has(name) }));
      const cache = plan.cache ? { cache: plan.cache.scheme } : {};
      const { config, files } =
        modules.length > 0 || plan.cache
          ? layout.config(modules, plan.kept, { ...record, ...cache, head: headOf(source) })
          : { config: undefined, files: new Map<string, string>() };
      for (const name of source.otherFiles) {
        if (files.has(name)) continue;
        // A file may be in one of the model's own folders: `1_Pooling/config.json`.
        await makeFolders(dirname(join(out, name)), options);
        records.push({ file: name, ...(await copyModelFile(source.files, name, join(out, name), options)) });
      }
      for (const [name, content] of files)
        records.push({ file: name, ...(await writeFileDurably(join(out, name), content, options)) });
      // `q` cannot rewrite unknown keys, so the config keeps its text and order except for these keys.
      const original = (await source.files.text('config.json')) as string;
      const changes = { ...plan.config, ...(config ? { quantization_config: config } : {}) };
      const text = editedConfigText(original, changes, layout.floatKeys);
      const written = await writeFileDurably(join(out, 'config.json'), text, options);
      return [...records, { file: 'config.json', ...written }];
    },
    close: () => shards.close(),
    abort: () => shards.abort(),
  };
}

async function checkSpace(files: FileSystem, folder: string, bytes: number): Promise<void> {
  const free = await files.freeBytes(folder);
  if (free < bytes) {
    throw new WriteError(
      `${folder}: no space left on the disk: ${bytes} bytes are needed, ${free} are free: free some or choose another output folder`,
    );
  }
}

/** Bytes of the copied files. */
async function otherBytes({ files, otherFiles }: Checkpoint): Promise<number> {
  let bytes = 0;
  for (const name of otherFiles) {
    const path = files.path(name);
    bytes += path === undefined ? ((await files.text(name)) as string).length : (await stat(path)).size;
  }
  return bytes;
}

/** If the model is unknown, every tensor counts as read. */
const isRead = ({ model }: Checkpoint, name: string) => !model || model.expected.has(name);

function partialLookup(shards: ShardWriter, plan: ShardPlan): TensorLookup {
  const place = (name: string) => {
    const found = plan.places.get(name);
    if (!found) throw new FormatError(`tensor ${name} is not planned`);
    return found;
  };
  return {
    has: (name) => plan.places.has(name),
    shape: (name) => place(name).shape,
    async read(name) {
      const { dtype, shape } = place(name);
      const bytes = await shards.readBytes(name);
      const source = { name, byteLength: bytes.length, slice: async () => bytes, close: async () => {} };
      if (!coreDtype(dtype as FileDtype)) throw new FormatError(`tensor ${name} of dtype ${dtype} cannot be read back`);
      return readTensor(source, { name, dtype, shape, begin: 0, end: bytes.length });
    },
  };
}

/** For a model that no architecture describes, the head has the usual name in transformers. */
function headOf({ model }: Checkpoint): string | undefined {
  return model ? model.head?.module : conventionalHead;
}
