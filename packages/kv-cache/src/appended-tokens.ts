import { NumericError, ShapeError } from '@q/core';

/** A cache before tokens are appended to it. */
export interface CacheState {
  /** Features of a key and of a value: `kvHeads * headDim`. */
  readonly width: number;
  /** Tokens in the cache. */
  readonly length: number;
  /** Largest number of tokens in the cache. */
  readonly capacity: number;
  /** Position of the next token. */
  readonly position: number;
  /** What a user of a full cache can do: `make a larger one`. */
  readonly advice: string;
}

/**
 * Checks keys and values `[tokens, width]` before a cache takes them, so that a refused append changes nothing.
 * @param position of the first of the tokens, as the caller has it
 * @returns the number of tokens
 * @throws ShapeError when the arrays are not tokens, the position is not the next one, or the capacity is exceeded;
 *   NumericError naming the position and feature when a key or value is not finite
 */
export function checkAppended(
  keys: Float32Array,
  values: Float32Array,
  position: number,
  { width, length, capacity, position: next, advice }: CacheState,
): number {
  const tokens = keys.length / width;
  if (!Number.isInteger(tokens) || keys.length !== values.length)
    throw new ShapeError(
      `${keys.length} keys and ${values.length} values are not the same tokens of ${width} features each`,
    );
  if (position !== next)
    throw new ShapeError(`tokens at position ${position} are out of order: position ${next} is next`);
  if (length + tokens > capacity)
    throw new ShapeError(
      `the cache overflows: it holds ${length} of ${capacity} tokens and cannot take ${tokens} more; ${advice}`,
    );
  for (const [what, array] of Object.entries({ key: keys, value: values })) {
    const bad = array.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new NumericError(
        `the ${what} at position ${position + Math.floor(bad / width)} holds ${array[bad]} at feature ${bad % width}`,
      );
  }
  return tokens;
}
