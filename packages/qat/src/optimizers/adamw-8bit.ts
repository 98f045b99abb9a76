import { dynamicMap, unsignedDynamicMap } from '@q/core';
import { type BlockwiseAdamWOptions, blockwiseAdamW } from './blockwise-adamw.js';
import type { Optimizer } from './optimizer.js';

/**
 * AdamW with both moments in 8 bits (Dettmers et al., arXiv 2110.02861): blocks of 256 with an f32 scale each, codes of
 * the dynamic map, signed for the first moment and unsigned for the second. It needs 2.03 bytes of state a parameter
 * instead of 8.
 */
export const adamW8bit = (options: BlockwiseAdamWOptions = {}): Optimizer =>
  blockwiseAdamW(
    { name: 'adamW8bit', bits: 8, blockSize: 256, first: dynamicMap, second: unsignedDynamicMap },
    options,
  );
