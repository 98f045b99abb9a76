import type { OptionValues } from '../contracts/option.js';
import type { FitPanel, ScaleFit } from '../contracts/scale-fit.js';
import type { Scheme } from '../contracts/scheme.js';
import { checkOptions } from '../options/check-options.js';
import { choice, number } from '../options/option.js';
import { fitExtremes } from './fit-extremes.js';

/**
 * The code for the largest magnitude m of the values (docs/reference/papers.md#grids), for b bits:
 * - `gptq`: `s = 2m / (2^b - 1)`, halfway past the largest code.
 * - `narrow`: `s = m / (2^(b-1) - 1)`; the lowest code is not used.
 * - `full`: `s = m_signed / -2^(b-1)`: the value of largest magnitude gets the lowest code; the scale may be negative.
 *
 * Formats that are not integers, and unsigned ones without a zero point, have only `s = m / max`.
 */
export type SymmetricRange = 'gptq' | 'narrow' | 'full';

/** Writes the scales of a panel, and does not change its zero points. */
export function fitAbsMax(
  { values, rows, columns, scheme, scale }: FitPanel,
  range: SymmetricRange,
  bound = Number.POSITIVE_INFINITY,
): void {
  const { min, max } = scheme.format;
  const middle = middleOf(scheme);
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
    if (largest > bound) {
      largest = bound;
      signed = Math.sign(signed) * bound;
    }
    let step: number;
    if (middle === undefined) step = largest / Math.max(Math.abs(min), max);
    else if (range === 'gptq') step = (2 * largest) / (max - min);
    else if (range === 'narrow') step = largest / (max - middle);
    else step = signed / (min - middle);
    // A denormal divided by the range can become 0 in f32.
    scale[row] = Math.fround(step) || (signed === 0 ? 0 : 2 ** -149);
  }
}

/** The code value for zero on a symmetric grid of integers: 0, or 2^(b-1) of unsigned ones with a zero point. */
function middleOf({ format, zeroPoint }: Scheme): number | undefined {
  if (format.family !== 'linear') return undefined;
  if (format.min < 0) return 0;
  return zeroPoint === 'none' ? undefined : (format.max + 1) / 2;
}

export const absMaxOptions = {
  /** The code for the largest magnitude. Default `gptq`. */
  range: choice(['gptq', 'narrow', 'full'], {
    default: 'gptq',
    help: 'Code of the largest magnitude: half a step past the largest (gptq), the largest (narrow), or the lowest (full).',
  }),
  /** The largest magnitude that a scale covers; larger values saturate. No bound when absent. */
  bound: number({
    above: 0,
    otherwise: 'none',
    help: 'The largest magnitude that a scale covers; larger values saturate.',
  }),
};

export type AbsMaxOptions = OptionValues<typeof absMaxOptions>;

/**
 * Scale from the largest magnitude, zero point in the middle of the codes.
 * @throws SchemeError for an option out of its range
 */
export function absMax(options: AbsMaxOptions = {}): ScaleFit {
  const { range, bound } = checkOptions('absMax', absMaxOptions, options);
  const fit: ScaleFit = {
    name: 'absMax',
    options: { range, ...(bound === undefined ? {} : { bound }) },
    fit(panel) {
      const { rows, scheme, zero } = panel;
      fitAbsMax(panel, range, bound);
      zero.fill(scheme.zeroPoint === 'none' ? 0 : (middleOf(scheme) ?? 0), 0, rows);
    },
  };
  return { ...fit, fitGroups: fitExtremes(fit) };
}
