import {
  type BlockFormat,
  type BlockSource,
  type Kernels,
  NumericError,
  type ProgressEvent,
  referenceKernels,
} from '@q/core';
import type { FileOptions } from '@q/durable-files';
import { createGgufWriter } from '../file-writer.js';
import { type LargestBlock, largestBlock, refuseLost } from '../lost-tensor.js';
import type { RequantizedTensor, RequantizePlan } from '../requantize-plan.js';
import type { ConversionSource, ConvertedModel, ModelTensor } from './conversion.js';
import { matrixOf, openRows } from './model-rows.js';

export interface WriteModelRun extends FileOptions {
  /** Encode blocks; the plain functions when absent. */
  readonly kernels?: Pick<Kernels, 'blocks'>;
  readonly signal?: AbortSignal;
  /** Rows that a method has already encoded, by the name of the tensor in the source. */
  readonly encoded?: ReadonlyMap<string, Uint8Array>;
  /**
   * Whole tensors that other processes encode ({@link encodeTensor}), by their names in the file; undefined for tensors
   * that are encoded here.
   */
  readonly encodedElsewhere?: (name: string) => (() => Promise<Uint8Array>) | undefined;
  /** Called after each chunk with the values written so far, and the total. */
  readonly progress?: (event: ProgressEvent) => void;
}

/** Number of values of a chunk. */
const stretchValues = 2 ** 20;

interface Stretch {
  readonly tensor: EncodedTensor;
  readonly begin: number;
  readonly end: number;
  /** Weights of the columns of the rows' matrix. */
  readonly importance?: Float32Array;
  /** Values; or all bytes of the tensor if another process encodes it. */
  read(): Promise<BlockSource | Uint8Array>;
}

/**
 * Writes a converted model. It reads, encodes and writes chunks of rows one after the other, and reads the next chunk
 * while it encodes the current one. The file is either complete or absent.
 * @throws NumericError when a tensor has NaN or infinite values, or values beyond its type; LostTensorError when they are
 * too small for it
 */
export async function writeModel(
  source: ConversionSource,
  model: ConvertedModel,
  plan: RequantizePlan,
  path: string,
  { kernels = referenceKernels, signal, progress, files, encoded, encodedElsewhere }: WriteModelRun = {},
): Promise<void> {
  const { blocks } = kernels;
  const byName = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const stretches = plan.tensors.flatMap((tensor) => {
    const { name } = tensor.from;
    return cut(source, tensor, byName.get(name) as ModelTensor, encodedElsewhere?.(name));
  });
  const total = stretches.reduce((sum, { begin, end }) => sum + end - begin, 0);
  const writer = await createGgufWriter(path, plan.file, { files });
  let [next, write]: Promise<unknown>[] = [];
  let largest: LargestBlock | undefined;
  try {
    let done = 0;
    next = stretches[0]?.read();
    for (const [index, { tensor, begin, end, importance }] of stretches.entries()) {
      signal?.throwIfAborted();
      const values = (await next) as BlockSource | Uint8Array;
      next = stretches[index + 1]?.read();
      // The promise is awaited later; until then its failure must not count as unhandled.
      next?.catch(() => {});
      const { to } = tensor;
      const ready =
        values instanceof Uint8Array
          ? values
          : encodedRows(byName.get(tensor.from.name) as ModelTensor, begin, end, encoded);
      const out = ready ?? new Uint8Array(((end - begin) / to.values) * to.bytes);
      if (!ready) encodeRows(source, tensor, { values: values as BlockSource, out, importance }, blocks);
      if (!(values instanceof Uint8Array)) {
        largest = largestBlock(to, values, out, begin === 0 ? undefined : largest);
        if (stretches[index + 1]?.tensor !== tensor) refuseLost(source.name, tensor, largest);
      }
      await write;
      write = writer.write(tensor.from.name, out, (begin / to.values) * to.bytes);
      write.catch(() => {});
      done += end - begin;
      progress?.({ task: 'convert', done, total, unit: 'values', note: tensor.from.name });
    }
    await write;
    signal?.throwIfAborted();
    await writer.finish();
  } catch (error) {
    await Promise.allSettled([next, write]);
    await writer.abort().catch(() => {});
    throw error;
  }
}

