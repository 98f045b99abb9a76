import { madd } from './madd';
import { DEPTH, micro, packPanel4, packPanel8 } from './matmul';

// A sweep keeps all arrays in panels of 8 rows, `[panel][columns][8]`, with columns padded to a multiple of 4. So
// `micro` takes a panel of the differences as an operand, and writes to 4 of its columns. The columns of a row-major
// block would be a power of two apart, and they would evict each other from the cache. The factor is in panels of 4
// columns, `[panel][columns][4]`.

/** Columns that are finished before the next ones add their contribution: their differences stay in the cache. */
const BLOCK: usize = 128;

/**
 * Packs panels `[first, last)` of the rows of `from` `[rows, columns]` into `to`; missing rows and columns are zero.
 * With `order` (i32, or 0) column j is column `order[j]` of `from`.
 */
export function packRows(from: usize, rows: usize, columns: usize, order: usize, to: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    const at = to + panel * padded * 32;
    const source = from + panel * 8 * columns * 4;
    const height = min(8, rows - panel * 8);
    if (order == 0) packPanel8(source, 1, columns, height, columns, at);
    else {
      for (let j: usize = 0; j < columns; j++) {
        let x = source + <usize>load<i32>(order + j * 4) * 4;
        const out = at + j * 32;
        for (let i: usize = 0; i < 8; i++) {
          store<f32>(out + i * 4, i < height ? load<f32>(x) : 0);
          x += columns * 4;
        }
      }
    }
    memory.fill(at + columns * 32, 0, (padded - columns) * 32);
  }
}

/**
 * Packs rows `[start, start + depth)` of the upper triangular factor, `from` `[depth, columns]`, into its panels
 * `[first, last)`.
 */
export function packFactor(from: usize, start: usize, depth: usize, columns: usize, to: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    const column = panel * 4;
    if (column + 4 <= start) continue;
    packPanel4(from + column * 4, 1, columns, min(4, columns - column), min(depth, column + 4 - start), to + (column * padded + start * 4) * 4);
  }
}

/** Writes the codes of panels `[first, last)` as rows `[rows, columns]`; with `order` column j goes to `order[j]`. */
export function unpackCodes(codes: usize, rows: usize, columns: usize, order: usize, to: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    const height = min(8, rows - panel * 8);
    for (let i: usize = 0; i < height; i++) {
      const from = codes + panel * padded * 8 + i;
      const out = to + (panel * 8 + i) * columns;
      if (order == 0) {
        for (let j: usize = 0; j < columns; j++) store<u8>(out + j, load<u8>(from + j * 8));
      } else {
        for (let j: usize = 0; j < columns; j++) store<u8>(out + <usize>load<i32>(order + j * 4), load<u8>(from + j * 8));
      }
    }
  }
}

/** Writes the differences of panels `[first, last)` as columns, `[columns, stride]`, with stride a multiple of 8. */
export function unpackColumns(difference: usize, columns: usize, stride: usize, to: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  for (let panel = first; panel < last; panel++) {
    let from = difference + panel * padded * 32;
    let out = to + panel * 32;
    for (let j: usize = 0; j < columns; j++) {
      v128.store(out, v128.load(from));
      v128.store(out, v128.load(from, 16), 16);
      from += 32;
      out += stride * 4;
    }
  }
}

/**
 * The sweep over all columns for panels `[first, last)`. At the start `difference` has the feedback if `fed`, else its
 * content is ignored; at the end it has W - Q. `scales` and `zeros` are `[panel][groups][8]`, `loss` is `[panel][8]`.
 * Rows are independent: no thread waits for another. The grid is linear if `levels` is 0: codes are `q - lowest`. Else
 * `levels` has sorted values, with their `levelCodes`.
 */
export function sweepPanels(
  weight: usize,
  difference: usize,
  factor: usize,
  scales: usize,
  zeros: usize,
  groups: usize,
  group: usize,
  codes: usize,
  loss: usize,
  columns: usize,
  lowest: f32,
  highest: f32,
  levels: usize,
  levelValues: usize,
  levelCodes: usize,
  fed: bool,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const padded = (columns + 3) & ~3;
  if (!fed) memory.fill(difference + first * padded * 32, 0, (last - first) * padded * 32);
  for (let start: usize = 0; start < columns; start += BLOCK) {
    const end = min(start + BLOCK, columns);
    addEarlier(factor, difference, padded, start, end, first, last);
    for (let j = start; j < end; j += 4) {
      const width = min(4, columns - j);
      for (let panel = first; panel < last; panel++) {
        const d = difference + panel * padded * 32;
        if (j > start) micro(factor + (j * padded + start * 4) * 4, d + start * 32, d + j * 32, 32, j - start, 0, true);
        const ownLoss = loss + panel * 32;
        let low = v128.load(ownLoss), high = v128.load(ownLoss, 16);
        for (let c: usize = 0; c < width; c++) {
          const at = (panel * padded + j + c) * 32;
          let r = factor + (j * padded + j * 4 + c) * 4;
          let s0 = v128.load(difference + at), s1 = v128.load(difference + at, 16);
          for (let i: usize = 0; i < c; i++) {
            const x = v128.load32_splat(r);
            s0 = madd(v128.load(d + (j + i) * 32), x, s0);
            s1 = madd(v128.load(d + (j + i) * 32, 16), x, s1);
            r += 16;
          }
          const pivot = v128.load32_splat(r);
          const g = (panel * groups + <usize>load<i32>(group + (j + c) * 4)) * 32;
          const q = codes + at / 4;
          if (levels == 0) {
            low = linear(weight + at, s0, pivot, scales + g, zeros + g, q, difference + at, lowest, highest, low);
            high = linear(weight + at + 16, s1, pivot, scales + g + 16, zeros + g + 16, q + 4, difference + at + 16, lowest, highest, high);
          } else {
            low = nearest(weight + at, s0, pivot, scales + g, q, difference + at, levels, levelValues, levelCodes, low);
            high = nearest(weight + at + 16, s1, pivot, scales + g + 16, q + 4, difference + at + 16, levels, levelValues, levelCodes, high);
          }
        }
        v128.store(ownLoss, low);
        v128.store(ownLoss, high, 16);
      }
    }
  }
}

