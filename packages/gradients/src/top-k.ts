import { FormatError } from '@q/core';
import { expectShare } from './buckets.js';
import type { GradientCodec } from './gradient-compressor.js';
import { expectBytes, readFloats } from './payload.js';

export interface TopKOptions {
  /** Share of the elements that is sent, above 0. At least one is. Default 0.01. */
  readonly share?: number;
}

/**
 * Sends the elements of largest magnitude as they are, and the others as 0 (sparsified SGD with memory, Stich et al.,
 * arXiv 1809.07599). Biased: wrap it in `errorFeedback`. An element takes 8 bytes: u32 index and f32 value, by rising
 * index. Of equal magnitudes the first ones are sent.
 * @throws SchemeError when `share` is out of range
 */
export function topK({ share = 0.01 }: TopKOptions = {}): GradientCodec {
  expectShare('topK: share', share);
  const count = (length: number) => Math.min(length, Math.max(1, Math.round(share * length)));
  return {
    name: 'topk',
    options: { share },
    unbiased: false,
    compress(gradient) {
      const kept = largestIndices(gradient, count(gradient.length));
      const view = new DataView(new ArrayBuffer(8 * kept.length));
      kept.forEach((index, k) => {
        view.setUint32(4 * k, index, true);
        view.setFloat32(4 * (kept.length + k), gradient[index], true);
      });
      return new Uint8Array(view.buffer);
    },
    decompress(payload, length) {
      const kept = count(length);
      expectBytes(payload, 8 * kept);
      const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
      const values = readFloats(payload, kept, 4 * kept);
      const gradient = new Float32Array(length);
      let last = -1;
      for (let k = 0; k < kept; k++) {
        const index = view.getUint32(4 * k, true);
        if (index <= last || index >= length)
          throw new FormatError(
            `a top-k message has the index ${index} after ${last}: expected rising ones below ${length}`,
          );
        gradient[index] = values[k];
        last = index;
      }
      return gradient;
    },
  };
}

/** Indices of the `count` largest magnitudes, rising. */
function largestIndices(values: Float32Array, count: number): Uint32Array {
  const magnitudes = values.map(Math.abs).sort();
  const threshold = magnitudes[magnitudes.length - count];
  let ties = count;
  for (const value of values) if (Math.abs(value) > threshold) ties--;
  const kept = new Uint32Array(count);
  let filled = 0;
  for (let i = 0; i < values.length && filled < count; i++) {
    const magnitude = Math.abs(values[i]);
    if (magnitude > threshold || (magnitude === threshold && ties-- > 0)) kept[filled++] = i;
  }
  return kept;
}
