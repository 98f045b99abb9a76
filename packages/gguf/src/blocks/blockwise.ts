import type { BlockFormat } from '@q/core';
import { blockOf } from './block-bytes.js';

/** A format by what becomes of one block. */
interface OneBlock extends Pick<BlockFormat, 'name' | 'values' | 'bytes' | 'kernel'> {
  /** Returns whether what it stores is finite. */
  encode(x: Float32Array, to: Uint8Array): boolean;
  decode(from: Uint8Array, to: Float32Array): void;
}

/** Whole blocks, one after the other, up to the first that cannot be stored. */
export function blockwise({ encode, decode, ...sizes }: OneBlock): BlockFormat {
  const { values, bytes } = sizes;
  return {
    ...sizes,
    encode(all, out) {
      for (let block = 0; block < all.length / values; block++)
        if (!encode(blockOf(all, block, values), blockOf(out, block, bytes))) return false;
      return true;
    },
    decode(all, out) {
      for (let block = 0; block < out.length / values; block++)
        decode(blockOf(all, block, bytes), blockOf(out, block, values));
    },
  };
}
