import { ShapeError } from '../contracts/errors.js';
import { lsbFirst } from './lsb-first.js';
import { definePacking, type Packing } from './packing.js';

/** Widths of the planes, lowest bits first. */
const planesOf: Readonly<Record<number, readonly number[]>> = { 3: [2, 1], 5: [4, 1], 6: [4, 2], 7: [4, 2, 1] };

/**
 * GPTQModel's `gptq_p`: 32 codes of 3, 5, 6 or 7 bits as planes of 4, 2 and 1 bits, each plane an LSB-first stream of
 * its own, that of the lowest bits first; `bits` 32-bit words in all (docs/reference/file-formats.md#packing-of-gptq).
 * @throws ShapeError for other widths, which have no planes
 */
export function gptqPlanar(bits: number): Packing {
  const widths = planesOf[bits];
  if (!widths) throw new ShapeError(`gptq_p has planes for 3, 5, 6 and 7 bits, not for ${bits}`);
  const plane = new Uint8Array(32);
  return definePacking({
    name: `gptq-planar${bits}`,
    bits,
    multiple: 32,
    bytes: (count) => (count * bits) / 8,
    pack(codes, out) {
      for (let i = 0, o = 0; i < codes.length; i += 32) {
        for (let k = 0, shift = 0; k < widths.length; shift += widths[k++]) {
          const mask = 2 ** widths[k] - 1;
          for (let j = 0; j < 32; j++) plane[j] = (codes[i + j] >>> shift) & mask;
          lsbFirst(widths[k]).pack(plane, out.subarray(o, o + 4 * widths[k]));
          o += 4 * widths[k];
        }
      }
    },
    unpack(bytes, out) {
      out.fill(0);
      for (let i = 0, o = 0; i < out.length; i += 32) {
        for (let k = 0, shift = 0; k < widths.length; shift += widths[k++]) {
          lsbFirst(widths[k]).unpack(bytes.subarray(o, o + 4 * widths[k]), 32, plane);
          for (let j = 0; j < 32; j++) out[i + j] |= plane[j] << shift;
          o += 4 * widths[k];
        }
      }
    },
  });
}
