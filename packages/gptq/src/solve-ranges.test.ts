import { createContext, createRandom, f32Scale, perGroup, scheme, uint2 } from '@q/core';
import { describe, expect, it } from 'vitest';
import { gptq } from './gptq.js';
import { gptqSolve } from './solve.js';
import { solveRanges } from './solve-ranges.js';

const { kernels } = createContext();
const random = createRandom('ranges');
const rows = 9;
const columns = 24;
const size = 8;
const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());

const factor = new Float32Array(columns * columns);
for (let i = 0; i < columns; i++)
  for (let j = i; j < columns; j++) factor[i * columns + j] = i === j ? 1 + random.uniform() : 0.4 * random.normal();
const groups = columns / size;
const problem = {
  rows,
  columns,
  weight: normals(rows * columns),
  factor,
  scheme: scheme({ format: uint2, granularity: perGroup(size), zeroPoint: 'integer', scaleStorage: f32Scale }),
  group: Int32Array.from({ length: columns }, (_, j) => Math.floor(j / size)),
  groups,
  fit: { name: 'none', options: {}, fit: () => {} },
  blockSize: 10,
};
const grids = () => ({
  scales: Float32Array.from({ length: rows * groups }, () => 0.8 + 0.2 * random.uniform()),
  zeros: new Float32Array(rows * groups).fill(2),
});

/** `||(W - Q) R||^2` of a row, in f64, from the codes alone. */
function rowLoss(row: number, codes: Uint8Array, scales: Float32Array, zeros: Float32Array): number {
  let loss = 0;
  for (let j = 0; j < columns; j++) {
    let sum = 0;
    for (let i = 0; i <= j; i++) {
      const at = row * groups + problem.group[i];
      const value = (codes[row * columns + i] - zeros[at]) * scales[at];
      sum += (problem.weight[row * columns + i] - value) * factor[i * columns + j];
    }
    loss += sum * sum;
  }
  return loss;
}

describe('solveRanges', () => {
  it('gives each row the least loss among the ranges, with the codes and scales that have it', async () => {
    const start = grids();
    const ranges = [0.6, 1, 1.6];
    const best = await solveRanges({ ...problem, grids: start }, ranges, kernels);
    const chosen = new Set<number>();
    for (let row = 0; row < rows; row++) {
      const losses: number[] = [];
      for (const range of ranges) {
        const scales = start.scales.map((scale) => scale * range);
        const { codes } = await gptqSolve({ ...problem, grids: { scales, zeros: start.zeros } }, kernels);
        losses.push(rowLoss(row, codes, scales, start.zeros));
      }
      const least = Math.min(...losses);
      chosen.add(losses.indexOf(least));
      expect(rowLoss(row, best.codes, best.scales, best.zeros) / least).toBeCloseTo(1, 5);
      expect(best.loss[row] / least).toBeCloseTo(1, 4);
    }
    expect(chosen.size).toBeGreaterThan(1);
  });

  it('refuses ranges that are none or not above 0', () => {
    for (const ranges of [[], [0], [-1, 1], [Number.NaN]]) expect(() => gptq({ ranges })).toThrow(/above 0/);
  });
});
