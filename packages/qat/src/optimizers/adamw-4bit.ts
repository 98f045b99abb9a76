import { tableFormat } from '@q/core';
import { type BlockwiseAdamWOptions, blockwiseAdamW } from './blockwise-adamw.js';
import type { Optimizer } from './optimizer.js';

/** The dynamic map in 4 bits: 0, 1, and the middles of 1, 2 and 4 equal parts of three decades with both signs. */
const dynamicMap4 = tableFormat(
  'dynamic4',
  [0, 1, 2]
    .flatMap((decade) => {
      const parts = 2 ** decade;
      return Array.from({ length: parts }, (_, i) => 10 ** (decade - 2) * (0.1 + (0.9 * (i + 0.5)) / parts));
    })
    .flatMap((value) => [value, -value])
    .concat(0, 1),
);

/**
 * Sixteen equal steps without 0: a second moment of 0 would make a step of any size (arXiv 2309.01507, section 4.1).
 */
const linear4 = tableFormat(
  'linear4',
  Array.from({ length: 16 }, (_, i) => (i + 1) / 16),
);

/**
 * AdamW with both moments in 4 bits, two in a byte (Li et al., arXiv 2309.01507): blocks of 128 with an f32 scale each,
 * codes of the dynamic map for the first moment and of equal steps without 0 for the second. It needs 1.06 bytes of
 * state a parameter instead of 8. In the paper the second moment of matrices has a scale for each row and column; here
 * it has blocks like all others.
 */
export const adamW4bit = (options: BlockwiseAdamWOptions = {}): Optimizer =>
  blockwiseAdamW({ name: 'adamW4bit', bits: 4, blockSize: 128, first: dynamicMap4, second: linear4 }, options);
