import { madd64 } from './madd';

/**
 * Right-looking blocked factorisation A = L L^T in f64: factor a diagonal block, solve the panel below it, subtract the
 * panel's outer product from what is left. The driver calls these for each block; rows are independent.
 */

/** Factors the diagonal block `[start, start+size)` of `a` `[n,n]`. Returns 0 when a pivot is not positive. */
export function factorDiagonal(a: usize, n: usize, start: usize, size: usize): i32 {
  for (let i: usize = 0; i < size; i++) {
    const rowI = a + ((start + i) * n + start) * 8;
    for (let j: usize = 0; j <= i; j++) {
      const rowJ = a + ((start + j) * n + start) * 8;
      let sum = load<f64>(rowI + j * 8);
      for (let p: usize = 0; p < j; p++) sum -= load<f64>(rowI + p * 8) * load<f64>(rowJ + p * 8);
      if (i == j) {
        if (!(sum > 0)) return 0;
        store<f64>(rowI + i * 8, sqrt(sum));
      } else {
        store<f64>(rowI + j * 8, sum / load<f64>(rowJ + j * 8));
      }
    }
  }
  return 1;
}

/**
 * Rows below a diagonal block, x L^T = row, in groups of 4 rows side by side: `packed` is `[group][size][4]`, from where
 * `updateTrailing` takes them. `diagonal` is the block `[size, size]` in a piece: rows of the matrix itself lie a power of
 * two apart for most models and would push each other out of the cache. Groups `[first, last)`, counted from `top`.
 */
export function solvePanel(a: usize, n: usize, start: usize, size: usize, top: usize, diagonal: usize, packed: usize, first: usize, last: usize, worker: usize): void {
  for (let group = first; group < last; group++) {
    const x = packed + group * size * 32;
    const row = top + group * 4;
    const height = min(4, n - row);
    for (let p: usize = 0; p < size; p++) {
      for (let i: usize = 0; i < 4; i++) {
        store<f64>(x + (p * 4 + i) * 8, i < height ? load<f64>(a + ((row + i) * n + start + p) * 8) : 0);
      }
    }
    // Unknowns in pairs, so that a load of an earlier one serves both: four independent chains.
    let j: usize = 0;
    for (; j + 2 <= size; j += 2) {
      let l = diagonal + j * size * 8;
      const below = size * 8;
      const at = x + j * 32;
      let s00 = f64x2.splat(0), s01 = s00, s10 = s00, s11 = s00;
      let earlier = x;
      for (let p: usize = 0; p < j; p++) {
        const x0 = v128.load(earlier), x1 = v128.load(earlier, 16);
        let c = v128.load64_splat(l);
        s00 = madd64(x0, c, s00);
        s01 = madd64(x1, c, s01);
        c = v128.load64_splat(l + below);
        s10 = madd64(x0, c, s10);
        s11 = madd64(x1, c, s11);
        earlier += 32;
        l += 8;
      }
      const pivot = v128.load64_splat(l);
      const y0 = f64x2.div(f64x2.sub(v128.load(at), s00), pivot);
      const y1 = f64x2.div(f64x2.sub(v128.load(at, 16), s01), pivot);
      v128.store(at, y0);
      v128.store(at, y1, 16);
      const c = v128.load64_splat(l + below);
      const next = v128.load64_splat(l + below, 8);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 32), madd64(y0, c, s10)), next), 32);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 48), madd64(y1, c, s11)), next), 48);
    }
    if (j < size) solveLast(x, diagonal, size, j);
    for (let i: usize = 0; i < height; i++) {
      const out = a + ((row + i) * n + start) * 8;
      for (let p: usize = 0; p < size; p++) store<f64>(out + p * 8, load<f64>(x + (p * 4 + i) * 8));
    }
  }
}

/** The last unknown of an odd number. */
function solveLast(x: usize, diagonal: usize, size: usize, j: usize): void {
  const l = diagonal + j * size * 8;
  const at = x + j * 32;
  let low = f64x2.splat(0), high = low;
  for (let p: usize = 0; p < j; p++) {
    const c = v128.load64_splat(l + p * 8);
    low = madd64(v128.load(x + p * 32), c, low);
    high = madd64(v128.load(x + p * 32, 16), c, high);
  }
  const pivot = v128.load64_splat(l + j * 8);
  v128.store(at, f64x2.div(f64x2.sub(v128.load(at), low), pivot));
  v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 16), high), pivot), 16);
}

