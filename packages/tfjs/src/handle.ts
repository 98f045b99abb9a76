import type * as tfjs from '@tensorflow/tfjs-core';

/** The module object of tfjs, whichever build it came from. */
export type Tfjs = typeof tfjs;

declare const handleBrand: unique symbol;

/**
 * A value on the engine. Opaque, so that nothing outside this package depends on tfjs: it is read and made through
 * the engine's `ops` alone.
 */
export interface Handle {
  readonly [handleBrand]: 'tfjs';
}
