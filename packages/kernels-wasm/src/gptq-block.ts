import type { GptqBlockArgs } from '@q/core';
import type { Pool } from './pool.js';

/** Rows that go side by side. */
const lanes = 16;

/** The sweep in f32, rows side by side; sums over earlier columns run in order. */
export function gptqBlock(pool: Pool, args: GptqBlockArgs): void {
  const { rows, columns, weight, feedback, factor, scales, zeros, groups, group, grid, codes, difference, loss } = args;
  const padded = Math.ceil(rows / lanes) * lanes;
  pool.reset(
    4 * (3 * columns * padded + 2 * groups * padded + columns * columns + 4 * columns + padded + 1024) +
      columns * padded +
      65536,
  );
  const turn = (from: Float32Array, width: number, fill: number) => {
    const to = pool.f32(width * padded);
    for (let row = 0; row < rows; row++) for (let j = 0; j < width; j++) to[j * padded + row] = from[row * width + j];
    if (padded > rows) for (let j = 0; j < width; j++) to.fill(fill, j * padded + rows, (j + 1) * padded);
    return to;
  };
  const sharedWeight = turn(weight, columns, 0);
  const sharedFeedback = turn(feedback, columns, 0);
  const sharedScales = turn(scales, groups, 1);
  const sharedZeros = turn(zeros, groups, 0);
  const sharedFactor = pool.f32(columns * columns);
  for (let i = 0; i < columns; i++)
    for (let j = i; j < columns; j++) sharedFactor[j * columns + i] = factor[i * columns + j];
  const groupRoom = pool.f32(columns);
  const sharedGroup = new Int32Array(groupRoom.buffer, groupRoom.byteOffset, columns);
  sharedGroup.set(group);
  const sharedDifference = pool.f32(columns * padded);
  const sharedLoss = pool.f32(padded);
  const sharedCodes = pool.bytes(columns * padded);
  const levels = grid.kind === 'levels' ? grid.levels : undefined;
  const levelValues = pool.f32(levels?.length ?? 0);
  const levelCodes = pool.bytes(levels?.length ?? 0);
  if (grid.kind === 'levels') {
    levelValues.set(grid.levels);
    levelCodes.set(grid.codes);
  }
  const [lowest, highest] = grid.kind === 'linear' ? [grid.min, grid.max] : [0, 0];
  pool.run(
    'gptqRows',
    [
      sharedWeight.byteOffset,
      sharedFeedback.byteOffset,
      sharedFactor.byteOffset,
      sharedScales.byteOffset,
      sharedZeros.byteOffset,
      sharedGroup.byteOffset,
      sharedCodes.byteOffset,
      sharedDifference.byteOffset,
      sharedLoss.byteOffset,
      padded,
      columns,
      lowest,
      highest,
      levels?.length ?? 0,
      levelValues.byteOffset,
      levelCodes.byteOffset,
    ],
    padded,
    lanes * Math.ceil(padded / (8 * lanes)),
  );
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < columns; j++) {
      codes[row * columns + j] = sharedCodes[j * padded + row];
      difference[row * columns + j] = sharedDifference[j * padded + row];
    }
    loss[row] += sharedLoss[row];
  }
}
