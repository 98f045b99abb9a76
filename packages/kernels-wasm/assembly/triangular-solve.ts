import { madd, madd64 } from './madd';

/**
 * Solves x T = b for rows, column-major `b` `[n][rows]` so that lanes are rows. `t` is laid out by the driver: row j holds
 * the coefficients of the already solved unknowns in the order in which they were solved, then the pivot.
 * `descending`: the last unknown is solved first.
 */
export function solveRows32(
  t: usize,
  n: usize,
  b: usize,
  rows: usize,
  descending: bool,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const stride = rows * 4;
  for (let row = first; row < last; row += 8) {
    for (let step: usize = 0; step < n; step++) {
      const j = descending ? n - 1 - step : step;
      let coefficient = t + step * n * 4;
      let s0 = f32x4.splat(0),
        s1 = s0;
      for (let i: usize = 0; i < step; i++) {
        const at = b + (descending ? n - 1 - i : i) * stride + row * 4;
        const x = v128.load32_splat(coefficient);
        s0 = madd(v128.load(at), x, s0);
        s1 = madd(v128.load(at, 16), x, s1);
        coefficient += 4;
      }
      const pivot = v128.load32_splat(coefficient);
      const at = b + j * stride + row * 4;
      v128.store(at, f32x4.div(f32x4.sub(v128.load(at), s0), pivot));
      v128.store(at, f32x4.div(f32x4.sub(v128.load(at, 16), s1), pivot), 16);
    }
  }
}

export function solveRows64(
  t: usize,
  n: usize,
  b: usize,
  rows: usize,
  descending: bool,
  first: usize,
  last: usize,
  worker: usize,
): void {
  const stride = rows * 8;
  for (let row = first; row < last; row += 8) {
    for (let step: usize = 0; step < n; step++) {
      const j = descending ? n - 1 - step : step;
      let coefficient = t + step * n * 8;
      let s0 = f64x2.splat(0),
        s1 = s0,
        s2 = s0,
        s3 = s0;
      for (let i: usize = 0; i < step; i++) {
        const at = b + (descending ? n - 1 - i : i) * stride + row * 8;
        const x = v128.load64_splat(coefficient);
        s0 = madd64(v128.load(at), x, s0);
        s1 = madd64(v128.load(at, 16), x, s1);
        s2 = madd64(v128.load(at, 32), x, s2);
        s3 = madd64(v128.load(at, 48), x, s3);
        coefficient += 8;
      }
      const pivot = v128.load64_splat(coefficient);
      const at = b + j * stride + row * 8;
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at), s0), pivot));
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 16), s1), pivot), 16);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 32), s2), pivot), 32);
      v128.store(at, f64x2.div(f64x2.sub(v128.load(at, 48), s3), pivot), 48);
    }
  }
}
