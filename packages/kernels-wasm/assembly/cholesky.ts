import { madd64 } from './madd';
import { microStep } from './matmul';

/**
 * Left-looking factorisation A = L L^T in blocks of columns. For each block, its columns of A minus the contribution of
 * the earlier columns of L are collected in f64 (`takeColumns`, `subtractEarlier`). Then the diagonal block is factored
 * (`factorBlock`), and the rows below it are solved (`solveBelow`). Rows are in panels of 8: L is `[panel][n][8]`, the
 * block's columns are `[panel][width][8]`, with width a multiple of 8.
 *
 * Only the contribution of earlier columns depends on the precision of L: for f32 (`narrow`) it is summed in f32 over
 * at most 256 columns, then in f64.
 */
const DEPTH: usize = 256;

/**
 * Collects the block's columns `[first, last)` of the `size` columns that begin at `start`. `rows` `[size, n]` has the
 * rows `order[start + j]` of the symmetric matrix, f64. Row i of the collected columns is row `order[i]` of the matrix,
 * for i from `start` on.
 */
export function takeColumns(rows: usize, n: usize, start: usize, width: usize, order: usize, diagonal: usize, to: usize, first: usize, last: usize, worker: usize): void {
  for (let j = first; j < last; j++) {
    const row = rows + j * n * 8;
    let out = to + j * 64;
    let i = start;
    for (; i < n; i += 8) {
      const height = min(8, n - i);
      for (let lane: usize = 0; lane < height; lane++) {
        store<f64>(out + lane * 8, load<f64>(row + <usize>load<i32>(order + (i + lane) * 4) * 8));
      }
      memory.fill(out + height * 8, 0, (8 - height) * 8);
      out += width * 64;
    }
    store<f64>(to + (j >> 3) * width * 64 + j * 64 + (j & 7) * 8, load<f64>(diagonal + (start + j) * 8));
  }
}

/** Subtracts `sum_{p < start} L_ip L_jp` from the panels `[first, last)`, counted from `start` on. */
export function subtractEarlier(l: usize, n: usize, start: usize, width: usize, narrow: bool, columns: usize, first: usize, last: usize, worker: usize): void {
  const step: usize = narrow ? 32 : 64;
  const own = l + start * n * step / 8;
  for (let panel = first; panel < last; panel++) {
    const to = columns + panel * width * 64;
    for (let p: usize = 0; p < start; p += DEPTH) {
      const depth = min(DEPTH, start - p);
      const x = own + (panel * n * 8 + p * 8) * (step / 8);
      for (let j: usize = 0; j < width; j += 4) {
        const y = own + ((j >> 3) * n * 8 + p * 8 + (j & 4)) * (step / 8);
        if (narrow) subtract32(x, y, depth, to + j * 64, tile + worker * 128);
        else {
          subtract64(x, y, depth, to + j * 64);
          subtract64(x + 32, y, depth, to + j * 64 + 32);
        }
      }
    }
  }
}

/** The products of 8 rows and 4 columns before they are subtracted. Each worker has its own tile. */
const tile: usize = memory.data(128 * 16);

/** Subtracts the product of 8 rows and 4 columns. */
function subtract32(x: usize, y: usize, depth: usize, to: usize, own: usize): void {
  microStep(y, 32, x, own, 32, depth, 0, false);
  for (let at: usize = 0; at < 128; at += 16) lessen(to + 2 * at, v128.load(own + at));
}

// @ts-expect-error: decorator
@inline
function lessen(at: usize, by: v128): void {
  v128.store(at, f64x2.sub(v128.load(at), f64x2.promote_low_f32x4(by)));
  v128.store(at, f64x2.sub(v128.load(at, 16), f64x2.promote_low_f32x4(v128.shuffle<f64>(by, by, 1, 1))), 16);
}

