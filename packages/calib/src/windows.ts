import { CalibrationError, type Random } from '@q/core';

/** Token ids cut into windows of one length, or sequences of several lengths. */
export interface Windows {
  /** `[count * length]`, row-major; sequences one after the other. */
  readonly ids: Int32Array;
  readonly count: number;
  /** Of each window; of the longest where `lengths` says that of each. */
  readonly length: number;
  /** Of each sequence, falling. Absent when all are `length` long. */
  readonly lengths?: Int32Array;
}

/** Windows of one length that are computed together. */
export interface WindowBatch {
  /** Index of its first window, and of its first token among those of all windows. */
  readonly first: number;
  readonly start: number;
  /** `[count, length]` */
  readonly ids: Int32Array;
  readonly count: number;
  readonly length: number;
}

/**
 * Windows in batches of one length each, in order, so that no batch needs padding.
 * @param size windows of the full length in a batch; of shorter ones it holds as many as have no more tokens
 */
export function windowBatches({ ids, count, length, lengths }: Windows, size: number): readonly WindowBatch[] {
  const batches: WindowBatch[] = [];
  let start = 0;
  for (let first = 0; first < count; ) {
    const own = lengths?.[first] ?? length;
    const most = Math.max(1, Math.floor((size * length) / own));
    let many = 1;
    while (many < most && first + many < count && (lengths?.[first + many] ?? length) === own) many++;
    batches.push({ first, start, ids: ids.subarray(start, start + many * own), count: many, length: own });
    first += many;
    start += many * own;
  }
  return batches;
}

/** Consecutive windows of a calibration whose statistics are collected by themselves. */
export interface WindowShard {
  readonly windows: Windows;
  /** Index of its first window, and of its first token among those of all windows. */
  readonly first: number;
  readonly start: number;
}

/**
 * Cuts windows into consecutive shards of about equally many tokens. The same windows and the same number give the same
 * shards. A shard is empty if one sequence has more tokens than a shard.
 */
export function shardWindows(windows: Windows, shards: number): readonly WindowShard[] {
  const { ids, count, length, lengths } = windows;
  if (shards === 1) return [{ windows, first: 0, start: 0 }];
  const parts: WindowShard[] = [];
  let [first, start] = [0, 0];
  for (let shard = 0; shard < shards; shard++) {
    let [end, stop] = [first, start];
    // A window belongs to the shard in which its first token is.
    while (end < count && stop * shards < (shard + 1) * ids.length) {
      stop += lengths?.[end] ?? length;
      end++;
    }
    parts.push({
      windows: {
        ...{ ids: ids.subarray(start, stop), count: end - first, length },
        ...(lengths ? { lengths: lengths.subarray(first, end) } : {}),
      },
      ...{ first, start },
    });
    [first, start] = [end, stop];
  }
  return parts;
}

export interface WindowOptions {
  /** Windows wanted; all that fit when absent. */
  readonly count?: number;
  /** First window, counted back to back from the start. */
  readonly skip?: number;
  /** Draws windows at random, without repetition, instead of the first ones. */
  readonly shuffle?: Random;
  /** For messages. */
  readonly name?: string;
}

/**
 * Cuts a stream into windows back to back; what does not fill a window is left out.
 * @throws CalibrationError saying how many tokens there are and how many are needed
 */
export function cutWindows(stream: Int32Array, length: number, options: WindowOptions = {}): Windows {
  const { skip = 0, shuffle, name = 'the text' } = options;
  if (!Number.isInteger(length) || length < 2)
    throw new CalibrationError(`a window needs a length of at least 2 tokens, got ${length}`);
  const available = Math.max(0, Math.floor(stream.length / length) - skip);
  const count = options.count ?? available;
  if (!Number.isInteger(count) || count < 0)
    throw new CalibrationError(`the number of windows must be a whole number of at least 1, got ${count}`);
  if (count === 0 || available < count) {
    const needed = (skip + Math.max(1, count)) * length;
    throw new CalibrationError(
      `${name} is too short: it has ${stream.length} tokens, ${needed} are needed for ${Math.max(1, count)} windows of ${length}: give more text, or fewer or shorter windows`,
    );
  }
  if (!shuffle) return { ids: stream.slice(skip * length, (skip + count) * length), count, length };
  const order = Int32Array.from({ length: available }, (_, i) => i);
  const ids = new Int32Array(count * length);
  for (let i = 0; i < count; i++) {
    const j = i + shuffle.integer(available - i);
    [order[i], order[j]] = [order[j], order[i]];
    const start = (skip + order[i]) * length;
    ids.set(stream.subarray(start, start + length), i * length);
  }
  return { ids, count, length };
}

/**
 * Windows from a file of little-endian 16-bit ids.
 * @param length tokens of a window
 * @throws CalibrationError when the bytes are not whole windows
 */
export const readU16Windows = (bytes: Uint8Array, length: number, name?: string): Windows =>
  readIdWindows(bytes, length, 2, name);

/**
 * Windows from a file of little-endian 32-bit ids, for vocabularies of more than 65,536 tokens.
 * @param length tokens of a window
 * @throws CalibrationError when the bytes are not whole windows
 */
export const readU32Windows = (bytes: Uint8Array, length: number, name?: string): Windows =>
  readIdWindows(bytes, length, 4, name);

function readIdWindows(bytes: Uint8Array, length: number, size: 2 | 4, name = 'the file'): Windows {
  if (bytes.length === 0 || bytes.length % (size * length) !== 0) {
    throw new CalibrationError(
      `${name} has ${bytes.length} bytes, which are not whole windows of ${length} ${8 * size}-bit ids`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = size === 2 ? view.getUint16.bind(view) : view.getInt32.bind(view);
  // An id of 2^31 or more becomes negative, and `checkVocabulary` refuses it.
  const ids = Int32Array.from({ length: bytes.length / size }, (_, i) => read(size * i, true));
  return { ids, count: ids.length / length, length };
}

/**
 * @throws CalibrationError naming the first id that is not in the vocabulary
 */
export function checkVocabulary(windows: Windows, vocabularySize: number, name = 'the calibration text'): void {
  const { ids } = windows;
  const index = ids.findIndex((id) => id < 0 || id >= vocabularySize);
  if (index >= 0) {
    const { first, start, length } = windowBatches(windows, 1).findLast((batch) => batch.start <= index) as WindowBatch;
    const [window, position] = [first + Math.floor((index - start) / length), (index - start) % length];
    throw new CalibrationError(
      `${name}: token id ${ids[index]} at window ${window}, position ${position} is outside of the model's vocabulary of ${vocabularySize}: it was tokenized for another model`,
    );
  }
}
