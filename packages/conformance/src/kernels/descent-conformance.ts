import type { RoundingGrid } from '@q/core';
import { type ConformanceCase, check, normals, random } from './kernel-case.js';

interface Shape {
  readonly name: string;
  readonly grid: RoundingGrid;
  readonly rows: number;
  readonly columns: number;
  /** Columns of a group. */
  readonly width: number;
}

const integers = (min: number, max: number) => ({ kind: 'linear', min, max }) as const;
const levels = {
  kind: 'levels',
  levels: Float32Array.of(-1, -0.5, 0, 0.3, 1),
  codes: Uint8Array.of(9, 3, 2, 1, 0),
} as const;

/** Computes every block from its definition, in f64. */
export const descentConformance: ConformanceCase[] = [
  { name: 'integers', grid: integers(0, 7), rows: 21, columns: 24, width: 8 },
  { name: 'signed integers, a last group that is not whole', grid: integers(-4, 3), rows: 70, columns: 50, width: 16 },
  { name: 'more columns than a sum takes', grid: integers(0, 3), rows: 3, columns: 600, width: 300 },
  { name: 'groups of an odd width', grid: integers(0, 7), rows: 5, columns: 21, width: 7 },
  { name: 'one row and column', grid: integers(0, 3), rows: 1, columns: 1, width: 4 },
  { name: 'levels', grid: levels, rows: 9, columns: 20, width: 4 },
].map((shape) => ({
  name: `descent with ${shape.name}`,
  async run({ openDescent }) {
    for (const refits of [true, false]) checkDescent(shape, refits, openDescent);
  },
}));

type Open = Parameters<ConformanceCase['run']>[0]['openDescent'];

function checkDescent({ grid, rows, columns, width }: Shape, refits: boolean, open: Open): void {
  const groups = Math.ceil(columns / width);
  const group = Int32Array.from({ length: columns }, (_, j) => Math.floor(j / width));
  const hessian = positiveDefinite(columns);
  const target = normals(rows * columns);
  const scales = Float32Array.from({ length: rows * groups }, () => 0.5 + 0.2 * random.uniform());
  const zeros = grid.kind === 'linear' ? scales.map(() => random.integer(3)) : new Float32Array(rows * groups);
  const codes = Uint8Array.from({ length: rows * columns }, () =>
    grid.kind === 'linear' ? random.integer(grid.max - grid.min + 1) : grid.codes[random.integer(grid.codes.length)],
  );
  const levelOf = (code: number) => (grid.kind === 'linear' ? code + grid.min : grid.levels[grid.codes.indexOf(code)]);
  const unit = (row: number, j: number) => levelOf(codes[row * columns + j]) - zeros[row * groups + group[j]];
  for (let start = 0; start < columns; start += width) {
    const end = Math.min(start + width, columns);
    const difference = Float64Array.from(target, (value, at) => {
      const [row, j] = [Math.floor(at / columns), at % columns];
      return value - unit(row, j) * scales[row * groups + group[j]];
    });
    const product = (row: number, j: number) => {
      let sum = 0;
      for (let i = 0; i < columns; i++) sum += difference[row * columns + i] * hessian[i * columns + j];
      return sum;
    };
    const descent = open({ rows, columns, target, hessian, grid, groups, group, scales, zeros, codes });
    descent.gradient(start, end);
    const steps = new Float32Array(rows);
    if (refits) {
      const { numerators, curvatures } = descent.scaleGains(start, end);
      const [first, second] = [new Float64Array(rows), new Float64Array(rows)];
      for (let row = 0; row < rows; row++)
        for (let j = start; j < end; j++) {
          first[row] += unit(row, j) * product(row, j);
          for (let i = start; i < end; i++) second[row] += unit(row, i) * hessian[i * columns + j] * unit(row, j);
        }
      check('numerators', numerators, first, 1e-4 * columns);
      check('curvatures', curvatures, second, 1e-4 * columns);
      for (let row = 0; row < rows; row++) {
        const at = row * groups + group[start];
        steps[row] = Math.fround(scales[at] * 1.03) - scales[at];
        for (let j = start; j < end; j++) difference[row * columns + j] -= steps[row] * unit(row, j);
        scales[at] += steps[row];
      }
    }
    descent.descend(start, end, refits ? steps : undefined);
    descent.close();
    for (let row = 0; row < rows; row++) {
      for (let j = start; j < end; j++) {
        const at = row * columns + j;
        const [scale, zero] = [scales[row * groups + group[j]], zeros[row * groups + group[j]]];
        const pivot = hessian[j * (columns + 1)];
        const wanted = (target[at] + (product(row, j) - difference[at] * pivot) / pivot) / scale + zero;
        const known = grid.kind === 'linear' ? rangeOf(grid.min, grid.max) : [...grid.levels];
        const distance = Math.min(...known.map((level) => Math.abs(level - wanted)));
        // f32 and f64 may round to different sides of a tie.
        if (Math.abs(levelOf(codes[at]) - wanted) > distance + 2e-3)
          throw new Error(
            `row ${row}, column ${j} has level ${levelOf(codes[at])}, the nearest to ${wanted} was expected`,
          );
        difference[at] = target[at] - (levelOf(codes[at]) - zero) * scale;
      }
    }
  }
}

const rangeOf = (min: number, max: number) => Array.from({ length: max - min + 1 }, (_, i) => min + i);

function positiveDefinite(n: number): Float32Array {
  const mixture = normals(n * n);
  const out = new Float32Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = i; j < n; j++) {
      let sum = i === j ? 1 : 0;
      for (let k = 0; k < n; k++) sum += (0.3 * mixture[i * n + k] * mixture[j * n + k]) / n;
      out[i * n + j] = out[j * n + i] = sum;
    }
  return out;
}