/** Subtracts the product of 4 rows of a panel and 4 columns. */
export function subtract64(x: usize, y: usize, depth: usize, to: usize): void {
  let c00 = f64x2.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  const end = x + depth * 64;
  while (x < end) {
    const x0 = v128.load(x);
    const x1 = v128.load(x, 16);
    let c = v128.load64_splat(y);
    c00 = madd64(c, x0, c00);
    c01 = madd64(c, x1, c01);
    c = v128.load64_splat(y, 8);
    c10 = madd64(c, x0, c10);
    c11 = madd64(c, x1, c11);
    c = v128.load64_splat(y, 16);
    c20 = madd64(c, x0, c20);
    c21 = madd64(c, x1, c21);
    c = v128.load64_splat(y, 24);
    c30 = madd64(c, x0, c30);
    c31 = madd64(c, x1, c31);
    x += 64;
    y += 64;
  }
  put(to, c00, c01);
  put(to + 64, c10, c11);
  put(to + 128, c20, c21);
  put(to + 192, c30, c31);
}

// @ts-expect-error: decorator
@inline
function put(at: usize, low: v128, high: v128): void {
  v128.store(at, f64x2.sub(v128.load(at), low));
  v128.store(at, f64x2.sub(v128.load(at, 16), high), 16);
}

/**
 * Factors the diagonal block, column by column with 8 rows at a time. The block is at the top of the panels `columns`.
 * Copies the block to `diagonal` `[size, size]` and into L. Returns 0 if a pivot is not positive.
 */
export function factorBlock(columns: usize, start: usize, size: usize, width: usize, diagonal: usize, l: usize, n: usize, narrow: bool): i32 {
  const panels = (size + 7) / 8;
  for (let j: usize = 0; j < size; j++) {
    const row = columns + (j >> 3) * width * 64 + (j & 7) * 8;
    for (let panel = j >> 3; panel < panels; panel++) subtractWithin(columns + panel * width * 64, row, j);
    const square = load<f64>(row + j * 64);
    if (!(square > 0)) return 0;
    const pivot = f64x2.splat(sqrt(square));
    for (let panel = j >> 3; panel < panels; panel++) {
      const at = columns + panel * width * 64 + j * 64;
      v128.store(at, f64x2.div(v128.load(at), pivot));
      v128.store(at, f64x2.div(v128.load(at, 16), pivot), 16);
      v128.store(at, f64x2.div(v128.load(at, 32), pivot), 32);
      v128.store(at, f64x2.div(v128.load(at, 48), pivot), 48);
    }
  }
  for (let i: usize = 0; i < size; i++) {
    const panel = columns + (i >> 3) * width * 64 + (i & 7) * 8;
    for (let j: usize = 0; j < size; j++) {
      if (j > i) store<f64>(panel + j * 64, 0);
      store<f64>(diagonal + (i * size + j) * 8, load<f64>(panel + j * 64));
    }
  }
  for (let panel: usize = 0; panel < panels; panel++) keep(columns + panel * width * 64, size, l, n, start / 8 + panel, start, narrow);
  return 1;
}

/** Column j of a panel, minus the products of its earlier columns and those of the row at `row`. */
// @ts-expect-error: decorator
@inline
function subtractWithin(x: usize, row: usize, j: usize): void {
  let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0;
  const at = x + j * 64;
  while (x < at) {
    const c = v128.load64_splat(row);
    s0 = madd64(v128.load(x), c, s0);
    s1 = madd64(v128.load(x, 16), c, s1);
    s2 = madd64(v128.load(x, 32), c, s2);
    s3 = madd64(v128.load(x, 48), c, s3);
    x += 64;
    row += 64;
  }
  put(at, s0, s1);
  put(at + 32, s2, s3);
}

/**
 * Solves x L^T = row for the panels `[first, last)` below the diagonal block, 8 rows at a time, and copies the results
 * into L.
 */
