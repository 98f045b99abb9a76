import { nibblePacking } from './nibbles.js';
import type { Packing } from './packing.js';

/**
 * AutoAWQ's `gemm` order: 8 codes of 4 bits a 32-bit word, nibble k holding code `[0,2,4,6,1,3,5,7][k]`. Codes 0..7
 * give 0x75316420 (docs/reference/file-formats.md#awq).
 */
export const awqOrder: Packing = nibblePacking({ name: 'awq', order: [0, 2, 4, 6, 1, 3, 5, 7], multiple: 8 });
