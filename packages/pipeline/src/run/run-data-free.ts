import { noStatistics } from '@q/calib';
import type { CheckpointWriter } from '@q/checkpoint';
import { type Context, type StreamKernels, type Tensor, type WeightBuffers, yieldToEventLoop } from '@q/core';
import { guard } from '../blocks/guard.js';
import { rewriteModel } from '../plan/model-source.js';
import type { Plan, PlannedModule } from '../plan/plan.js';
import { moduleRow } from '../report/module-row.js';
import type { ModuleRow } from '../report/report.js';
import type { Journal } from '../resume/journal.js';

/**
 * Bytes of weights between two journal entries. Each entry costs a sync, and no computation runs during the last sync,
 * so that one should be short.
 */
export const journalBytes = 64e6;

/**
 * A weight is read while the previous one is computed, if both in f32 take at most this many bytes. Large weights keep
 * the processor busy long enough, and would double the memory in use.
 */
const readAheadBytes = 256e6;

/**
 * Quantizes tensor by tensor: the model is never loaded as a whole. While a weight is computed, the next one is read,
 * and earlier results are written and synced.
 */
export async function runDataFree(
  plan: Plan,
  writer: CheckpointWriter,
  journal: Journal<ModuleRow>,
  context: Context,
): Promise<void> {
  const done = new Set([...journal.finished.values()].flat().map(({ module }) => module));
  const source = rewriteModel(plan.checkpoint, plan.recipe, context.kernels);
  const total = plan.modules.size;
  const modules = [...plan.modules.values()].filter(({ linear }) => !done.has(linear.module));
  const elements = (index: number) => modules[index].linear.inFeatures * modules[index].linear.outFeatures;
  const { buffers, release } = reserveBuffers(plan, modules, context.kernels.stream);
  const buffersOf = (index: number) => buffers[index % buffers.length];
  const read = (index: number) => watched(source.weight(`${modules[index].linear.module}.weight`, buffersOf(index)));
  let reading: Promise<Tensor<'f32'>> | undefined;
  let writing: Promise<void> = Promise.resolve();
  let syncing: Promise<void> = Promise.resolve();
  let pending: ModuleRow[] = [];
  let bytes = 0;
  const flush = async (written: Promise<void>, rows: readonly ModuleRow[]) => {
    await written;
    const tensors = await writer.sync();
    await journal.append({ unit: `modules ..${rows[rows.length - 1].module}`, rows, tensors });
  };
  try {
    for (const [index, planned] of modules.entries()) {
      await yieldToEventLoop(context.signal);
      const { module } = planned.linear;
      const weight = await (reading ?? read(index));
      const ahead = index + 1 < modules.length && 4 * (elements(index) + elements(index + 1)) <= readAheadBytes;
      reading = ahead ? read(index + 1) : undefined;
      const { quantizer, scheme } = planned;
      const { codes } = buffersOf(index);
      const result = await quantizer.quantize(weight, noStatistics, scheme, context, codes);
      const guarded = await guard({ module, method: quantizer.name, scheme, weight, result }, context.kernels);
      await writing;
      writing = watched(writer.writeModule(module, guarded.quantized));
      for (const text of guarded.report.notes) context.logger.warn(`${module}: ${text}`);
      const row = moduleRow(plan, planned, guarded);
      pending.push(row);
      bytes += row.bytesBefore;
      context.progress({ task: 'quantize', done: done.size + index + 1, total, unit: 'modules', note: module });
      if (bytes > journalBytes || index + 1 === modules.length) {
        await syncing;
        syncing = watched(flush(writing, pending));
        pending = [];
        bytes = 0;
      }
    }
    await syncing;
  } finally {
    // No work may still run when the caller closes or removes the files, after success or failure.
    await Promise.allSettled([reading, writing, syncing]);
    release();
  }
}

/** Buffers into which a weight is read, decoded and rounded. */
interface ReservedBuffers extends WeightBuffers {
  readonly codes: Uint8Array;
}

/** Buffers for the largest of the weights that are read ahead, two sets in turn, in the kernels' memory. */
function reserveBuffers(
  { checkpoint }: Plan,
  modules: readonly PlannedModule[],
  stream: StreamKernels,
): { readonly buffers: readonly ReservedBuffers[]; release(): void } {
  let [bytes, values, codes] = [0, 0, 0];
  for (const { linear } of modules) {
    const count = linear.inFeatures * linear.outFeatures;
    const entry = checkpoint.tensors.get(`${linear.module}.weight`);
    if (!entry || 8 * count > readAheadBytes) continue;
    bytes = Math.max(bytes, entry.end - entry.begin);
    // f32 is used directly from the file's buffer.
    if (entry.dtype !== 'F32') values = Math.max(values, count);
    codes = Math.max(codes, count);
  }
  const begin = Math.ceil(bytes / 4) * 4;
  const reserves = [1, 2].map(() => stream.reserve(begin + 4 * values + codes));
  return {
    buffers: reserves.map(({ bytes: { buffer, byteOffset } }) => ({
      bytes: new Uint8Array(buffer, byteOffset, bytes),
      values: new Float32Array(buffer, byteOffset + begin, values),
      codes: new Uint8Array(buffer, byteOffset + begin + 4 * values, codes),
      stream,
    })),
    release() {
      for (const reserve of reserves) reserve.release();
    },
  };
}

/** A promise that is awaited later. Until then its failure counts as handled. */
function watched<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