export function solveBelow(columns: usize, start: usize, size: usize, width: usize, diagonal: usize, l: usize, n: usize, narrow: bool, first: usize, last: usize, worker: usize): void {
  const panels = (size + 7) / 8;
  const below = size * 8;
  for (let panel = panels + first; panel < panels + last; panel++) {
    const x = columns + panel * width * 64;
    // Unknowns are solved in pairs, so a load of an earlier unknown serves both: eight independent chains.
    let j: usize = 0;
    for (; j + 2 <= size; j += 2) {
      let c = diagonal + j * below;
      let s0 = f64x2.splat(0), s1 = s0, s2 = s0, s3 = s0, t0 = s0, t1 = s0, t2 = s0, t3 = s0;
      const at = x + j * 64;
      for (let earlier = x; earlier < at; earlier += 64) {
        const x0 = v128.load(earlier), x1 = v128.load(earlier, 16), x2 = v128.load(earlier, 32), x3 = v128.load(earlier, 48);
        let y = v128.load64_splat(c);
        s0 = madd64(x0, y, s0);
        s1 = madd64(x1, y, s1);
        s2 = madd64(x2, y, s2);
        s3 = madd64(x3, y, s3);
        y = v128.load64_splat(c + below);
        t0 = madd64(x0, y, t0);
        t1 = madd64(x1, y, t1);
        t2 = madd64(x2, y, t2);
        t3 = madd64(x3, y, t3);
        c += 8;
      }
      const pivot = v128.load64_splat(c);
      const y0 = f64x2.div(f64x2.sub(v128.load(at), s0), pivot);
      const y1 = f64x2.div(f64x2.sub(v128.load(at, 16), s1), pivot);
      const y2 = f64x2.div(f64x2.sub(v128.load(at, 32), s2), pivot);
      const y3 = f64x2.div(f64x2.sub(v128.load(at, 48), s3), pivot);
      v128.store(at, y0);
      v128.store(at, y1, 16);
      v128.store(at, y2, 32);
      v128.store(at, y3, 48);
      const y = v128.load64_splat(c + below);
      const next = v128.load64_splat(c + below, 8);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 64), madd64(y0, y, t0)), next), 64);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 80), madd64(y1, y, t1)), next), 80);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 96), madd64(y2, y, t2)), next), 96);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 112), madd64(y3, y, t3)), next), 112);
    }
    keep(x, size, l, n, start / 8 + panel, start, narrow);
  }
}

/** Copies a panel's columns into L. */
function keep(x: usize, size: usize, l: usize, n: usize, panel: usize, start: usize, narrow: bool): void {
  if (!narrow) {
    memory.copy(l + (panel * n + start) * 64, x, size * 64);
    return;
  }
  let to = l + (panel * n + start) * 32;
  for (let j: usize = 0; j < size; j++) {
    v128.store(to, halved(v128.load(x), v128.load(x, 16)));
    v128.store(to, halved(v128.load(x, 32), v128.load(x, 48)), 16);
    x += 64;
    to += 32;
  }
}

// @ts-expect-error: decorator
@inline
function halved(low: v128, high: v128): v128 {
  return v128.shuffle<f64>(f32x4.demote_f64x2_zero(low), f32x4.demote_f64x2_zero(high), 0, 2);
}

/**
 * Writes panels `[first, last)` of L, counted from `from`, as rows of `to` `[n, n]`, with zeros above the diagonal. If
 * `reversed`, both axes are counted from their end. Only these rows of `to` have to be in memory.
 */
export function unpackRows(l: usize, n: usize, from: usize, reversed: bool, narrow: bool, to: usize, first: usize, last: usize, worker: usize): void {
  const entry: usize = narrow ? 4 : 8;
  const step = reversed ? 0 - entry : entry;
  for (let panel = from + first; panel < from + last; panel++) {
    const end = min((panel + 1) * 8, n);
    for (let i = panel * 8; i < end; i++) {
      let x = l + (panel * n * 8 + (i & 7)) * entry;
      const row = to + (reversed ? n - 1 - i : i) * n * entry;
      let out = reversed ? row + (n - 1) * entry : row;
      if (narrow) {
        for (let j: usize = 0; j <= i; j++) {
          store<f32>(out, load<f32>(x));
          x += 32;
          out += step;
        }
      } else {
        for (let j: usize = 0; j <= i; j++) {
          store<f64>(out, load<f64>(x));
          x += 64;
          out += step;
        }
      }
      memory.fill(reversed ? row : out, 0, (n - 1 - i) * entry);
    }
  }
}
