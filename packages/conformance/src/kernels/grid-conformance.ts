/**
 * Checks of `Kernels.grids`, as cases that throw. Expected codes, extremes and errors come from their definitions.
 * Expected scales come from the plain fits of core, whose own tests compare them with brute force.
 */
import {
  absMax,
  bf16ToF32,
  createRandom,
  e2m1,
  e4m3,
  f32Scale,
  f32ToBf16,
  type GridKernels,
  type GroupedValues,
  int2,
  int3,
  int4,
  int8,
  minMax,
  mseSearch,
  nf4,
  perChannel,
  perFlat,
  perGroup,
  quantize,
  roundHalfEven,
  type ScaleFit,
  type Scheme,
  scheme,
  tensor,
  uint2,
  uint4,
  uint8,
  weightedSearch,
} from '@q/core';
import { levelTable } from '@q/core/internal';

const random = createRandom('grid conformance');

/** Normal values. Every other row is rounded to bf16, so ties between candidates are common there. */
function weights(rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    const x = 0.02 * random.normal();
    return Math.floor(i / columns) % 2 === 0 ? x : bf16ToF32(f32ToBf16(x));
  });
}

/** A short last group, several parts of the shared memory, a single row. */
const shapes: readonly GroupedValues[] = [
  [5, 37, 16],
  [1, 64, 64],
  [600, 1024, 128],
  [3, 8, 1],
].map(([rows, columns, groupSize]) => ({ values: weights(rows, columns), rows, columns, groupSize }));

function* groupsOf({ values, rows, columns, groupSize }: GroupedValues): Generator<Float32Array> {
  for (let row = 0; row < rows; row++)
    for (let left = 0; left < columns; left += groupSize)
      yield values.subarray(row * columns + left, row * columns + Math.min(columns, left + groupSize));
}

function same(what: string, found: ArrayLike<number>, expected: ArrayLike<number>): void {
  if (found.length !== expected.length) throw new Error(`${what}: ${found.length} values, not ${expected.length}`);
  for (let i = 0; i < expected.length; i++)
    if (!Object.is(found[i] + 0, expected[i] + 0))
      throw new Error(`${what}: value ${i} is ${found[i]}, ${expected[i]} was expected`);
}

const fits: readonly (readonly [string, ScaleFit])[] = [
  ['minMax', minMax()],
  ['absMax full', absMax({ range: 'full' })],
  ['absMax narrow', absMax({ range: 'narrow', bound: 0.03 })],
  ['weightedSearch', weightedSearch()],
  ['weightedSearch of 31 points', weightedSearch({ points: 31, low: 0.3, high: 1.2 })],
  ['mseSearch', mseSearch()],
  ['mseSearch, squares', mseSearch({ norm: 2, steps: 40 })],
  ['mseSearch, norm 1', mseSearch({ norm: 1, steps: 20 })],
];

const schemes: readonly (readonly [string, (groupSize: number) => Scheme])[] = [
  ...[int2, int3, int4, int8, uint4].map(
    (format) =>
      [format.name, (size: number) => scheme({ format, granularity: perGroup(size), scaleStorage: f32Scale })] as const,
  ),
  ...[uint2, uint4, uint8].map(
    (format) =>
      [
        `${format.name} with a zero point`,
        (size: number) => scheme({ format, granularity: perGroup(size), zeroPoint: 'integer', scaleStorage: f32Scale }),
      ] as const,
  ),
];

/** Values at the edges of f32, zeros, ties at both ends of a range. */
const odd = [
  Float32Array.of(0, 0, 0, 0, 0, 0, 0, 0),
  Float32Array.of(1e-40, -3e-41, 0, 2e-40, 0, -0, 5e-41, 1e-45),
  Float32Array.of(3e38, -1e38, 2e38, 0, 1e37, 3e38, -3e38, 1),
  Float32Array.of(1, -1, 0.5, -0.5, 0.25, 0.75, 1, -1),
  Float32Array.of(-2, 2, 1e-30, -1e-30, 0, 1, 1.5, 0.125),
  Float32Array.of(5, 5, 5, 5, 5, 5, 5, 5),
  Float32Array.of(-8, -7, -6, 1, 2, 3, 4, 7),
];
const oddRows = tensor('f32', [odd.length, 8], Float32Array.from(odd.flatMap((row) => [...row])));

export interface GridConformanceCase {
  readonly name: string;
  run(grids: GridKernels): void;
}

