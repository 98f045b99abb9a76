import { SchemeError } from '@q/core';

/** Calls `visit` for each run of at most `size` elements of an array of `length`. */
export function eachBucket(
  length: number,
  size: number,
  visit: (bucket: number, start: number, end: number) => void,
): void {
  for (let bucket = 0, start = 0; start < length; bucket++, start += size)
    visit(bucket, start, Math.min(start + size, length));
}

export function largestOf(values: Float32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(values[i]));
  return largest;
}

/** @throws SchemeError naming the option */
export function expectInteger(option: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new SchemeError(`${option} is ${value}: expected a whole number from ${min} to ${max}`);
}

/** @throws SchemeError naming the option */
export function expectShare(option: string, value: number): void {
  if (!(value > 0 && value <= 1)) throw new SchemeError(`${option} is ${value}: expected a share above 0 and up to 1`);
}
