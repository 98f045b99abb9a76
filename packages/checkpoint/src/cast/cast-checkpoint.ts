import { dirname, join } from 'node:path';
import { NumericError, type ProgressEvent, SchemeError } from '@q/core';
import {
  type FileOptions,
  type FileRecord,
  makeFolders,
  nodeFiles,
  WriteError,
  writeFileDurably,
} from '@q/durable-files';
import { createShardWriter, type FileDtype, holdsValues, planShards, type ShardPlan } from '@q/safetensors';
import type { Checkpoint } from '../checkpoint.js';
import { copyModelFile } from '../model-files.js';
import { joinStacks } from '../stacks/index.js';
import { type CastDtype, castConfigText } from './cast-config.js';
import { castBytes, checkCast, elementBytes, isWithinRange, isZeroingHarmful, type LostValues } from './cast-values.js';

/** A tensor with values that a dtype cannot represent. */
export interface LossyTensor {
  readonly name: string;
  readonly dtype: FileDtype;
  /** Finite values that would become infinite. */
  readonly over: LostValues;
  /** Values other than zero that would become zero. */
  readonly under: LostValues;
  /** False when its values only become zero, and all of these are smaller than the error of rounding its largest value. */
  readonly harmful: boolean;
}

export interface CastPlan {
  readonly dtype: CastDtype;
  readonly shards: ShardPlan;
  /** Tensors whose dtype changes. */
  readonly cast: readonly string[];
  /** Tensors of integers and flags, which stay as they are. */
  readonly notFloat: readonly string[];
}

export interface CastOptions extends FileOptions {
  readonly signal?: AbortSignal;
  readonly progress?: (event: ProgressEvent) => void;
}

/** Number of values in memory at a time. */
const chunkValues = 4 * 2 ** 20;

/**
 * Plans a cast. Reads only headers.
 * @param kept tensors that keep their dtype
 * @throws SchemeError when the folder is quantized, naming the layout or the tensor: its codes are not values
 */
export function planCast(source: Checkpoint, dtype: CastDtype, kept: ReadonlySet<string> = new Set()): CastPlan {
  refuseQuantized(source);
  const to = dtype.toUpperCase() as FileDtype;
  const entries = [...source.tensors.values()];
  const changes = (entry: (typeof entries)[number]) =>
    holdsValues(entry.dtype) && entry.dtype !== to && !kept.has(entry.name);
  const tensors = entries.map((entry) => ({
    name: entry.name,
    shape: entry.shape,
    dtype: changes(entry) ? to : entry.dtype,
  }));
  return {
    dtype,
    shards: planShards(joinStacks(tensors, source.stacks)),
    cast: entries.filter(changes).map(({ name }) => name),
    notFloat: entries.filter((entry) => !holdsValues(entry.dtype)).map(({ name }) => name),
  };
}

/**
 * Integers next to float tensors are counts, positions and masks, which stay. Small floats, and tensors of a layout,
 * are codes whose scales are in other tensors.
 */
function refuseQuantized({ path, layout, config, tensors }: Checkpoint): void {
  const quantized = layout ?? (config.quantization_config ? 'config.json has quantization_config' : undefined);
  if (quantized)
    throw new SchemeError(
      `${path}: is quantized (${quantized}), and its codes have no dtype to cast to: cast the original model, then quantize it`,
    );
  for (const { name, dtype } of tensors.values())
    if (/^F4|^F6_|^F8|^C/.test(dtype))
      throw new SchemeError(
        `${path}: tensor ${name} is of dtype ${dtype}, and F16, BF16, F32 and F64 can be cast: cast the original model`,
      );
}

/**
 * Reads every tensor of a plan with values that may be outside of the dtype's range.
 * @returns tensors with values that would become infinite or zero, in the order of the files
 * @throws NumericError when a tensor that the model reads has NaN or infinity
 */
