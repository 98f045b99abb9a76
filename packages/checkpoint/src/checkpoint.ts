import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type ActivationScheme,
  allFinite,
  dequantize,
  FormatError,
  type LinearDescription,
  type ModelDescription,
  NumericError,
  plainStream,
  type QuantizedTensor,
  SchemeError,
  ShapeError,
  type Tensor,
  tensor,
  toF32,
  type WeightBuffers,
} from '@q/core';
import { describeModel } from '@q/models';
import { openShards, type ShardReader, type TensorEntry } from '@q/safetensors';
import type { LayoutReader, QuantizedLayout, TensorLookup } from './layout.js';
import { transpose } from './transpose.js';

/** A Hugging Face model folder, opened for reading. */
export interface Checkpoint {
  readonly path: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** Absent when no architecture of this model type is known: `unknownArchitecture` says so; tensors can still be read. */
  readonly model?: ModelDescription;
  readonly unknownArchitecture?: Error;
  /** Tensors in the files, by name. */
  readonly tensors: ReadonlyMap<string, TensorEntry & { readonly file: string }>;
  /** Layout of the quantized linears, when there are any. */
  readonly layout?: string;
  /** Modules that are stored quantized. */
  readonly quantizedModules: readonly string[];
  /** Files to copy along: everything that is not weights, in order. */
  readonly otherFiles: readonly string[];
  /** Weight files of other kinds, which are not copied. */
  readonly ignoredFiles: readonly string[];
  /** Bytes of all tensors. */
  readonly bytes: number;
  read(name: string): Promise<Tensor>;
  readBytes(name: string, start?: number, end?: number): Promise<Uint8Array>;
  /**
   * A tensor as f32: linears `[out, in]` whatever the file's order, ties resolved, quantized modules dequantized.
   * @param into memory to use again: the tensor may be a view of it
   * @throws FormatError when absent, NumericError naming the first NaN or infinity
   */
  weight(name: string, into?: WeightBuffers): Promise<Tensor<'f32'>>;
  quantized(module: string): Promise<QuantizedTensor | undefined>;
  /** How a quantized module's inputs are quantized when it runs; nothing when only its weight is quantized. */
  activation(module: string): Promise<ActivationScheme | undefined>;
  close(): Promise<void>;
}

const weightFiles = /\.(safetensors|safetensors\.index\.json|bin|pt|pth|gguf|onnx|h5|msgpack)$|\.bin\.index\.json$/;

/**
 * Opens a folder with config.json and safetensors; checks that every tensor that the architecture needs is there with its
 * shape.
 * @throws FormatError or ShapeError naming the file or tensor
 */
export async function openCheckpoint(path: string, layouts: readonly QuantizedLayout[]): Promise<Checkpoint> {
  const info = await stat(path).catch(() => undefined);
  if (!info?.isDirectory())
    throw new FormatError(`${path}: is not a folder; a model folder in Hugging Face layout was expected`);
  const config = await readConfig(path);
  const shards = await openShards(path);
  try {
    return await describe(path, config, shards, layouts);
  } catch (error) {
    await shards.close();
    throw error;
  }
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  const file = join(path, 'config.json');
  const text = await readFile(file, 'utf8').catch(() => {
    throw new FormatError(`${file}: cannot be read; a model folder has config.json`);
  });
  try {
    const config = JSON.parse(text);
    if (typeof config === 'object' && config !== null && !Array.isArray(config)) return config;
  } catch (error) {
    throw new FormatError(`${file}: is not valid JSON (${(error as Error).message})`);
  }
  throw new FormatError(`${file}: is not a JSON object`);
}