// @ts-expect-error: decorator
@inline
export function linear(w: usize, sum: v128, pivot: v128, scaleAt: usize, zeroAt: usize, codeAt: usize, d: usize, lowest: f32, highest: f32, loss: v128): v128 {
  const weight = v128.load(w);
  const scale = v128.load(scaleAt);
  const zero = v128.load(zeroAt);
  const target = f32x4.add(weight, f32x4.div(sum, pivot));
  let q = f32x4.nearest(f32x4.add(f32x4.div(target, scale), zero));
  q = f32x4.min(f32x4.splat(highest), f32x4.max(f32x4.splat(lowest), q));
  const value = f32x4.mul(f32x4.sub(q, zero), scale);
  const code = i32x4.trunc_sat_f32x4_s(f32x4.sub(q, f32x4.splat(lowest)));
  const narrow = v128.shuffle<u8>(code, code, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12);
  v128.store_lane<u32>(codeAt, narrow, 0);
  v128.store(d, f32x4.sub(weight, value));
  const error = f32x4.mul(f32x4.sub(target, value), pivot);
  return f32x4.add(loss, f32x4.mul(error, error));
}

/** Index of the level that is nearest; of two equally near ones the lower. */
// @ts-expect-error: decorator
@inline
export function nearestLevel(x: f32, values: usize, levels: usize): usize {
  let low: usize = 0;
  let high = levels - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x > (load<f32>(values + middle * 4) + load<f32>(values + middle * 4 + 4)) * 0.5) low = middle + 1;
    else high = middle;
  }
  return low;
}

// @ts-expect-error: decorator
@inline
export function nearest(w: usize, sum: v128, pivot: v128, scaleAt: usize, codeAt: usize, d: usize, levels: usize, values: usize, levelCodes: usize, loss: v128): v128 {
  const weight = v128.load(w);
  const scale = v128.load(scaleAt);
  const target = f32x4.add(weight, f32x4.div(sum, pivot));
  // The scaled targets are stored in the memory of the differences, which are written only afterwards.
  v128.store(d, f32x4.div(target, scale));
  for (let lane: usize = 0; lane < 4; lane++) {
    const index = nearestLevel(load<f32>(d + lane * 4), values, levels);
    store<u8>(codeAt + lane, load<u8>(levelCodes + index));
    store<f32>(d + lane * 4, load<f32>(values + index * 4));
  }
  const value = f32x4.mul(v128.load(d), scale);
  v128.store(d, f32x4.sub(weight, value));
  const error = f32x4.mul(f32x4.sub(target, value), pivot);
  return f32x4.add(loss, f32x4.mul(error, error));
}

/**
 * `||d R||^2` of the rows of panels `[first, last)` of `difference`, f64, into `errors` `[panel][8]`. D R overwrites D:
 * a column needs no later column, so the columns are computed from the last to the first.
 */
export function errorPanels(difference: usize, factor: usize, columns: usize, errors: usize, first: usize, last: usize, worker: usize): void {
  const padded = (columns + 3) & ~3;
  memory.fill(errors + first * 64, 0, (last - first) * 64);
  for (let end = padded; end > 0; ) {
    const start = ((end - 1) / BLOCK) * BLOCK;
    for (let panel = first; panel < last; panel++) {
      const d = difference + panel * padded * 32;
      for (let j = end; j > start; ) {
        j -= 4;
        micro(factor + (j * padded + start * 4) * 4, d + start * 32, d + j * 32, 32, j + 4 - start, 0, false);
      }
    }
    addEarlier(factor, difference, padded, start, end, first, last);
    for (let panel = first; panel < last; panel++) {
      const d = difference + panel * padded * 32;
      for (let column = d + start * 32; column < d + end * 32; column += 32) {
        addSquares(errors + panel * 64, v128.load(column));
        addSquares(errors + panel * 64 + 32, v128.load(column, 16));
      }
    }
    end = start;
  }
}

/** Adds the contribution of the columns before `start` to `[start, end)`, for panels `[first, last)`. */
function addEarlier(factor: usize, difference: usize, padded: usize, start: usize, end: usize, first: usize, last: usize): void {
  for (let p: usize = 0; p < start; p += DEPTH) {
    const depth = min(DEPTH, start - p);
    for (let j = start; j < end; j += 4) {
      for (let panel = first; panel < last; panel++) {
        const d = difference + panel * padded * 32;
        micro(factor + (j * padded + p * 4) * 4, d + p * 32, d + j * 32, 32, depth, 0, true);
      }
    }
  }
}

// @ts-expect-error: decorator
@inline
function addSquares(to: usize, x: v128): void {
  const low = f64x2.promote_low_f32x4(x);
  const high = f64x2.promote_low_f32x4(v128.shuffle<f64>(x, x, 1, 1));
  v128.store(to, f64x2.add(v128.load(to), f64x2.mul(low, low)));
  v128.store(to, f64x2.add(v128.load(to, 16), f64x2.mul(high, high)), 16);
}