export async function auditCast(
  source: Checkpoint,
  plan: CastPlan,
  { signal, progress }: Omit<CastOptions, 'files'> = {},
): Promise<readonly LossyTensor[]> {
  const lossy: LossyTensor[] = [];
  for (const [index, name] of plan.cast.entries()) {
    const dtype = dtypeOf(source, name);
    if (!isWithinRange(dtype, plan.dtype)) {
      const [over, under] = [noneLost(), noneLost()];
      let largest = 0;
      await eachChunk(source, name, signal, (bytes, begin) => {
        const found = checkCast(dtype, plan.dtype, bytes);
        refuseNotFinite(source, name, found.notFinite < 0 ? -1 : begin / elementBytes(dtype) + found.notFinite);
        add(over, found.over);
        add(under, found.under);
        largest = Math.max(largest, found.largest);
      });
      const harmful = over.count > 0 || isZeroingHarmful(under, largest, plan.dtype);
      if (over.count + under.count > 0) lossy.push({ name, dtype, over, under, harmful });
    }
    progress?.({ task: 'audit', done: index + 1, total: plan.cast.length, unit: 'tensors', note: name });
  }
  return lossy;
}

/**
 * Writes the folder of a plan, tensor by tensor: weights first, config.json last. After an error its weight files are
 * removed.
 * @param out an existing folder
 * @throws WriteError when the disk has less free space than the plan needs
 * @throws NumericError when a tensor that the model reads has NaN or infinity
 */
export async function writeCast(
  source: Checkpoint,
  plan: CastPlan,
  out: string,
  { signal, progress, files = nodeFiles }: CastOptions = {},
): Promise<readonly FileRecord[]> {
  const free = await files.freeBytes(out);
  if (free < plan.shards.byteLength)
    throw new WriteError(
      `${out}: no space left on the disk: ${plan.shards.byteLength} bytes are needed, ${free} are free: free some or choose another output folder`,
    );
  const shards = await createShardWriter(out, plan.shards, { files });
  const records: FileRecord[] = [];
  try {
    const cast = new Set(plan.cast);
    let done = 0;
    for (const name of source.tensors.keys()) {
      const from = dtypeOf(source, name);
      const scale = cast.has(name) ? elementBytes(plan.dtype.toUpperCase() as FileDtype) / elementBytes(from) : 1;
      await eachChunk(source, name, signal, async (bytes, begin) => {
        if (holdsValues(from)) {
          const { notFinite } = checkCast(from, 'f32', bytes);
          refuseNotFinite(source, name, notFinite < 0 ? -1 : begin / elementBytes(from) + notFinite);
        }
        await shards.writeBytes(name, cast.has(name) ? castBytes(from, plan.dtype, bytes) : bytes, begin * scale);
      });
      progress?.({ task: 'cast', done: ++done, total: source.tensors.size, unit: 'tensors', note: name });
    }
    records.push(...(await shards.finish()));
  } catch (error) {
    await shards.abort().catch(() => {});
    throw error;
  }
  for (const name of source.otherFiles) {
    await makeFolders(dirname(join(out, name)), { files });
    records.push({ file: name, ...(await copyModelFile(source.files, name, join(out, name), { files })) });
  }
  const original = (await source.files.text('config.json')) as string;
  const text = castConfigText(original, plan.dtype, source.configChanges);
  return [...records, { file: 'config.json', ...(await writeFileDurably(join(out, 'config.json'), text, { files })) }];
}

const dtypeOf = (source: Checkpoint, name: string): FileDtype =>
  (source.tensors.get(name) as { readonly dtype: FileDtype }).dtype;

/** Gives a tensor's bytes in pieces of whole values. */
async function eachChunk(
  source: Checkpoint,
  name: string,
  signal: AbortSignal | undefined,
  take: (bytes: Uint8Array, begin: number) => void | Promise<void>,
): Promise<void> {
  const { begin, end } = source.tensors.get(name) as { readonly begin: number; readonly end: number };
  // Eight bytes are a whole number of values of every dtype.
  const step = chunkValues * 8;
  for (let start = 0; start < end - begin; start += step) {
    signal?.throwIfAborted();
    await take(await source.readBytes(name, start, Math.min(start + step, end - begin)), start);
  }
}

/** A tensor that the model does not read may have any values, such as masks of -infinity. */
function refuseNotFinite({ path, model }: Checkpoint, name: string, index: number): void {
  if (index < 0 || (model && !model.expected.has(name))) return;
  throw new NumericError(
    `${path}: tensor ${name} holds NaN or infinity at element ${index}: repair the checkpoint first`,
  );
}

type Counted = { -readonly [K in keyof LostValues]: LostValues[K] };

const noneLost = (): Counted => ({ count: 0, largest: 0 });

function add(to: Counted, { count, largest }: LostValues): void {
  to.count += count;
  to.largest = Math.max(to.largest, largest);
}
