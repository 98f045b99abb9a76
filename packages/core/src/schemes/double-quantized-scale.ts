import { SchemeError } from '../contracts/errors.js';
import type { ScaleStorage } from '../contracts/scheme.js';
import { levelTable } from '../formats/level-table.js';
import { type TableFormat, tableFormat } from '../formats/table.js';

/**
 * The 256 levels of bitsandbytes' signed dynamic map (docs/reference/papers.md#qlora): for each decade 10^(i-6), i =
 * 0..6, the middles of 2^i equal parts of [0.1, 1], both signs; 0 and 1.
 */
export function dynamicMapLevels(): number[] {
  const levels = [0, 1];
  for (let i = 0; i <= 6; i++) {
    const parts = 2 ** i;
    for (let k = 0; k < parts; k++) {
      const middle = 0.1 + (0.9 * (k + 0.5)) / parts;
      levels.push(middle * 10 ** (i - 6), -middle * 10 ** (i - 6));
    }
  }
  return levels.sort((a, b) => a - b);
}

/** 8 bits with tapered precision, values in (-1, 1]; codes in ascending order of value. */
export const dynamicMap: TableFormat = tableFormat('dynamic8', dynamicMapLevels());

/**
 * Its counterpart for values of one sign in [0, 1] (second moments of 8-bit optimizers): for each decade the middles of
 * 2^(i+1) equal parts, no negative ones.
 */
export const unsignedDynamicMap: TableFormat = tableFormat('unsigned-dynamic8', unsignedDynamicMapLevels());

function unsignedDynamicMapLevels(): number[] {
  const levels = [0, 1];
  for (let i = 0; i <= 6; i++) {
    const parts = 2 ** (i + 1);
    for (let k = 0; k < parts; k++) levels.push((0.1 + (0.9 * (k + 0.5)) / parts) * 10 ** (i - 6));
  }
  return levels.sort((a, b) => a - b);
}

export interface DoubleQuantizationOptions {
  /** Scales that share a second-level scale. Default 256. */
  readonly blockSize?: number;
}

/**
 * QLoRA's double quantization: the mean of all scales is stored in f32 and subtracted. The rest is quantized in blocks
 * of 256 to 8 bits of {@link dynamicMap} with an f32 scale each. For blocks of 64 weights that makes 8/64 +
 * 32/(64*256) = 0.127 bits a weight instead of 0.5.
 *
 * Stored parts: `codes` (u8), `absMax` (f32, one a block of scales: `nested_absmax`) and `offset` (f32 `[1]`:
 * `nested_offset`); effective scale = `map[code] * absMax + offset`. A code whose scale would not be above zero is
 * replaced by the first code whose scale is.
 * @throws SchemeError for a block size below 1
 */
export function doubleQuantizedScale(options: DoubleQuantizationOptions = {}): ScaleStorage {
  const { blockSize = 256 } = options;
  if (!Number.isInteger(blockSize) || blockSize < 1) {
    throw new SchemeError(`double quantization needs blocks of at least 1 scale, got ${blockSize}`);
  }
  return {
    name: 'double',
    unsigned: true,
    store(scales) {
      const effective = new Float32Array(scales.length);
      const codes = new Uint8Array(scales.length);
      const absMax = new Float32Array(Math.ceil(scales.length / blockSize));
      let sum = 0;
      for (const scale of scales) sum += scale;
      const offset = scales.length === 0 ? 0 : Math.fround(sum / scales.length);
      for (let block = 0; block < absMax.length; block++) {
        const own = scales.subarray(block * blockSize, (block + 1) * blockSize);
        let largest = 0;
        for (const scale of own) largest = Math.max(largest, Math.abs(Math.fround(scale - offset)));
        absMax[block] = largest;
        for (let i = 0; i < own.length; i++) {
          let code = largest === 0 ? zeroCode : dynamicMap.encode(Math.fround(own[i] - offset) / largest);
          const at = block * blockSize + i;
          while ((effective[at] = dynamicMap.levels[code] * largest + offset) <= 0 && code < 255) code++;
          if (effective[at] <= 0) effective[at] = 1;
          codes[at] = code;
        }
      }
      return { effective, parts: { codes, absMax, offset: Float32Array.of(offset) } };
    },
    bits: (count) => (count === 0 ? 0 : 8 * count + 32 * Math.ceil(count / blockSize) + 32),
    toJSON: () => (blockSize === 256 ? 'double' : { name: 'double', blockSize }),
  };
}

const zeroCode = levelTable(dynamicMap).levels.indexOf(0);

/** Double quantization in blocks of 256, as in bitsandbytes. */
export const doubleScale: ScaleStorage = doubleQuantizedScale();
