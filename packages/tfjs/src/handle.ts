import type * as tfjs from '@tensorflow/tfjs-core';

/** The module object of tfjs, from any of its builds. */
export type Tfjs = typeof tfjs;

declare const handleBrand: unique symbol;

/**
 * A value on the engine. It is opaque, so nothing outside this package depends on tfjs: only the engine's `ops` make
 * and read it.
 */
export interface Handle {
  readonly [handleBrand]: 'tfjs';
}
