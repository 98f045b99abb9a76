import { createRandom, referenceKernels } from '@q/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hadamardOrders, refuseSize, spreadingFactors } from './factors.js';
import { finiteField, primePower } from './finite-field.js';
import { paleyMatrix } from './paley.js';
import { randomOrthogonal } from './random-orthogonal.js';
import {
  applyRotation,
  headRotation,
  keepOnes,
  type Rotation,
  randomRotation,
  repeatHeads,
  rotateRows,
} from './rotation.js';

describe('finite fields', () => {
  it('exist for powers of odd primes', () => {
    expect(primePower(343)).toEqual({ prime: 7, degree: 3 });
    expect(primePower(12)).toBeUndefined();
    expect([8, 12, 15, 1, 21].map(finiteField)).toEqual(Array(5).fill(undefined));
  });

  it.each([7, 9, 25, 27, 49, 81, 343])('of %i elements: half are squares, as Euler counts them', (q) => {
    const field = finiteField(q)!;
    const characters = Array.from({ length: q }, (_, a) => field.character(a));
    expect(characters.filter((c) => c === 1)).toHaveLength((q - 1) / 2);
    expect(characters.filter((c) => c === -1)).toHaveLength((q - 1) / 2);
    // -1 is a square exactly when q = 1 mod 4.
    expect(field.character(field.subtract(0, 1))).toBe(q % 4 === 1 ? 1 : -1);
    expect(field.subtract(field.subtract(0, 1), field.subtract(0, 1))).toBe(0);
  });

  it('of a prime: Legendre symbols', () => {
    const field = finiteField(23)!;
    const legendre = (a: number) => {
      let power = 1;
      for (let i = 0; i < 11; i++) power = (power * a) % 23;
      return power === 22 ? -1 : power;
    };
    for (let a = 0; a < 23; a++) expect(field.character(a)).toBe(legendre(a));
  });
});

describe("Paley's matrices", () => {
  // Orders up to 200 that neither construction reaches; those of 16, 40, ... are products, 92, 116, 156, ... are not.
  const missing = [16, 40, 56, 64, 88, 92, 96, 112, 116, 120, 136, 144, 156, 160, 172, 176, 184, 188];
  it('exist where a field of the right order does', () => {
    const absent = [];
    for (let n = 4; n <= 200; n += 4) {
      const reachable = [n - 1, n / 2 - 1].some((q, i) => q % 4 === (i === 0 ? 3 : 1) && primePower(q));
      expect(paleyMatrix(n) !== undefined, `${n}`).toBe(reachable);
      if (!reachable) absent.push(n);
    }
    expect(absent).toEqual(missing);
    expect(paleyMatrix(14)).toBeUndefined();
  });

  it.each([12, 20, 28, 36, 44, 52, 76, 100, 108, 140, 148, 344])('of order %i: H H^T = n I, entries +-1', (n) => {
    const h = paleyMatrix(n)!;
    expect(h.every((value) => value === 1 || value === -1)).toBe(true);
    let wrong = 0;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += h[i * n + k] * h[j * n + k];
        if (sum !== (i === j ? n : 0)) wrong++;
      }
    }
    expect(wrong).toBe(0);
  });
});

describe('orders of Hadamard matrices', () => {
  it.each([
    [256, [256]],
    [768, [12, 64]],
    [192, [12, 16]],
    [40, [20, 2]],
    [688, [344, 2]],
    [11008, [344, 32]],
    [14336, [28, 512]],
    [13824, [12, 12, 12, 8]],
    [18944, [148, 128]],
    [896, [28, 32]],
    [4864, [76, 64]],
    [29568, [12, 28, 44, 2]],
    [144, [12, 12, 1]],
    [1, [1]],
    [172, undefined],
    [92, undefined],
    [43, undefined],
    [86, undefined],
  ])('%i', (n, expected) => {
    expect(hadamardOrders(n)).toEqual(expected);
  });

  it('fall back to a random orthogonal matrix of the odd part', () => {
    const random = createRandom(1);
    expect(spreadingFactors(172, random).map(({ size }) => size)).toEqual([43, 4]);
    expect(spreadingFactors(15, random).map(({ size }) => size)).toEqual([15]);
    expect(refuseSize(2 * 1031)).toMatch(/full matrix of order 1031; the largest is 1024/);
    expect(() => spreadingFactors(2 * 1031, random)).toThrow(/order 1031/);
    expect(refuseSize(8192)).toBeUndefined();
  });
});

