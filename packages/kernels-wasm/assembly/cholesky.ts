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

/** Rows `[first, last)`, counted from `top`, of the panel below a diagonal block: x L^T = row. */
export function solvePanelRow(a: usize, n: usize, start: usize, size: usize, top: usize, first: usize, last: usize, worker: usize): void {
  for (let row = first; row < last; row++) {
    const x = a + ((top + row) * n + start) * 8;
    for (let j: usize = 0; j < size; j++) {
      const l = a + ((start + j) * n + start) * 8;
      let low = f64x2.splat(0);
      let p: usize = 0;
      for (; p + 2 <= j; p += 2) low = madd64(v128.load(x + p * 8), v128.load(l + p * 8), low);
      let sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
      if (p < j) sum += load<f64>(x + p * 8) * load<f64>(l + p * 8);
      store<f64>(x + j * 8, (load<f64>(x + j * 8) - sum) / load<f64>(l + j * 8));
    }
  }
}

/** Packs panel rows into groups of 4: `size` times 4 values a group; rows beyond `n` are zero. */
export function packPanel(a: usize, n: usize, start: usize, size: usize, top: usize, out: usize, first: usize, last: usize, worker: usize): void {
  for (let group = first; group < last; group++) {
    let to = out + group * size * 32;
    const row = top + group * 4;
    for (let p: usize = 0; p < size; p++) {
      for (let i: usize = 0; i < 4; i++) {
        store<f64>(to, row + i < n ? load<f64>(a + ((row + i) * n + start + p) * 8) : 0);
        to += 8;
      }
    }
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
