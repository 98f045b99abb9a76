import type { ScaleStorage, StoredScales } from '../contracts/scheme.js';
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from '../dtypes/half.js';

function plainStorage(name: string, bitsEach: number, round: (scale: number) => number): ScaleStorage {
  return {
    name,
    store(scales): StoredScales {
      const effective = new Float32Array(scales.length);
      for (let i = 0; i < scales.length; i++) effective[i] = scales[i] === 0 ? 1 : round(scales[i]);
      return { effective };
    },
    bits: (count) => bitsEach * count,
    toJSON: () => name,
  };
}

const f16Smallest = 2 ** -24;
const f16Largest = 65504;

/**
 * Rounds a scale to f16. The limits apply after rounding, not before: a tiny group must not get scale 0 (its codes
 * would be divided by zero) and a huge one must not get infinity.
 */
function roundScaleF16(scale: number): number {
  const rounded = f16ToF32(f32ToF16(scale));
  if (rounded === 0 && scale !== 0) return Math.sign(scale) * f16Smallest;
  return Math.max(-f16Largest, Math.min(f16Largest, rounded));
}

export const f32Scale = plainStorage('f32', 32, (scale) => scale);
export const f16Scale = plainStorage('f16', 16, roundScaleF16);
export const bf16Scale = plainStorage(
  'bf16',
  16,
  (scale) => bf16ToF32(f32ToBf16(scale)) || Math.sign(scale) * 2 ** -133,
);

/**
 * No scale at all: every scale is 1 and takes no bits. For casts (FP16, BF16) and for levels that carry their own
 * scale.
 */
export const unitScale: ScaleStorage = {
  name: 'unit',
  store: (scales) => ({ effective: new Float32Array(scales.length).fill(1) }),
  bits: () => 0,
  fit: {
    name: 'unit',
    options: {},
    fit({ rows, scale, zero }) {
      scale.fill(1, 0, rows);
      zero.fill(0, 0, rows);
    },
  },
  toJSON: () => 'unit',
};
/**
 * Row maxima in f32, 127 times the scale (bitsandbytes' `SCB`). Multiplying and dividing by 127 changes one f32 in 128,
 * so the scale is rounded to a value that both leave unchanged.
 */
export const absMax127Scale = plainStorage('absmax127', 32, (scale) => {
  const row = Math.fround(scale * 127);
  return Number.isFinite(row) ? Math.fround(row / 127) || Math.sign(scale) * 2 ** -149 : scale;
});
