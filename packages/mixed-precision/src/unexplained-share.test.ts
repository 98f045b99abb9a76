import { createRandom, referenceKernels } from '@q/core';
import { expect, it } from 'vitest';
import { unexplainedShare } from './unexplained-share.js';

const random = createRandom('share');
const width = 24;

/** Second moments of inputs in which neighbours are alike. */
function moments(tokens: number, mixing: number): Float64Array {
  const out = new Float64Array(width * width);
  for (let t = 0; t < tokens; t++) {
    const x: number[] = [];
    for (let j = 0; j < width; j++) x.push((j > 0 ? mixing * x[j - 1] : 0) + random.normal());
    for (let i = 0; i < width; i++) for (let j = 0; j < width; j++) out[i * width + j] += x[i] * x[j];
  }
  return out;
}

/** Solves `a z = b` by elimination, for a small positive definite matrix given by its rows. */
function solve(a: number[][], b: number[]): number[] {
  const rows = a.map((row, i) => [...row, b[i]]);
  for (let p = 0; p < rows.length; p++)
    for (let i = p + 1; i < rows.length; i++) {
      const share = rows[i][p] / rows[p][p];
      for (let j = p; j < rows[i].length; j++) rows[i][j] -= share * rows[p][j];
    }
  const z = new Array<number>(rows.length).fill(0);
  for (let i = rows.length - 1; i >= 0; i--) {
    let sum = rows[i][rows.length];
    for (let j = i + 1; j < rows.length; j++) sum -= rows[i][j] * z[j];
    z[i] = sum / rows[i][i];
  }
  return z;
}

const loss = (h: Float64Array, d: readonly number[]) =>
  d.reduce((sum, a, i) => sum + d.reduce((inner, b, j) => inner + a * b * h[i * width + j], 0), 0);

/** Rounds column after column, and moves the later ones to where they undo the error best: by least squares, in f64. */
function compensated(h: Float64Array, weight: readonly number[], step: number): number[] {
  const own = [...weight];
  for (let j = 0; j < width; j++) {
    const error = own[j] - step * Math.round(own[j] / step);
    own[j] -= error;
    const rest = Array.from({ length: width - j - 1 }, (_, i) => i + j + 1);
    if (rest.length === 0) continue;
    const moves = solve(
      rest.map((i) => rest.map((k) => h[i * width + k])),
      rest.map((i) => error * h[i * width + j]),
    );
    rest.forEach((i, at) => {
      own[i] += moves[at];
    });
  }
  return own;
}

it.each([0, 0.6, 0.9])('is the share of the loss of rounding that compensation leaves: mixing %d', async (mixing) => {
  const h = moments(400, mixing);
  let [rounded, left] = [0, 0];
  for (let row = 0; row < 200; row++) {
    const weight = Array.from({ length: width }, () => random.normal());
    const step = 0.3;
    rounded += loss(
      h,
      weight.map((value) => value - step * Math.round(value / step)),
    );
    const target = compensated(h, weight, step);
    left += loss(
      h,
      weight.map((value, j) => value - target[j]),
    );
  }
  const share = await unexplainedShare(Float32Array.from(h), width, referenceKernels);
  expect(share / (left / rounded)).toBeGreaterThan(0.85);
  expect(share / (left / rounded)).toBeLessThan(1.2);
});

it('is 1 for inputs that are all zero', async () => {
  expect(await unexplainedShare(new Float32Array(width * width), width, referenceKernels)).toBe(1);
});
