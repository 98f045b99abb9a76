import { nibblePacking } from './nibbles.js';
import type { Packing } from './packing.js';

/**
 * Two 4-bit codes a byte, the first one in the high nibble; an odd last code has zeros below it (bitsandbytes,
 * docs/reference/file-formats.md#nf4-and-fp4-of-bitsandbytes).
 */
export const highNibbleFirst: Packing = nibblePacking({ name: 'high-nibble-first', order: [1, 0], multiple: 1 });
