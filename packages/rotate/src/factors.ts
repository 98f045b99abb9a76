import { type Random, SchemeError } from '@q/core';
import { paleyMatrix } from './paley.js';
import { randomOrthogonal } from './random-orthogonal.js';

/** One factor of a Kronecker product: the Walsh-Hadamard matrix of a power of two, or an orthonormal matrix in full. */
export interface Factor {
  readonly size: number;
  /** Row-major `[size, size]`; the orthonormal Walsh-Hadamard matrix when absent. */
  readonly matrix?: Float32Array;
}

/** A full factor of order d costs d multiplications a value; the 11008 of Llama-2-7B need 344. */
const largestFull = 1024;

/**
 * Orders of Hadamard matrices whose product is `n`: Paley's and, last, a power of two. Of all such products it has the
 * full factors of least cost. 768 = 12 x 64, 688 = 344 x 2 (Paley over the field of 7^3), 11008 = 344 x 32, 14336 = 28
 * x 512.
 * @returns undefined when n is no such product (2 x odd, 92, 172: Hadamard matrices of the last two are known from
 *   searches only)
 */
export function hadamardOrders(n: number): readonly number[] | undefined {
  return cheapest(n)?.orders;
}

function cheapest(n: number): { orders: number[]; cost: number } | undefined {
  if (isPowerOfTwo(n)) return { orders: [n], cost: 0 };
  let best: { orders: number[]; cost: number } | undefined;
  for (let order = 12; order <= Math.min(n, largestFull); order += 4) {
    if (n % order !== 0 || isPowerOfTwo(order) || order >= (best?.cost ?? Number.POSITIVE_INFINITY)) continue;
    const rest = cheapest(n / order);
    if (!rest || order + rest.cost >= (best?.cost ?? Number.POSITIVE_INFINITY) || !hasPaley(order)) continue;
    best = { orders: [order, ...rest.orders], cost: order + rest.cost };
  }
  return best;
}

const known = new Map<number, Float32Array | undefined>();

/** Paley's matrix, orthonormal. */
function paley(order: number): Float32Array | undefined {
  if (!known.has(order)) {
    const signs = paleyMatrix(order);
    known.set(order, signs && Float32Array.from(signs, (sign) => sign / Math.sqrt(order)));
  }
  return known.get(order);
}

function hasPaley(order: number): boolean {
  return paley(order) !== undefined;
}

/**
 * The factors of an orthogonal matrix of order `n` that spreads every value over all others: Hadamard matrices if n is
 * a product of their orders; otherwise a random orthogonal matrix of n's odd part, times the Walsh-Hadamard matrix of
 * the rest.
 * @throws SchemeError when that odd part is too large
 */
export function spreadingFactors(n: number, random: Random): readonly Factor[] {
  const refusal = refuseSize(n);
  if (refusal) throw new SchemeError(refusal);
  const orders = hadamardOrders(n);
  if (orders) {
    return orders
      .filter((order, i) => order > 1 || (i === 0 && orders.length === 1))
      .map((size) => (isPowerOfTwo(size) ? { size } : { size, matrix: paley(size) }));
  }
  const odd = oddPart(n);
  const full = { size: odd, matrix: Float32Array.from(randomOrthogonal(odd, random)) };
  return n === odd ? [full] : [full, { size: n / odd }];
}

/** The reason why there is no rotation of this size, or undefined. */
export function refuseSize(n: number): string | undefined {
  if (!Number.isInteger(n) || n < 1) return `a rotation of size ${n} does not exist`;
  if (hadamardOrders(n) || oddPart(n) <= largestFull) return undefined;
  return `a rotation of size ${n} needs a full matrix of order ${oddPart(n)}; the largest is ${largestFull}`;
}

function oddPart(n: number): number {
  let odd = n;
  while (odd % 2 === 0) odd /= 2;
  return odd;
}

function isPowerOfTwo(n: number): boolean {
  return Number.isInteger(Math.log2(n));
}
