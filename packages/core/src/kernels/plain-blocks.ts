import type { BlockKernels } from '../contracts/block-kernels.js';
import { decodeBf16, decodeF16 } from '../dtypes/half.js';

/** Reference: the format's own encoder on f32 values. */
export const plainBlocks: BlockKernels = {
  encode({ format, source, out, importance }) {
    if (source.dtype === 'f32') return format.encode(source.data, out, importance);
    const decode = source.dtype === 'f16' ? decodeF16 : decodeBf16;
    return format.encode(decode(source.data), out, importance);
  },
};
