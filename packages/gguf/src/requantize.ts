import {
  type BlockFormat,
  type BlockSource,
  type Kernels,
  NumericError,
  type ProgressEvent,
  type Reserve,
  referenceKernels,
  viewBytes,
} from '@q/core';
import type { FileOptions } from '@q/durable-files';
import type { ByteSource } from '@q/safetensors';
import { createGgufWriter } from './file-writer.js';
import { type LargestBlock, largestBlock, refuseLost } from './lost-tensor.js';
import type { RequantizedTensor, RequantizePlan } from './requantize-plan.js';

export interface RequantizeRun extends FileOptions {
  /** Encode blocks; the plain functions when absent. */
  readonly kernels?: Pick<Kernels, 'blocks' | 'stream'>;
  readonly signal?: AbortSignal;
  /** Called after each chunk with the bytes read so far, and the total. */
  readonly progress?: (event: ProgressEvent) => void;
}

/** Number of values of a chunk. */
const stretchValues = 2 ** 20;

/** A part of a tensor, in whole blocks. */
interface Stretch {
  readonly tensor: RequantizedTensor;
  /** Offset in the source. */
  readonly begin: number;
  readonly end: number;
  /** Offset in the written tensor. */
  readonly offset: number;
  readonly bytes: number;
}

/**
 * Writes the planned file chunk by chunk: while one is encoded, the next is read and the last is written. The file is
 * either complete or absent.
 * @throws NumericError when a tensor has NaN or infinite values, or values beyond its type
 * @throws FormatError when the source ends early
 * @throws WriteError when the file cannot be written
 */
export async function requantize(
  source: ByteSource,
  plan: RequantizePlan,
  path: string,
  { kernels = referenceKernels, signal, progress, files }: RequantizeRun = {},
): Promise<void> {
  const { blocks, stream } = kernels;
  const stretches = plan.tensors.flatMap(cut);
  const room = (bytes: (stretch: Stretch) => number) =>
    stretches.reduce((most, stretch) => Math.max(most, bytes(stretch)), 0);
  const reserves: Reserve[] = [];
  const pair = (bytes: number): readonly [Uint8Array, Uint8Array] => {
    const both = [stream.reserve(bytes), stream.reserve(bytes)] as const;
    reserves.push(...both);
    return [both[0].bytes, both[1].bytes];
  };
  const writer = await createGgufWriter(path, plan.file, { files });
  const pending: Promise<unknown>[] = [];
  let largest: LargestBlock | undefined;
  let next: Promise<Uint8Array> | undefined;
  try {
    const inputs = pair(room(({ begin, end }) => end - begin));
    const outputs = pair(room(({ bytes }) => bytes));
    const read = (index: number) => {
      const { begin, end } = stretches[index];
      const bytes = source.slice(begin, end, inputs[index % 2]);
      // The promise is awaited later; until then its failure must not count as unhandled.
      bytes.catch(() => {});
      return bytes;
    };
    if (stretches.length > 0) next = read(0);
    let done = 0;
    for (const [index, { tensor, begin, end, offset, bytes }] of stretches.entries()) {
      signal?.throwIfAborted();
      const input = (await next) as Uint8Array;
      // The buffers of the chunk before the last one are free again.
      await pending[index - 2];
      if (index > 0 && copies(stretches[index - 1])) await pending[index - 1];
      if (index + 1 < stretches.length) next = read(index + 1);
      const { from, to } = tensor;
      const importance = weightsOf(stretches[index]);
      let output = input;
      if (to !== from.type) {
        output = outputs[index % 2].subarray(0, bytes);
        if (
          !blocks.encode({ format: to.format as BlockFormat, source: valuesOf(tensor, input), out: output, importance })
        )
          throw new NumericError(
            `${source.name}: tensor ${from.name} has values that are NaN, infinite, or beyond what ${to.name} holds`,
          );
      }
      if (to !== from.type) {
        largest = largestBlock(to, valuesOf(tensor, input), output, offset === 0 ? undefined : largest);
        if (offset + bytes === tensor.bytes) refuseLost(source.name, tensor, largest);
      }
      const write = writer.write(from.name, output, offset);
      write.catch(() => {});
      pending.push(write);
      done += end - begin;
      progress?.({ task: 'quantize', done, total: plan.bytesBefore, unit: 'bytes', note: from.name });
    }
    await Promise.all(pending);
    signal?.throwIfAborted();
    await writer.finish();
  } catch (error) {
    // Memory and file are in use until the last read and the last write have ended.
    await Promise.allSettled([next, ...pending]);
    // The first error has the reason.
    await writer.abort().catch(() => {});
    throw error;
  } finally {
    for (const reserve of reserves) reserve.release();
  }
}

const copies = ({ tensor }: Stretch) => tensor.to === tensor.from.type;

/** Weights of the columns of a chunk's matrix. */
function weightsOf({ tensor: { importance, from, to }, offset }: Stretch): Float32Array | undefined {
  if (!importance) return undefined;
  const [rows, columns] = from.shape.slice(-2);
  const matrix = Math.floor(((offset / to.bytes) * to.values) / (rows * columns));
  const matrices = importance.length / columns;
  return importance.subarray((matrix % matrices) * columns, ((matrix % matrices) + 1) * columns);
}

function valuesOf({ from }: RequantizedTensor, input: Uint8Array): BlockSource {
  if (from.type.name === 'F32') return { dtype: 'f32', data: viewBytes('f32', input) };
  if (from.type.values > 1) {
    const data = new Float32Array((input.length / from.type.bytes) * from.type.values);
    from.type.format?.decode(input, data);
    return { dtype: 'f32', data };
  }
  const dtype = from.type.name === 'F16' ? 'f16' : 'bf16';
  return { dtype, data: viewBytes(dtype, input) };
}

function cut(tensor: RequantizedTensor): readonly Stretch[] {
  const { from, to, bytes } = tensor;
  const values = (bytes / to.bytes) * to.values;
  const out: Stretch[] = [];
  // Whole blocks of both types: their sizes divide the chunk. With weights of columns also whole rows, and never rows
  // of two matrices.
  const [rows = 1, columns = 1] = from.shape.slice(-2);
  const matrix = tensor.importance ? rows * columns : values;
  const step = tensor.importance ? Math.max(1, Math.floor(stretchValues / columns)) * columns : stretchValues;
  for (let at = 0, count = 0; at < values; at += count) {
    count = Math.min(step, matrix - (at % matrix));
    const width = (type: typeof to, of: number) => (of / type.values) * type.bytes;
    const begin = from.begin + width(from.type, at);
    out.push({
      ...{ tensor, begin, end: begin + width(from.type, count) },
      ...{ offset: width(to, at), bytes: width(to, count) },
    });
  }
  return out;
}
