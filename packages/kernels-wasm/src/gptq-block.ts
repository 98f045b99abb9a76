import type { GptqBlockArgs, RowErrorArgs } from '@q/core';
import type { Pool } from './pool.js';

/** Rows of a panel of `assembly/gptq-sweep.ts`. */
const panelRows = 8;
/** Panels that a thread sweeps together: the thread reads their common part of the factor once for 64 rows. */
const panelsAtOnce = 8;
/** Values of a chunk of rows, row-major and in panels: a linear's memory is its factor and three of these. */
const chunkValues = 4 << 20;

/**
 * The sweep in f32, 8 rows at a time, in chunks of rows. f32 sums run over at most 256 earlier columns; then these are
 * summed.
 */
export function gptqBlock(pool: Pool, args: GptqBlockArgs): void {
  const { rows, columns, weight, feedback, factor, scales, zeros, groups, group, grid } = args;
  const { order, codes, difference, loss } = args;
  if (rows === 0 || columns === 0) return;
  const padded = Math.ceil(columns / 4) * 4;
  const atOnce = panelRows * panelsAtOnce;
  const chunk = Math.min(
    Math.ceil(rows / panelRows) * panelRows,
    Math.max(atOnce, Math.floor(chunkValues / padded / atOnce) * atOnce),
  );
  const staged = Math.max(chunk * columns, packedAtOnce(pool, factor, columns));
  pool.reset(
    4 * (padded ** 2 + staged + 2 * chunk * (padded + groups) + chunk + 2 * columns + 1024) + chunk * padded + 65536,
  );
  const staging = pool.f32(staged);
  const sharedFactor = pool.f32(padded ** 2).byteOffset;
  packFactor(pool, factor, columns, staging, sharedFactor);

  const sharedWeight = pool.f32(chunk * padded).byteOffset;
  const sharedDifference = pool.f32(chunk * padded);
  const sharedCodes = pool.bytes(chunk * padded).byteOffset;
  const sharedScales = pool.f32(chunk * groups);
  const sharedZeros = pool.f32(chunk * groups);
  const sharedLoss = pool.f32(chunk);
  const groupRoom = pool.f32(columns);
  new Int32Array(groupRoom.buffer, groupRoom.byteOffset, columns).set(group);
  const orderRoom = pool.f32(order ? columns : 0);
  if (order) new Int32Array(orderRoom.buffer, orderRoom.byteOffset, columns).set(order);
  const orderAt = order ? orderRoom.byteOffset : 0;
  const levels = grid.kind === 'levels' ? grid.levels.length : 0;
  const levelValues = pool.f32(levels);
  const levelCodes = pool.bytes(levels);
  if (grid.kind === 'levels') {
    levelValues.set(grid.levels);
    levelCodes.set(grid.codes);
  }
  const [lowest, highest] = grid.kind === 'linear' ? [grid.min, grid.max] : [0, 0];

  for (let start = 0; start < rows; start += chunk) {
    const count = Math.min(chunk, rows - start);
    const panels = Math.ceil(count / panelRows);
    const stride = panels * panelRows;
    staging.set(weight.subarray(start * columns, (start + count) * columns));
    pool.run('packRows', [staging.byteOffset, count, columns, orderAt, sharedWeight], panels, panelsAtOnce);
    if (feedback) {
      staging.set(feedback.subarray(start * columns, (start + count) * columns));
      pool.run('packRows', [staging.byteOffset, count, columns, 0, sharedDifference.byteOffset], panels, panelsAtOnce);
    }
    panelsOf(scales, { start, count, width: groups, fill: 1 }, sharedScales);
    panelsOf(zeros, { start, count, width: groups, fill: 0 }, sharedZeros);
    sharedLoss.fill(0, 0, stride);
    pool.run(
      'sweepPanels',
      [
        ...[sharedWeight, sharedDifference.byteOffset, sharedFactor, sharedScales.byteOffset, sharedZeros.byteOffset],
        ...[groups, groupRoom.byteOffset, sharedCodes, sharedLoss.byteOffset, columns, lowest, highest],
        ...[levels, levelValues.byteOffset, levelCodes.byteOffset, feedback ? 1 : 0],
      ],
      panels,
      Math.min(panelsAtOnce, Math.ceil(panels / (2 * pool.threads))),
    );
    for (let row = 0; row < count; row++) loss[start + row] += sharedLoss[row];

    const bytes = new Uint8Array(staging.buffer, staging.byteOffset, count * columns);
    pool.run('unpackCodes', [sharedCodes, count, columns, orderAt, staging.byteOffset], panels, panelsAtOnce);
    codes.set(bytes, start * columns);
    if (!difference) continue;
    pool.run(
      'unpackColumns',
      [sharedDifference.byteOffset, columns, stride, staging.byteOffset],
      panels,
      Math.ceil(panels / (2 * pool.threads)),
    );
    if (stride === rows) difference.set(staging.subarray(0, rows * columns));
    else
      for (let j = 0; j < columns; j++)
        difference.set(staging.subarray(j * stride, j * stride + count), j * rows + start);
  }
}

