import { type GptqBlockArgs, roundHalfEven } from '@q/core';
import { type ConformanceCase, check, normals, random } from './kernel-case.js';

/** Rounds column by column from the definition in the contract. Returns how close the roundings were to a tie. */
function sweep(
  args: Omit<GptqBlockArgs, 'codes' | 'difference' | 'loss'>,
  codes: Uint8Array,
): { difference: Float64Array; loss: Float64Array } {
  const { rows, columns, weight, feedback, factor, scales, zeros, groups, group, grid, order } = args;
  const difference = new Float64Array(rows * columns);
  const loss = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      const at = row * columns + (order ? order[j] : j);
      let sum = feedback ? feedback[row * columns + j] : 0;
      for (let i = 0; i < j; i++) sum += difference[i * rows + row] * factor[i * columns + j];
      const target = weight[at] + sum / factor[j * columns + j];
      const scale = scales[row * groups + group[j]];
      const zero = zeros[row * groups + group[j]];
      let value: number;
      if (grid.kind === 'linear') {
        const exact = target / scale + zero;
        const q = Math.min(grid.max, Math.max(grid.min, roundHalfEven(exact)));
        const found = codes[at] + grid.min;
        // f32 and f64 may round to different sides of a tie. Only there the expected code follows the implementation.
        if (found !== q && Math.abs(Math.abs(exact - Math.floor(exact)) - 0.5) > 1e-3)
          throw new Error(`code of row ${row}, column ${j} is ${found}, ${q} was expected`);
        value = (found - zero) * scale;
      } else {
        const index = grid.codes.indexOf(codes[at]);
        const best = Math.min(...[...grid.levels].map((level) => Math.abs(level - target / scale)));
        if (Math.abs(Math.abs(grid.levels[index] - target / scale) - best) > 1e-3)
          throw new Error(`level of row ${row}, column ${j} is not the nearest`);
        value = grid.levels[index] * scale;
      }
      difference[j * rows + row] = weight[at] - value;
      loss[row] += ((target - value) * factor[j * columns + j]) ** 2;
    }
  }
  return { difference, loss };
}

const gptqCases: ConformanceCase[] = [
  { name: 'integers', grid: { kind: 'linear' as const, min: 0, max: 15 }, rows: 37, columns: 50 },
  { name: 'signed integers', grid: { kind: 'linear' as const, min: -4, max: 3 }, rows: 3, columns: 128 },
  { name: 'more columns than a block', grid: { kind: 'linear' as const, min: 0, max: 7 }, rows: 70, columns: 643 },
  // 16 MB of factor: implementations that split it need more than one part.
  { name: 'very many columns', grid: { kind: 'linear' as const, min: 0, max: 7 }, rows: 3, columns: 2100 },
  { name: 'one row and column', grid: { kind: 'linear' as const, min: 0, max: 3 }, rows: 1, columns: 1 },
  {
    name: 'levels',
    grid: {
      kind: 'levels' as const,
      levels: Float32Array.of(-1, -0.5, 0, 0.3, 1),
      codes: Uint8Array.of(9, 3, 2, 1, 0),
    },
    rows: 18,
    columns: 20,
  },
].map(({ name, grid, rows, columns }) => ({
  name: `gptqBlock with ${name}`,
  async run(kernels) {
    // Entries are small compared with the diagonal, so errors of earlier columns do not grow from column to column.
    const factor = new Float32Array(columns * columns);
    for (let i = 0; i < columns; i++) {
      for (let j = i + 1; j < columns; j++) factor[i * columns + j] = random.normal() / Math.sqrt(columns);
      factor[i * columns + i] = 1 + random.uniform();
    }
    const groups = 3;
    const args = {
      rows,
      columns,
      weight: normals(rows * columns),
      factor,
      scales: normals(rows * groups).map((x) => 0.1 + 0.1 * Math.abs(x)),
      zeros: Float32Array.from({ length: rows * groups }, () =>
        grid.kind === 'linear' && grid.min === 0 ? random.integer(16) : 0,
      ),
      groups,
      group: Int32Array.from({ length: columns }, (_, j) => j % groups),
      grid,
    };
    const reversed = Int32Array.from({ length: columns }, (_, j) => columns - 1 - j);
    const swapped = reversed.map((_, j) => (j % 2 === 0 ? Math.min(j + 1, columns - 1) : j - 1));
    for (const [feedback, order] of [
      [normals(rows * columns), undefined],
      [undefined, reversed],
      [normals(rows * columns), swapped],
    ] as const) {
      const codes = new Uint8Array(rows * columns);
      const difference = new Float32Array(rows * columns);
      const loss = new Float64Array(rows).fill(2);
      await kernels.gptqBlock({ ...args, feedback, order, codes, difference, loss });
      const expected = sweep({ ...args, feedback, order }, codes);
      check('difference', difference, expected.difference, 1e-3);
      const alone = new Uint8Array(rows * columns);
      await kernels.gptqBlock({ ...args, feedback, order, codes: alone, loss: new Float64Array(rows) });
      check('codes where nobody wants the difference', alone, codes, 0);
      const reserve = kernels.stream.reserve(factor.byteLength);
      const resident = new Float32Array(reserve.bytes.buffer, reserve.bytes.byteOffset, factor.length);
      resident.set(factor);
      const again = { ...args, factor: resident, feedback, order, codes: alone.fill(0) };
      await kernels.gptqBlock({ ...again, loss: new Float64Array(rows) });
      check('codes of a factor in reserved memory', alone, codes, 0);
      reserve.release();
      for (let row = 0; row < rows; row++)
        check('loss', [loss[row] - 2], [expected.loss[row]], 1e-3 * expected.loss[row] + 1e-4);
    }
  },
}));

const errorCases: ConformanceCase[] = [
  [1, 1],
  [9, 7],
  [20, 330],
  // 17 MB of differences: implementations that split them need more than one part.
  [1_100_003, 4],
].map(([rows, columns]) => ({
  name: `rowErrors ${rows}x${columns}: squared norms of the rows of D R`,
  async run(kernels) {
    const difference = normals(rows * columns);
    const factor = new Float32Array(columns * columns);
    for (let i = 0; i < columns; i++)
      for (let j = i; j < columns; j++) factor[i * columns + j] = random.normal() / Math.sqrt(columns);
    const expected = new Float64Array(rows);
    for (let row = 0; row < rows; row++) {
      for (let j = 0; j < columns; j++) {
        let sum = 0;
        for (let i = 0; i < columns; i++) sum += difference[row * columns + i] * factor[i * columns + j];
        expected[row] += sum ** 2;
      }
    }
    check('errors', await kernels.rowErrors({ difference, factor, rows, columns }), expected, 1e-5 * columns);
    // An array in the memory of the kernels is read there, without a copy.
    const reserve = kernels.stream.reserve(4 * columns ** 2);
    const resident = new Float32Array(reserve.bytes.buffer, reserve.bytes.byteOffset, columns ** 2);
    resident.set(factor);
    const found = await kernels.rowErrors({ difference, factor: resident, rows, columns });
    reserve.release();
    check('errors of a factor in reserved memory', found, expected, 1e-5 * columns);
  },
}));

/** The column sweep, and the errors that it leaves in each row. */
export const gptqConformance: readonly ConformanceCase[] = [...gptqCases, ...errorCases];