/** The diagonal block in a piece, `[size, size]`. */
export function copyDiagonal(a: usize, n: usize, start: usize, size: usize, out: usize): void {
  for (let i: usize = 0; i < size; i++) memory.copy(out + i * size * 8, a + ((start + i) * n + start) * 8, size * 8);
}

/** Rows `[first, last)` of `a` `[n, n]` with column j taken from `order[j]`, and their entry on the diagonal from `diagonal`. */
export function orderColumns(a: usize, n: usize, order: usize, diagonal: usize, scratch: usize, first: usize, last: usize, worker: usize): void {
  const room = scratch + worker * n * 8;
  for (let i = first; i < last; i++) {
    const row = a + i * n * 8;
    memory.copy(room, row, n * 8);
    for (let j: usize = 0; j < n; j++) store<f64>(row + j * 8, load<f64>(room + <usize>load<i32>(order + j * 4) * 8));
    store<f64>(row + i * 8, load<f64>(diagonal + i * 8));
  }
}

/** Rows `[first, last)` of a factor as they leave: the other triangle zero, from end to end if `reversed`, in f32 if `narrow`. */
export function finishFactor(a: usize, n: usize, reversed: bool, narrow: bool, first: usize, last: usize, worker: usize): void {
  for (let i = first; i < last; i++) {
    const row = a + i * n * 8;
    memory.fill(row + (i + 1) * 8, 0, (n - i - 1) * 8);
    if (reversed) {
      for (let left = row, right = row + (n - 1) * 8; left < right; left += 8, right -= 8) {
        const x = load<f64>(left);
        store<f64>(left, load<f64>(right));
        store<f64>(right, x);
      }
    }
    if (narrow) for (let j: usize = 0; j < n; j++) store<f32>(row + j * 4, <f32>load<f64>(row + j * 8));
  }
}

/** `A[i,j] -= sum_p L_ip L_jp` for the row groups `[first, last)` below `top`, columns up to the diagonal. */
export function updateTrailing(a: usize, n: usize, size: usize, top: usize, packed: usize, first: usize, last: usize, worker: usize): void {
  for (let ig = first; ig < last; ig++) {
    for (let jg: usize = 0; jg <= ig; jg++) {
      let left = packed + ig * size * 32;
      let right = packed + jg * size * 32;
      let c00 = f64x2.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
      for (let p: usize = 0; p < size; p++) {
        const b0 = v128.load(right);
        const b1 = v128.load(right, 16);
        let x = v128.load64_splat(left);
        c00 = madd64(x, b0, c00);
        c01 = madd64(x, b1, c01);
        x = v128.load64_splat(left, 8);
        c10 = madd64(x, b0, c10);
        c11 = madd64(x, b1, c11);
        x = v128.load64_splat(left, 16);
        c20 = madd64(x, b0, c20);
        c21 = madd64(x, b1, c21);
        x = v128.load64_splat(left, 24);
        c30 = madd64(x, b0, c30);
        c31 = madd64(x, b1, c31);
        left += 32;
        right += 32;
      }
      const row = top + ig * 4;
      const column = top + jg * 4;
      subtract(a, n, row, column, c00, c01);
      subtract(a, n, row + 1, column, c10, c11);
      subtract(a, n, row + 2, column, c20, c21);
      subtract(a, n, row + 3, column, c30, c31);
    }
  }
}

// @ts-expect-error: decorator
@inline
function subtract(a: usize, n: usize, row: usize, column: usize, low: v128, high: v128): void {
  if (row >= n) return;
  const at = a + (row * n + column) * 8;
  if (column + 4 <= n) {
    v128.store(at, f64x2.sub(v128.load(at), low));
    v128.store(at, f64x2.sub(v128.load(at, 16), high), 16);
    return;
  }
  if (column < n) store<f64>(at, load<f64>(at) - f64x2.extract_lane(low, 0));
  if (column + 1 < n) store<f64>(at + 8, load<f64>(at + 8) - f64x2.extract_lane(low, 1));
  if (column + 2 < n) store<f64>(at + 16, load<f64>(at + 16) - f64x2.extract_lane(high, 0));
}
