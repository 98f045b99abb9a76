import { SchemeError } from '@q/core';
import type { Budget } from '../../plan/budget.js';

const units: Readonly<Record<string, number>> = { B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

const written = /^\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?B)?\s*$/;

/**
 * Parses a budget. `3`, `3.25`: bits per weight. `900MB`, `4.5 GB`: bytes of all tensors, in decimal units as in all
 * reports.
 * @param shown name of the setting for messages: `--budget`
 * @throws SchemeError for any other value
 */
export function parseBudget(shown: string, value: string | number): Budget {
  const [, number, unit] = written.exec(`${value}`) ?? [];
  if (!(Number(number) > 0) || (unit === undefined && Number(number) > 32))
    throw new SchemeError(`${shown} ${value}: bits per weight (3.0) or a size of all tensors (900MB) was expected`);
  return unit === undefined ? { bitsPerWeight: Number(number) } : { bytes: Number(number) * units[unit] };
}

/**
 * Parses a size of all tensors: `75MB`, `4.5 GB`, or a number of bytes.
 * @throws SchemeError for any other value
 */
export function parseSize(shown: string, value: string | number): { readonly bytes: number } {
  const [, number, unit = 'B'] = written.exec(`${value}`) ?? [];
  const bytes = Number(number) * units[unit];
  if (!(bytes >= 1)) throw new SchemeError(`${shown} ${value}: a size of all tensors (900MB), or bytes, was expected`);
  return { bytes };
}
