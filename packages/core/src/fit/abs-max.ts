import type { Scheme } from '../contracts/scheme.js';
import type { ScaleFit } from './scale-fit.js';

/**
 * Where the largest magnitude m of the values lands (papers.md 2.0), for b bits:
 * - `gptq`: `s = 2m / (2^b - 1)`, halfway past the largest code.
 * - `narrow`: `s = m / (2^(b-1) - 1)`; the lowest code is not used.
 * - `full`: `s = m_signed / -2^(b-1)`: the value of largest magnitude hits the lowest code; the scale may be negative.
 * Formats that are not integers have one rule: `s = m / max`.
 */
export type SymmetricRange = 'gptq' | 'narrow' | 'full';

export function fitAbsMax(
  values: Float32Array,
  rows: number,
  columns: number,
  scheme: Scheme,
  range: SymmetricRange,
  scale: Float32Array,
): void {
  const { min, max, family } = scheme.format;
  for (let row = 0; row < rows; row++) {
    let largest = 0;
    let signed = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++) {
      const magnitude = Math.abs(values[i]);
      if (magnitude > largest) {
        largest = magnitude;
        signed = values[i];
      }
    }
    let step: number;
    if (family !== 'linear' || min >= 0) step = largest / Math.max(Math.abs(min), max);
    else if (range === 'gptq') step = (2 * largest) / (max - min);
    else if (range === 'narrow') step = largest / max;
    else step = signed / min;
    // A denormal divided by the range can vanish in f32.
    scale[row] = Math.fround(step) || (signed === 0 ? 0 : 2 ** -149);
  }
}

/** Scale from the largest magnitude, zero point 0. */
export function absMax(options: { readonly range?: SymmetricRange } = {}): ScaleFit {
  const { range = 'gptq' } = options;
  return {
    name: 'absMax',
    options: { range },
    fit(values, rows, columns, scheme, _importance, scale, zero) {
      fitAbsMax(values, rows, columns, scheme, range, scale);
      zero.fill(0, 0, rows);
    },
  };
}
