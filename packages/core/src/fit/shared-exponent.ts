import type { ScaleFit } from '../contracts/scale-fit.js';
import { exponentOf } from '../formats/minifloat.js';

/**
 * The exponent of an MX block from its largest magnitude (docs/reference/file-formats.md#mx-blocks), for an element
 * format whose largest value is in `[2^e, 2^(e+1))`:
 * - `floor` (the specification): `floor(log2 amax) - e`; values above the element's largest saturate.
 * - `even` (compressed-tensors): one more from 1.75 * 2^k on.
 * - `ceil`: `ceil(log2 amax) - e`.
 * - `rceil`: `ceil(log2(amax / largest))`, so no value saturates.
 */
export type ExponentRule = 'floor' | 'even' | 'ceil' | 'rceil';

/** Exact power-of-two scales from the largest magnitude, with exponents from the bits of the float. */
export function sharedExponent(options: { readonly rule?: ExponentRule } = {}): ScaleFit {
  const { rule = 'floor' } = options;
  return {
    name: 'sharedExponent',
    options: { rule },
    fit({ values, rows, columns, scheme: { format }, scale, zero }) {
      const elementExponent = exponentOf(format.max);
      for (let row = 0; row < rows; row++) {
        let largest = 0;
        for (let i = row * columns; i < (row + 1) * columns; i++) largest = Math.max(largest, Math.abs(values[i]));
        zero[row] = 0;
        if (largest === 0) {
          scale[row] = 0;
          continue;
        }
        const exponent = exponentOf(largest);
        const fraction = largest / 2 ** exponent;
        let shared = exponent - elementExponent;
        if (rule === 'even' && fraction >= 1.75) shared++;
        else if (rule === 'ceil' && fraction > 1) shared++;
        else if (rule === 'rceil' && fraction > format.max / 2 ** elementExponent) shared++;
        // The upper limit keeps the largest element finite in f32.
        scale[row] = 2 ** Math.max(-127, Math.min(127, 127 - elementExponent, shared));
      }
    },
  };
}