it('random orthogonal matrices are orthogonal, and depend on the seed', () => {
  const q = randomOrthogonal(43, createRandom(7));
  let worst = 0;
  for (let i = 0; i < 43; i++) {
    for (let j = 0; j < 43; j++) {
      let sum = 0;
      for (let k = 0; k < 43; k++) sum += q[i * 43 + k] * q[j * 43 + k];
      worst = Math.max(worst, Math.abs(sum - (i === j ? 1 : 0)));
    }
  }
  expect(worst).toBeLessThan(1e-14);
  expect(randomOrthogonal(43, createRandom(7))).toEqual(q);
  expect(randomOrthogonal(43, createRandom(8))).not.toEqual(q);
});

/** Q in full, by rotating the unit vectors. */
async function full(rotation: Rotation): Promise<Float32Array> {
  const n = rotation.size;
  const q = Float32Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
  await applyRotation(rotation, q, n, referenceKernels);
  return q;
}

/** Largest entry of `Q Q^T - I` in some forty of its rows. */
function distanceFromOrthogonal(q: Float32Array, n: number): number {
  let worst = 0;
  for (let i = 0; i < n; i += Math.ceil(n / 40)) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let k = 0; k < n; k++) sum += q[i * n + k] * q[j * n + k];
      worst = Math.max(worst, Math.abs(sum - (i === j ? 1 : 0)));
    }
  }
  return worst;
}

describe('rotations', () => {
  it.each([2, 43, 172, 192, 256, 688])('of size %i are orthogonal, also when they keep the ones', async (n) => {
    const plain = randomRotation(n, createRandom(3));
    expect(distanceFromOrthogonal(await full(plain), n)).toBeLessThan(2e-6);
    const kept = await keepOnes(plain, referenceKernels);
    const q = await full(kept);
    expect(distanceFromOrthogonal(q, n)).toBeLessThan(2e-6);
    let worst = 0;
    for (let i = 0; i < n; i++) {
      let row = -1;
      let column = -1;
      for (let j = 0; j < n; j++) {
        row += q[i * n + j];
        column += q[j * n + i];
      }
      worst = Math.max(worst, Math.abs(row), Math.abs(column));
    }
    expect(worst).toBeLessThan(2e-5);
  });

  it.each([256, 192, 688])('of size %i spread one channel evenly over all', async (n) => {
    const plain = await full(randomRotation(n, createRandom(3)));
    const uneven = plain.reduce((most, value) => Math.max(most, Math.abs(Math.abs(value) * Math.sqrt(n) - 1)), 0);
    expect(uneven).toBeLessThan(1e-5);
    // Keeping the ones leaves every entry of order 1/sqrt(n); a normal variable reaches 4.5 deviations once in 150000.
    const kept = await full(await keepOnes(randomRotation(n, createRandom(3)), referenceKernels));
    expect(kept.reduce((most, value) => Math.max(most, Math.abs(value)), 0) * Math.sqrt(n)).toBeLessThan(4.5);
  });

  it('keep lengths, and rows rotate as columns do', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 5 }),
        fc.integer(),
        async (n, m, seed) => {
          const random = createRandom(seed);
          const rotation = await keepOnes(randomRotation(n, random), referenceKernels);
          const x = Float32Array.from({ length: n * m }, () => random.normal());
          const q = await full(rotation);
          const rotated = x.slice();
          await applyRotation(rotation, rotated, m, referenceKernels);
          const transposed = Float32Array.from({ length: n * m }, (_, i) => x[(i % m) * n + Math.floor(i / m)]);
          const rows = await rotateRows(rotation, transposed, m, referenceKernels);
          for (let row = 0; row < m; row++) {
            for (let j = 0; j < n; j++) {
              let sum = 0;
              for (let k = 0; k < n; k++) sum += x[row * n + k] * q[k * n + j];
              expect(Math.abs(rotated[row * n + j] - sum)).toBeLessThan(1e-5);
              expect(rows[j * m + row]).toBe(rotated[row * n + j]);
            }
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('of heads mix no two heads, and repeat with them', async () => {
    const rotation = headRotation(2, 4, createRandom(5));
    const q = await full(rotation);
    for (let i = 0; i < 64; i++) if (Math.floor(i / 32) !== Math.floor((i % 8) / 4)) expect(q[i]).toBe(0);
    const repeated = await full(repeatHeads(rotation, 3));
    const block = (m: Float32Array, n: number, head: number) =>
      Array.from({ length: 16 }, (_, i) => m[(4 * head + Math.floor(i / 4)) * n + 4 * head + (i % 4)]);
    for (let head = 0; head < 6; head++) expect(block(repeated, 24, head)).toEqual(block(q, 8, Math.floor(head / 3)));
  });

  it('refuse another length', async () => {
    await expect(
      applyRotation(randomRotation(8, createRandom(0)), new Float32Array(12), 2, referenceKernels),
    ).rejects.toThrow(/size 8 needs \[2, 8\] values, got 12/);
  });
});
