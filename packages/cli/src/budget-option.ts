import type { Budget } from '@q/pipeline';
import { UsageError } from './usage-error.js';

const units: Readonly<Record<string, number>> = { B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/**
 * `3`, `3.25`: bits per weight. `900MB`, `4.5 GB`: bytes of all tensors, decimal units as everywhere in the reports.
 * @throws UsageError
 */
export function parseBudget(option: string, value: string | number): Budget {
  const [, number, unit] = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?B)?\s*$/.exec(`${value}`) ?? [];
  if (!(Number(number) > 0) || (unit === undefined && Number(number) > 32))
    throw new UsageError(`${option} ${value}: bits per weight (3.0) or a size of all tensors (900MB) was expected`);
  return unit === undefined ? { bitsPerWeight: Number(number) } : { bytes: Number(number) * units[unit] };
}

/** `2,3,4,8` */
export function parseCandidateBits(option: string, text: string): readonly number[] {
  const bits = text.split(',').map((part) => (/^\s*[2-8]\s*$/.test(part) ? Number(part) : Number.NaN));
  if (bits.some(Number.isNaN))
    throw new UsageError(`${option} ${text}: widths from 2 to 8 were expected, as in 2,3,4,8`);
  return bits;
}