/** A tensor, with the source and the type of its rows. */
export type EncodedTensor = Pick<RequantizedTensor, 'from' | 'to' | 'importance'>;

/**
 * One tensor of a plan in the bytes that {@link writeModel} writes, for the process that writes the file.
 * @throws NumericError when it has NaN or infinite values, or values beyond its type
 */
export async function encodeTensor(
  source: ConversionSource,
  model: ModelTensor,
  tensor: EncodedTensor,
  { blocks }: Pick<Kernels, 'blocks'> = referenceKernels,
): Promise<Uint8Array> {
  const { to } = tensor;
  const stretches = cut(source, tensor, model);
  const all = new Uint8Array((stretches.reduce((sum, { begin, end }) => sum + end - begin, 0) / to.values) * to.bytes);
  let largest: LargestBlock | undefined;
  for (const { begin, end, importance, read } of stretches) {
    const out = new Uint8Array(((end - begin) / to.values) * to.bytes);
    const values = (await read()) as BlockSource;
    encodeRows(source, tensor, { values, out, importance }, blocks);
    largest = largestBlock(to, values, out, largest);
    all.set(out, (begin / to.values) * to.bytes);
  }
  if (largest) refuseLost(source.name, tensor, largest);
  return all;
}

interface EncodedRows {
  readonly values: BlockSource;
  readonly out: Uint8Array;
  readonly importance?: Float32Array;
}

function encodeRows(
  source: ConversionSource,
  { from, to }: EncodedTensor,
  { values, out, importance }: EncodedRows,
  blocks: Kernels['blocks'],
): void {
  if (!blocks.encode({ format: to.format as BlockFormat, source: values, out, importance }))
    throw new NumericError(
      `${source.name}: tensor ${from.name} has values that are NaN, infinite, or beyond what ${to.name} holds`,
    );
}

/** Whole rows, and never rows of two matrices; all rows in one piece if another process encodes them. */
function cut(
  source: ConversionSource,
  tensor: EncodedTensor,
  model: ModelTensor,
  elsewhere?: () => Promise<Uint8Array>,
): readonly Stretch[] {
  const { rows, columns } = matrixOf(model.shape);
  if (elsewhere) return [{ tensor, begin: 0, end: rows * columns, read: elsewhere }];
  const reader = openRows(source, model);
  const matrix = model.shape.length > 2 ? model.shape[model.shape.length - 2] : rows;
  const weights = tensor.importance;
  const matrices = weights ? weights.length / columns : 1;
  const step = Math.max(1, Math.floor(stretchValues / columns));
  const out: Stretch[] = [];
  for (let row = 0, count = 0; row < rows; row += count) {
    count = Math.min(step, matrix - (row % matrix));
    const [first, last] = [row, row + count];
    const index = Math.floor(row / matrix) % matrices;
    out.push({
      ...{ tensor, begin: first * columns, end: last * columns, read: () => reader.read(first, last) },
      ...(weights ? { importance: weights.subarray(index * columns, (index + 1) * columns) } : {}),
    });
  }
  return out;
}

/** Rows of a tensor whose parts are all encoded, in the order of the file. */
function encodedRows(
  { from, order, shape }: ModelTensor,
  begin: number,
  end: number,
  encoded: ReadonlyMap<string, Uint8Array> | undefined,
): Uint8Array | undefined {
  const parts = from.map((name) => encoded?.get(name));
  if (parts.length === 0 || parts.some((part) => part === undefined)) return undefined;
  const { rows, columns } = matrixOf(shape);
  const each = rows / from.length;
  const width = (parts[0] as Uint8Array).length / each;
  const out = new Uint8Array(((end - begin) / columns) * width);
  for (let row = begin / columns; row < end / columns; row++) {
    const source = order ? order[row] : row;
    const part = parts[Math.floor(source / each)] as Uint8Array;
    const at = (source % each) * width;
    out.set(part.subarray(at, at + width), (row - begin / columns) * width);
  }
  return out;
}
