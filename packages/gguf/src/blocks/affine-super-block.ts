import { allFinite, type BlockFormat } from '@q/core';
import { blockOf, getF16, putF16 } from './block-bytes.js';
import { blockwise } from './blockwise.js';
import { nearestCode, nearestInt } from './nearest-int.js';
import { putSixBitScales, sixBitMinimum, sixBitScale } from './six-bit-scales.js';
import { type AffineSteps, fitAffine } from './weighted-affine-fit.js';

const [size, groups, group] = [256, 8, 32];
const f = Math.fround;

/**
 * Q4_K and Q5_K (ggml-quants.c): 256 values in eight groups, `d scale code - dmin minimum` with scales and minima of 6 bits.
 * Each group is fitted with weights `rms + |x|`; then codes are rounded anew with what is stored.
 */
function affineSuperBlock(name: string, bits: 4 | 5, steps: AffineSteps): BlockFormat {
  const codesAt = bits === 4 ? 16 : 48;
  const bytes = codesAt + 128;
  const codes = new Uint8Array(size);
  const weights = new Float32Array(group);
  const [scales, minima] = [new Float32Array(groups), new Float32Array(groups)];
  const [scaleCodes, minimumCodes] = [new Uint8Array(groups), new Uint8Array(groups)];

  /** Fits all groups, and rounds what they found to 6 bits of the largest. Returns the largest scale and minimum. */
  function fit(x: Float32Array): readonly [scale: number, minimum: number] {
    let [largestScale, largestMinimum] = [0, 0];
    for (let j = 0; j < groups; j++) {
      const values = blockOf(x, j, group);
      let squares = 0;
      for (const value of values) squares = f(squares + f(value * value));
      const rms = f(Math.sqrt(f(squares / group)));
      for (let i = 0; i < group; i++) weights[i] = rms + Math.abs(values[i]);
      const { scale, minimum } = fitAffine(values, weights, steps, blockOf(codes, j, group));
      scales[j] = scale;
      minima[j] = minimum;
      if (scale > largestScale) largestScale = scale;
      if (minimum > largestMinimum) largestMinimum = minimum;
    }
    const inverseScale = largestScale > 0 ? f(63 / largestScale) : 0;
    const inverseMinimum = largestMinimum > 0 ? f(63 / largestMinimum) : 0;
    for (let j = 0; j < groups; j++) {
      // A fit's scale may be below zero; the reference keeps the low byte of its code.
      scaleCodes[j] = Math.min(63, nearestInt(f(inverseScale * scales[j])) & 255);
      minimumCodes[j] = Math.min(63, nearestInt(f(inverseMinimum * minima[j])) & 255);
    }
    return [largestScale, largestMinimum];
  }

  return blockwise({
    ...{ name, values: size, bytes, kernel: name },
    encode(x, to) {
      if (!allFinite(x)) return false;
      const [largestScale, largestMinimum] = fit(x);
      if (!putF16(to, 0, f(largestScale / 63)) || !putF16(to, 2, f(largestMinimum / 63))) return false;
      putSixBitScales(scaleCodes, minimumCodes, to, 4);
      for (let j = 0; j < groups; j++) {
        const d = f(getF16(to, 0) * scaleCodes[j]);
        // Without a scale the codes of the fit stay.
        if (d === 0) continue;
        const m = f(getF16(to, 2) * minimumCodes[j]);
        for (let i = j * group; i < (j + 1) * group; i++) codes[i] = nearestCode(f(f(x[i] + m) / d), 0, steps.last);
      }
      for (let j = 0; j < groups; j += 2)
        for (let i = 0; i < group; i++)
          to[codesAt + j * 16 + i] = (codes[j * group + i] & 15) | ((codes[(j + 1) * group + i] & 15) << 4);
      if (bits === 5) {
        for (let i = 0; i < group; i++) {
          let fifths = 0;
          for (let j = 0; j < groups; j++) fifths |= (codes[j * group + i] >> 4) << j;
          to[16 + i] = fifths;
        }
      }
      return true;
    },
    decode(from, to) {
      for (let j = 0; j < groups; j++) {
        const d = f(getF16(from, 0) * sixBitScale(from, 4, j));
        const m = f(getF16(from, 2) * sixBitMinimum(from, 4, j));
        for (let i = 0; i < group; i++) {
          const low = (from[codesAt + (j >> 1) * group + i] >> (4 * (j & 1))) & 15;
          const high = bits === 5 ? ((from[16 + i] >> j) & 1) << 4 : 0;
          to[j * group + i] = f(d * (low + high)) - m;
        }
      }
    },
  });
}

export const q4_K: BlockFormat = affineSuperBlock('Q4_K', 4, { last: 15, first: -1, count: 20 });
export const q5_K: BlockFormat = affineSuperBlock('Q5_K', 5, { last: 31, first: -0.5, count: 15 });
