import { createRandom } from '@q/core';

/** Standard normal values, exact in f32. */
export function normals(count: number, label: string): number[] {
  const random = createRandom(1).fork(label);
  return Array.from({ length: count }, () => Math.fround(random.normal()));
}

export function largestDifference(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.NaN;
  let largest = 0;
  for (let i = 0; i < actual.length; i++) {
    const difference = Math.abs(actual[i]! - expected[i]!);
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}
