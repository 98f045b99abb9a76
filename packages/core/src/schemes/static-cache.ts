import type { Scheme } from '../contracts/scheme.js';
import { int8 } from '../formats/linear.js';
import { e4m3 } from '../formats/minifloat.js';
import { perTensor } from './granularity.js';
import { f32Scale } from './scale-storage.js';
import { scheme } from './scheme.js';

/**
 * Schemes of a cache whose scales come from calibration, by the names that `--kv-cache` takes: one scale for the keys
 * of an attention, one for its values.
 */
export const staticCacheSchemes: Readonly<Record<'fp8' | 'int8', Scheme>> = {
  fp8: scheme({ format: e4m3, granularity: perTensor, scaleStorage: f32Scale, dynamic: false }),
  int8: scheme({ format: int8, granularity: perTensor, scaleStorage: f32Scale, dynamic: false }),
};

/** Static scales of the cache of one attention. */
export interface CacheScales {
  readonly key: number;
  readonly value: number;
}

/**
 * The scale of all keys or of all values: `max|x| / 448` for E4M3, `max|x| / 127` for int8, rounded to its storage. If
 * all of them were 0 the scale is 1. (compressed-tensors divides by 127.5 for int8, which clips the largest value by
 * half a step.)
 * @param largest max|x| over all tokens and channels
 */
export function staticCacheScale(largest: number, { format, scaleStorage }: Scheme): number {
  return scaleStorage.store(Float32Array.of(largest / format.max)).effective[0];
}
