import { type Kernels, type OutputScaleGains, type RoundingGrid, rowsTogether } from '@q/core';
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

const shapes: Shape[] = [
  { name: 'integers', grid: integers(0, 7), rows: 21, columns: 24, width: 8 },
  { name: 'signed integers, a last group that is not whole', grid: integers(-4, 3), rows: 70, columns: 50, width: 16 },
  { name: 'more columns than a sum takes', grid: integers(0, 3), rows: 3, columns: 600, width: 300 },
  { name: 'groups of an odd width', grid: integers(0, 7), rows: 5, columns: 21, width: 7 },
  { name: 'one row and column', grid: integers(0, 3), rows: 1, columns: 1, width: 4 },
  { name: 'levels', grid: levels, rows: 9, columns: 20, width: 4 },
];

/** Computes every block from its definition, in f64. */
export const descentConformance: ConformanceCase[] = [
  ...shapes.map((shape) => ({
    name: `descent with ${shape.name}`,
    async run({ openDescent }: Kernels) {
      for (const refits of [true, false]) checkDescent(shape, refits, openDescent);
    },
  })),
  ...[...shapes, { name: 'more rows than a sum takes', grid: integers(0, 3), rows: 301, columns: 8, width: 8 }].map(
    (shape) => ({
      name: `descent across outputs with ${shape.name}`,
      async run({ openOutputDescent }: Kernels) {
        for (const refits of [true, false]) checkOutputDescent(shape, refits, openOutputDescent);
      },
    }),
  ),
];

type Open = Kernels['openDescent'];

function checkDescent(shape: Shape, refits: boolean, open: Open): void {
  const { rows, columns, width } = shape;
  const problem = draw(shape);
  const { groups, group, hessian, target, scales, unit } = problem;
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
    const descent = open(problem);
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
        const pivot = hessian[j * (columns + 1)];
        checkCode(problem, row, j, target[at] + product(row, j) / pivot - difference[at]);
        difference[at] = target[at] - unit(row, j) * scales[row * groups + group[j]];
      }
    }
  }
}

/** Follows the changes of the codes, 8 rows at a time, with D H up to date. */
function checkOutputDescent(shape: Shape, refits: boolean, open: Kernels['openOutputDescent']): void {
  const { rows, columns, width } = shape;
  const outputs = positiveDefinite(rows);
  const problem = { ...draw(shape), outputs };
  const { groups, group, hessian, target, scales, unit, codes } = problem;
  const difference = new Float64Array(rows * columns);
  const products = new Float64Array(rows * columns);
  const move = (row: number, j: number, to: number): void => {
    const by = to - difference[row * columns + j];
    difference[row * columns + j] = to;
    for (let k = 0; k < columns; k++) products[row * columns + k] += by * hessian[j * columns + k];
  };
  const rounded = (row: number, j: number) =>
    target[row * columns + j] - unit(row, j) * scales[row * groups + group[j]];
  const slope = (row: number, j: number): number => {
    let sum = 0;
    for (let k = 0; k < rows; k++) sum += outputs[row * rows + k] * products[k * columns + j];
    return sum;
  };
  const moveAll = (first: number, last: number, start: number, end: number): void => {
    for (let row = first; row < last; row++) for (let j = start; j < end; j++) move(row, j, rounded(row, j));
  };
  moveAll(0, rows, 0, columns);
  for (let start = 0; start < columns; start += width) {
    const end = Math.min(start + width, columns);
    const before = codes.slice();
    const grown = scales.map((scale) => Math.fround(scale * 1.03));
    let seen = 0;
    const descent = open(problem);
    const fit = ({ first, numerators, curvatures }: OutputScaleGains): Float32Array => {
      const count = numerators.length;
      if (first !== seen) throw new Error(`rows from ${first} were fitted, those from ${seen} were expected`);
      // The rows before these have their new codes only in the kernels, so their gains are checked for the first ones.
      if (first === 0) checkGains(problem, { first, numerators, curvatures }, slope, start, end);
      seen += count;
      return Float32Array.from({ length: count }, (_, i) => {
        const at = (first + i) * groups + group[start];
        const step = grown[at] - scales[at];
        scales[at] = grown[at];
        return step;
      });
    };
    descent.descend(start, end, refits ? fit : undefined);
    descent.close();
    if (refits && seen !== rows) throw new Error(`${seen} rows were fitted, ${rows} were expected`);
    const found = codes.slice();
    codes.set(before);
    for (let first = 0; first < rows; first += rowsTogether) {
      const last = Math.min(first + rowsTogether, rows);
      if (refits) moveAll(first, last, start, end);
      for (let j = start; j < end; j++)
        for (let row = first; row < last; row++) {
          const at = row * columns + j;
          const best = slope(row, j) / (outputs[row * (rows + 1)] * hessian[j * (columns + 1)]);
          codes[at] = found[at];
          checkCode(problem, row, j, target[at] - difference[at] + best);
          move(row, j, rounded(row, j));
        }
    }
    if (codes.some((code, at) => code !== found[at])) throw new Error('codes outside of the block have changed');
  }
}

function checkGains(
  { rows, columns, hessian, outputs, unit }: Problem & { outputs: Float32Array },
  { numerators, curvatures }: OutputScaleGains,
  slope: (row: number, j: number) => number,
  start: number,
  end: number,
): void {
  const count = Math.min(rowsTogether, rows);
  const [first, second] = [new Float64Array(count), new Float64Array(count ** 2)];
  for (let row = 0; row < count; row++) {
    for (let j = start; j < end; j++) first[row] += unit(row, j) * slope(row, j);
    for (let other = 0; other < count; other++)
      for (let i = start; i < end; i++)
        for (let j = start; j < end; j++)
          second[row * count + other] +=
            outputs[row * rows + other] * unit(row, i) * hessian[i * columns + j] * unit(other, j);
  }
  check('numerators across outputs', numerators, first, 1e-4 * columns);
  check('curvatures across outputs', curvatures, second, 1e-4 * columns);
}

/** Checks that the code's value is the one of the grid that is nearest to `value`. */
function checkCode(
  { grid, columns, groups, group, scales, zeros, codes, levelOf }: Problem,
  row: number,
  j: number,
  value: number,
): void {
  const at = row * columns + j;
  const wanted = value / scales[row * groups + group[j]] + zeros[row * groups + group[j]];
  const known = grid.kind === 'linear' ? rangeOf(grid.min, grid.max) : [...grid.levels];
  const distance = Math.min(...known.map((level) => Math.abs(level - wanted)));
  // f32 and f64 may round to different sides of a tie.
  if (Math.abs(levelOf(codes[at]) - wanted) > distance + 2e-3)
    throw new Error(`row ${row}, column ${j} has level ${levelOf(codes[at])}, the nearest to ${wanted} was expected`);
}

type Problem = ReturnType<typeof draw>;

function draw({ grid, rows, columns, width }: Shape) {
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
  return { rows, columns, grid, groups, group, hessian, target, scales, zeros, codes, levelOf, unit };
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