/**
 * Errors of rows. The factor and the differences are in the panels of the sweep, with sums as in the sweep; squares are
 * f64.
 */
export function rowErrors(pool: Pool, { difference, factor, rows, columns }: RowErrorArgs): Float64Array {
  const padded = Math.ceil(columns / 4) * 4;
  const chunk = Math.max(panelRows, Math.min(rows, Math.floor(chunkValues / padded / panelRows) * panelRows));
  const height = Math.ceil(chunk / panelRows) * panelRows;
  const staged = Math.max(chunk * columns, packedAtOnce(pool, factor, columns));
  pool.reset(4 * (padded ** 2 + staged + height * padded) + 8 * height + 65536);
  const staging = pool.f32(staged);
  const sharedFactor = pool.f32(padded ** 2).byteOffset;
  packFactor(pool, factor, columns, staging, sharedFactor);
  const packed = pool.f32(height * padded).byteOffset;
  const sums = pool.f64(height);
  const errors = new Float64Array(rows);
  for (let start = 0; start < rows; start += chunk) {
    const count = Math.min(chunk, rows - start);
    const panels = Math.ceil(count / panelRows);
    staging.set(difference.subarray(start * columns, (start + count) * columns));
    pool.run('packRows', [staging.byteOffset, count, columns, 0, packed], panels, panelsAtOnce);
    const grain = Math.min(panelsAtOnce, Math.ceil(panels / pool.threads));
    pool.run('errorPanels', [packed, sharedFactor, columns, sums.byteOffset], panels, grain);
    errors.set(sums.subarray(0, count), start);
  }
  return errors;
}

/** Values of staging memory that a factor needs to be packed; 0 if it is in the shared memory already. */
function packedAtOnce(pool: Pool, factor: Float32Array, columns: number): number {
  return pool.addressOf(factor) === undefined ? Math.min(columns ** 2, Math.max(columns, chunkValues)) : 0;
}

/** Packs the upper triangle into panels of 4 columns, as many of its rows at a time as fit into the staging memory. */
function packFactor(pool: Pool, factor: Float32Array, columns: number, staging: Float32Array, to: number): void {
  const resident = pool.addressOf(factor);
  const depth = resident === undefined ? Math.min(columns, Math.floor(staging.length / columns)) : columns;
  for (let start = 0; start < columns; start += depth) {
    const count = Math.min(depth, columns - start);
    if (resident === undefined) staging.set(factor.subarray(start * columns, (start + count) * columns));
    const from = resident ?? staging.byteOffset;
    pool.run('packFactor', [from, start, count, columns, to], Math.ceil(columns / 4), 32);
  }
}

/** Rows of a matrix that go into panels. */
interface PanelRows {
  readonly start: number;
  readonly count: number;
  readonly width: number;
  /** Value of the rows that the last panel lacks. */
  readonly fill: number;
}

/** Writes rows of `[rows, width]` as `[panel][width][8]`. */
function panelsOf(from: Float32Array, { start, count, width, fill }: PanelRows, to: Float32Array): void {
  for (let row = 0; row < Math.ceil(count / panelRows) * panelRows; row++) {
    const at = Math.floor(row / panelRows) * width * panelRows + (row % panelRows);
    for (let j = 0; j < width; j++) to[at + j * panelRows] = row < count ? from[(start + row) * width + j] : fill;
  }
}
