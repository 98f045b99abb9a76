import { allFinite } from '../all-finite.js';
import type { PackTransposedArgs, StreamKernels } from '../contracts/stream-kernels.js';
import { decodeBf16, decodeF16 } from '../dtypes/half.js';
import { packWords32 } from '../packing/words.js';

/** Reference, in its own memory. */
export const plainStream: StreamKernels = {
  reserve: (bytes) => ({ bytes: new Uint8Array(bytes), release: () => {} }),
  decodeHalf({ dtype, patterns, values }) {
    if (dtype === 'f16') decodeF16(patterns, values);
    else decodeBf16(patterns, values);
    return allFinite(values);
  },
  packTransposed,
};

function packTransposed({ codes, rows, columns, bits, words }: PackTransposedArgs): void {
  const height = Math.ceil((columns * bits) / 32);
  // Sixteen rows at a time: their words fill a cache line.
  const panel = Array.from({ length: Math.min(16, rows) }, () => new Uint32Array(height));
  for (let top = 0; top < rows; top += panel.length) {
    const count = Math.min(panel.length, rows - top);
    for (let k = 0; k < count; k++)
      packWords32(codes.subarray((top + k) * columns, (top + k + 1) * columns), bits, panel[k]);
    for (let i = 0; i < height; i++) for (let k = 0; k < count; k++) words[i * rows + top + k] = panel[k][i];
  }
}
