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
import type { RequantizedTensor, RequantizePlan } from '../requantize-plan.js';
import type { ConversionSource, ConvertedModel, ModelTensor } from './conversion.js';
import { matrixOf, openRows } from './model-rows.js';

export interface WriteModelRun extends FileOptions {
  /** Encode blocks; the plain functions when absent. */
  readonly kernels?: Pick<Kernels, 'blocks'>;
  readonly signal?: AbortSignal;
  /** Rows that a method has encoded already, by the name of the tensor in the source. */
  readonly encoded?: ReadonlyMap<string, Uint8Array>;
  /** Told after each stretch: values written so far, and all. */
  readonly progress?: (event: ProgressEvent) => void;
}

/** Values that are worked on at a time. */
const stretchValues = 2 ** 20;

interface Stretch {
  readonly tensor: RequantizedTensor;
  readonly begin: number;
  readonly end: number;
  /** Weights of the columns of the matrix that the rows belong to. */
  readonly importance?: Float32Array;
  read(): Promise<BlockSource>;
}

/**
 * Writes a converted model: stretches of rows are read, encoded and written one after the other, the next one read while this one is
 * encoded. The file is there as a whole or not at all.
 * @throws NumericError when a tensor has NaN or infinite values, or values beyond its type
 */
export async function writeModel(
  source: ConversionSource,
  model: ConvertedModel,
  plan: RequantizePlan,
  path: string,
  { kernels = referenceKernels, signal, progress, files, encoded }: WriteModelRun = {},
): Promise<void> {
  const { blocks } = kernels;
  const byName = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const stretches = plan.tensors.flatMap((tensor) => cut(source, tensor, byName.get(tensor.from.name) as ModelTensor));
  const total = stretches.reduce((sum, { begin, end }) => sum + end - begin, 0);
  const writer = await createGgufWriter(path, plan.file, { files });
  let [next, write]: Promise<unknown>[] = [];
  try {
    let done = 0;
    next = stretches[0]?.read();
    for (const [index, { tensor, begin, end, importance }] of stretches.entries()) {
      signal?.throwIfAborted();
      const values = (await next) as BlockSource;
      next = stretches[index + 1]?.read();
      // It is awaited later; until then nobody must take its failure for one that nobody handles.
      next?.catch(() => {});
      const { to } = tensor;
      const ready = encodedRows(byName.get(tensor.from.name) as ModelTensor, begin, end, encoded);
      const out = ready ?? new Uint8Array(((end - begin) / to.values) * to.bytes);
      if (!ready && !blocks.encode({ format: to.format as BlockFormat, source: values, out, importance }))
        throw new NumericError(
          `${source.name}: tensor ${tensor.from.name} has values that are NaN, infinite, or beyond what ${to.name} holds`,
        );
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

/** Whole rows, and none of two matrices. */
function cut(source: ConversionSource, tensor: RequantizedTensor, model: ModelTensor): readonly Stretch[] {
  const { rows, columns } = matrixOf(model.shape);
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