export const gridConformance: readonly GridConformanceCase[] = [
  {
    name: 'grids.extremes: the first value of largest magnitude, and the other side',
    run(grids) {
      for (const of of [...shapes, { values: oddRows.data, rows: odd.length, columns: 8, groupSize: 4 }]) {
        const groups = of.rows * Math.ceil(of.columns / of.groupSize);
        const pairs = new Float32Array(2 * groups);
        grids.extremes(of, pairs);
        const expected = [...groupsOf(of)].flatMap((group) => {
          const peak = group.reduce((best, x) => (Math.abs(x) > Math.abs(best) ? x : best), 0);
          return [peak, peak < 0 ? Math.max(0, ...group) : Math.min(0, ...group)];
        });
        same('pairs', pairs, expected);
      }
    },
  },
  {
    name: 'grids.round: half to even in f64, clamped; tells values that are not finite',
    run(grids) {
      for (const of of shapes) {
        const count = of.rows * Math.ceil(of.columns / of.groupSize);
        const scales = Float32Array.from(
          { length: count },
          (_, i) => (i % 3 === 0 ? -1 : 1) * 0.01 * (0.1 + random.uniform()),
        );
        // Whole and half steps are ties. A division in f32 makes more of them.
        const values = of.values.map((x, i) => (i % 5 === 0 ? (Math.round(x * 400) / 2) * scales[0] : x));
        for (const { min, max } of [int4, uint8]) {
          const zeros = Float32Array.from({ length: count }, () => min + random.integer(max - min + 1));
          for (const own of [zeros, undefined]) {
            const codes = new Uint8Array(values.length);
            if (!grids.round({ ...of, values, scales, zeros: own, min, max, codes })) throw new Error('finite values');
            const expected: number[] = [];
            let index = 0;
            for (const group of groupsOf({ ...of, values })) {
              const [scale, zero] = [scales[index], own?.[index] ?? 0];
              for (const x of group) expected.push(Math.min(max, Math.max(min, roundHalfEven(x / scale + zero))) - min);
              index++;
            }
            same('codes', codes, expected);
          }
        }
        // Values next to the ties of each grid, as near as f32 can be. A rounded quotient may be on the wrong side
        // there.
        for (const { min, max } of [int4, uint8]) {
          const zeros = Float32Array.from({ length: count }, () => min + random.integer(max - min + 1));
          const near = new Float32Array(values.length);
          const expected: number[] = [];
          let [index, at] = [0, 0];
          for (const { length } of groupsOf(of)) {
            const [scale, zero] = [scales[index], zeros[index]];
            for (let j = 0; j < length; j++, at++) {
              const tie = (min + random.integer(max - min) + 0.5 - zero) * scale;
              near[at] = tie * (1 + (random.integer(9) - 4) * 2 ** -24);
              expected.push(Math.min(max, Math.max(min, roundHalfEven(near[at] / scale + zero))) - min);
            }
            index++;
          }
          const codes = new Uint8Array(near.length);
          grids.round({ ...of, values: near, scales, zeros, min, max, codes });
          same('codes near ties', codes, expected);
        }
        for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
          const broken = values.slice();
          broken[random.integer(broken.length)] = bad;
          if (grids.round({ ...of, values: broken, scales, min: -8, max: 7, codes: new Uint8Array(broken.length) }))
            throw new Error(`took ${bad}`);
        }
      }
    },
  },
  {
    name: 'grids.levels: the nearest level of quotients in f64, both zeros; tells values that are not finite',
    run(grids) {
      for (const format of [nf4, e2m1, e4m3]) {
        for (const of of shapes) {
          const count = of.rows * Math.ceil(of.columns / of.groupSize);
          const scales = Float32Array.from({ length: count }, () => 0.005 * (0.1 + random.uniform()));
          // Zeros of both signs, values beyond the last level, and multiples of a scale: ties.
          const values = of.values.map((x, i) => [x, 0, -0, 2000 * x, (i % 29) * 0.25 * scales[0]][i % 5]);
          const { thresholds, codes: levelCodes, zeroIndex, negativeZero } = levelTable(format);
          const codes = new Uint8Array(values.length);
          const args = { ...of, scales, thresholds, levelCodes, zeroIndex, negativeZero };
          if (!grids.levels({ ...args, values, codes })) throw new Error('finite values');
          const expected: number[] = [];
          let index = 0;
          for (const group of groupsOf({ ...of, values })) {
            for (const x of group) expected.push(format.encode(x / scales[index]));
            index++;
          }
          same(`codes of ${format.name}`, codes, expected);
          for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
            const broken = values.slice();
            broken[random.integer(broken.length)] = bad;
            if (grids.levels({ ...args, values: broken, codes })) throw new Error(`took ${bad}`);
          }
        }
      }
    },
  },
  {
    name: 'grids.errors: squares of what rounding changes and of the values, by their definition',
    run(grids) {
      for (const of of shapes) {
        const count = of.rows * Math.ceil(of.columns / of.groupSize);
        const scales = Float32Array.from({ length: count }, (_, i) => (i % 4 === 0 ? -0.004 : 0.006));
        const zeros = Float32Array.from(scales, () => 5 + random.normal());
        const codes = Uint8Array.from(of.values, () => random.integer(16));
        for (const [min, own] of [
          [0, zeros],
          [-8, undefined],
        ] as const) {
          const sums = new Float64Array(2 * count).fill(Number.NaN);
          grids.errors({ ...of, scales, zeros: own, min, codes, sums });
          let [index, at] = [0, 0];
          for (const group of groupsOf(of)) {
            let [error, energy] = [0, 0];
            for (const x of group) {
              const value = Math.fround((codes[at++] + min - (own?.[index] ?? 0)) * scales[index]);
              error += Math.fround(x - value) ** 2;
              energy += x ** 2;
            }
            for (const [i, expected] of [error, energy].entries()) {
              const found = sums[2 * index + i];
              if (!(Math.abs(found - expected) <= 1e-12 * expected))
                throw new Error(`group ${index}: ${found}, ${expected} was expected`);
            }
            index++;
          }
        }
      }
    },
  },
  {
    name: 'grids.shrink: errors of shrunk ranges within the tolerance, infinite only above the best',
    run(grids) {
      const factors = Float32Array.from({ length: 30 }, (_, i) => 1 - i / 40);
      for (const [columns, groupSize, weighted] of [
        [50, 20, false],
        [300, 300, true],
      ] as const) {
        const of = { values: weights(4, columns), rows: 4, columns, groupSize };
        const importance = weighted ? Float32Array.from({ length: columns }, () => random.uniform()) : undefined;
        const perRow = Math.ceil(columns / groupSize);
        const scales = Float32Array.from({ length: 4 * perRow }, (_, i) => (i === 1 ? 0 : 0.008));
        const zeros = Float32Array.from(scales, () => random.integer(3));
        for (const norm of [1.5, 2, 2.4, 3]) {
          const errors = new Float32Array(scales.length * factors.length);
          grids.shrink({ ...of, importance, scales, zeros, min: -8, max: 7, factors, norm, errors });
          let index = 0;
          for (const group of groupsOf(of)) {
            const [scale, zero] = [scales[index], zeros[index]];
            const left = (index % perRow) * groupSize;
            const exact = Array.from(factors, (factor) => {
              if (scale === 0) return 0;
              const step = scale * factor;
              return group.reduce((sum, x, j) => {
                const q = Math.min(7, Math.max(-8, roundHalfEven(x / step + zero))) - zero;
                return sum + (importance?.[left + j] ?? 1) * Math.abs((x - q * step) / scale) ** norm;
              }, 0);
            });
            const best = Math.min(...exact);
            for (const [i, value] of exact.entries()) {
              const found = errors[index * factors.length + i];
              const near = Math.abs(found - value) <= 2.5e-4 * value;
              if (!near && !(found === Number.POSITIVE_INFINITY && value > best))
                throw new Error(`norm ${norm}, group ${index}, factor ${i}: ${found}, ${value} was expected`);
            }
            index++;
          }
        }
      }
    },
  },
  ...fits.map(([fitName, fit]) => ({
    name: `grids: ${fitName} gives the scales, zero points and codes of the plain fit`,
    run(grids: GridKernels) {
      const { values } = shapes[2];
      for (const [name, of] of schemes) {
        const cases = [
          [tensor('f32', [6, 256], values.subarray(0, 6 * 256)), of(128)],
          [tensor('f32', [4, 100], values.subarray(0, 400)), { ...of(1), granularity: perGroup(32) }],
          [tensor('f32', [2, 90], values.subarray(90, 270)), { ...of(1), granularity: perChannel }],
          [tensor('f32', [3, 50], values.subarray(50, 200)), { ...of(1), granularity: perFlat(64) }],
          [oddRows, of(8)],
        ] as const;
        for (const [weight, target] of cases) {
          const even = Float32Array.from({ length: weight.shape[1] }, () => random.uniform());
          for (const importance of target.granularity.kind === 'flat' ? [undefined] : [undefined, even]) {
            const plain = quantize(weight, target, { fit, importance });
            const fast = quantize(weight, target, { fit, importance, kernels: { grids } });
            same(`${name}, scales`, fast.scales, plain.scales);
            same(`${name}, zero points`, fast.zeroPoints ?? [], plain.zeroPoints ?? []);
            same(`${name}, codes`, fast.codes, plain.codes);
          }
        }
      }
    },
  })),
];
