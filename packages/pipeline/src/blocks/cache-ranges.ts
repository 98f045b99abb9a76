import {
  type CacheScales,
  type CacheSite,
  CalibrationError,
  NumericError,
  type Scheme,
  staticCacheScale,
} from '@q/core';

/** The largest magnitudes of keys and values; absent if none was seen. */
export type LargestCached = Readonly<Partial<Record<CacheSite['kind'], number>>>;

/** The largest keys and values of one block on calibration windows, for static scales of its cache. */
export class CacheRanges {
  readonly #largest: Partial<Record<CacheSite['kind'], number>> = {};

  /** @param attention its module, for messages */
  constructor(readonly attention: string) {}

  get largest(): LargestCached {
    return { ...this.#largest };
  }

  /** Takes what another process has seen. */
  merge({ key, value }: LargestCached): void {
    if (key !== undefined) this.#largest.key = Math.max(key, this.#largest.key ?? 0);
    if (value !== undefined) this.#largest.value = Math.max(value, this.#largest.value ?? 0);
  }

  /** Takes keys or values as the cache gets them: positions applied, any number of tokens. */
  readonly see = ({ kind }: CacheSite, values: Float32Array): void => {
    let largest = this.#largest[kind] ?? 0;
    for (let i = 0; i < values.length; i++) {
      const size = Math.abs(values[i]);
      if (!(size < Infinity))
        throw new NumericError(
          `${this.attention}: a ${kind} is ${values[i]}: a calibration window made the model overflow, or holds NaN`,
        );
      if (size > largest) largest = size;
    }
    this.#largest[kind] = largest;
  };

  /** @throws CalibrationError when no key or value was seen */
  scales(scheme: Scheme): CacheScales {
    const { key, value } = this.#largest;
    if (key === undefined || value === undefined)
      throw new CalibrationError(
        `${this.attention}: no calibration token reached its cache: scales of a cache need some`,
      );
    return { key: staticCacheScale(key, scheme), value: staticCacheScale(value, scheme) };
  }
}
