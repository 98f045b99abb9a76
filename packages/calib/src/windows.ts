import { CalibrationError, type Random } from '@q/core';

/** Token ids cut into windows of one length. */
export interface Windows {
  /** `[count * length]`, row-major. */
  readonly ids: Int32Array;
  readonly count: number;
  readonly length: number;
}

export interface WindowOptions {
  /** Windows wanted; all that fit when absent. */
  readonly count?: number;
  /** First window, counted back to back from the start. */
  readonly skip?: number;
  /** Draws windows at random, without repetition, in place of the first ones. */
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
 * @throws CalibrationError when the bytes are not whole windows
 */
export function readU16Windows(bytes: Uint8Array, length: number, name = 'the file'): Windows {
  if (bytes.length === 0 || bytes.length % (2 * length) !== 0) {
    throw new CalibrationError(
      `${name} has ${bytes.length} bytes, which are not whole windows of ${length} 16-bit ids`,
    );
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ids = Int32Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
  return { ids, count: ids.length / length, length };
}

/**
 * @throws CalibrationError naming the first id that is not in the vocabulary
 */
export function checkVocabulary({ ids, length }: Windows, vocabularySize: number, name = 'the calibration text'): void {
  const index = ids.findIndex((id) => id < 0 || id >= vocabularySize);
  if (index >= 0) {
    throw new CalibrationError(
      `${name}: token id ${ids[index]} at window ${Math.floor(index / length)}, position ${index % length} is outside of the model's vocabulary of ${vocabularySize}: it was tokenized for another model`,
    );
  }
}