async function describe(
  path: string,
  config: Record<string, unknown>,
  shards: ShardReader,
  layouts: readonly QuantizedLayout[],
): Promise<Checkpoint> {
  let model: ModelDescription | undefined;
  let unknownArchitecture: Error | undefined;
  try {
    model = describeModel(config, undefined, new Set(shards.entries.keys()));
  } catch (error) {
    if (!(error instanceof SchemeError)) throw error;
    unknownArchitecture = new SchemeError(`${join(path, 'config.json')}: ${error.message}`);
  }
  const lookup: TensorLookup = {
    has: (name) => shards.entries.has(name),
    shape: (name) => {
      const entry = shards.entries.get(name);
      if (!entry) throw new FormatError(`${path}: has no tensor ${name}`);
      return entry.shape;
    },
    read: (name) => shards.read(name),
  };
  const reader = layoutReader(path, config, layouts);
  const quantizedModules = reader
    ? [...new Set([...shards.entries.keys()].map((name) => name.replace(/\.[^.]*$/, '')))].filter((module) =>
        reader.has(module, lookup),
      )
    : [];
  const isQuantized = new Set(quantizedModules);
  if (model) checkExpected(path, model, shards, isQuantized);
  const linears = new Map<string, LinearDescription>(
    model
      ? [...model.blocks.flatMap(({ linears }) => linears), model.head].map((linear) => [linear.module, linear])
      : [],
  );

  const names = (await readdir(path, { withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort();
  const files = new Set(shards.files);
  const quantized = async (module: string) =>
    reader && isQuantized.has(module) ? reader.read(module, lookup) : undefined;
  return {
    path,
    config,
    ...(model ? { model } : { unknownArchitecture }),
    tensors: shards.entries,
    ...(reader ? { layout: reader.layout } : {}),
    quantizedModules,
    otherFiles: names.filter((name) => !weightFiles.test(name) && name !== 'config.json' && !name.startsWith('.')),
    ignoredFiles: names.filter(
      (name) => weightFiles.test(name) && !files.has(name) && name !== 'model.safetensors.index.json',
    ),
    bytes: [...shards.entries.values()].reduce((sum, { begin, end }) => sum + end - begin, 0),
    read: (name) => shards.read(name),
    readBytes: (name, start, end) => shards.readBytes(name, start, end),
    async weight(name, into) {
      const module = name.replace(/\.weight$/, '');
      const packed = name.endsWith('.weight') ? await quantized(module) : undefined;
      if (packed) return dequantize(packed);
      const stored = shards.entries.has(name) ? name : model?.ties.get(name);
      if (stored === undefined) throw new FormatError(`${path}: has no tensor ${name}`);
      const read = await shards.read(stored, into?.bytes);
      const values = finiteValues(path, stored, read, into);
      const linear = linears.get(module);
      return linear?.transposed && name.endsWith('.weight')
        ? transpose(tensor('f32', read.shape, values))
        : tensor('f32', read.shape, values);
    },
    quantized,
    activation: async (module) => (reader && isQuantized.has(module) ? reader.activation?.(module, lookup) : undefined),
    close: () => shards.close(),
  };
}

function layoutReader(
  path: string,
  config: Record<string, unknown>,
  layouts: readonly QuantizedLayout[],
): LayoutReader | undefined {
  const settings = config.quantization_config;
  if (settings === undefined || settings === null) return undefined;
  if (typeof settings !== 'object')
    throw new FormatError(`${join(path, 'config.json')}: quantization_config must be an object`);
  for (const layout of layouts) {
    const reader = layout.reader(settings as Record<string, unknown>);
    if (reader) return reader;
  }
  const method = (settings as Record<string, unknown>).quant_method;
  throw new FormatError(
    `${basename(path)}: is quantized with ${JSON.stringify(method)}, which is not among the known layouts (${layouts.map(({ name }) => name).join(', ')})`,
  );
}

function checkExpected(
  path: string,
  model: ModelDescription,
  shards: ShardReader,
  quantized: ReadonlySet<string>,
): void {
  for (const [name, shape] of model.expected) {
    if (quantized.has(name.replace(/\.weight$/, '')) && name.endsWith('.weight')) continue;
    const entry = shards.entries.get(name);
    if (!entry)
      throw new FormatError(`${path}: tensor ${name} of shape [${shape}] is absent: ${model.architecture} needs it`);
    if (`${entry.shape}` !== `${shape}`) {
      throw new ShapeError(
        `${path}: tensor ${name} in ${entry.file} has shape [${entry.shape}], config.json asks for [${shape}]`,
      );
    }
  }
}

function finiteValues(path: string, name: string, read: Tensor, into: WeightBuffers | undefined): Float32Array {
  const count = read.data.length;
  const room = into && into.values.length >= count ? into.values.subarray(0, count) : undefined;
  const half = read.dtype === 'f16' || read.dtype === 'bf16';
  const values = half ? (room ?? new Float32Array(count)) : toF32(read);
  const finite = half
    ? (into?.stream ?? plainStream).decodeHalf({
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
